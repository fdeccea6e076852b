"""This module reads a worker's replies for a script (docs/protocol.md)."""

import re
from dataclasses import dataclass

from mu_twisted.fsm._errors import FSMError, show

_STATUS = re.compile(r"OK:RETVAL\((-?[0-9]{1,19})\)")
_OUTPUT = ":OUTPUT("
_COMMAND = "):COMMAND("
_PLACEHOLDER = re.compile(r"##[A-Z]+(?::[A-Za-z0-9._-]+)?##")

SURE = 3
LIKELY = 2


_SIGNALS = range(1, 32)
"""Numbers of Linux's signals, which a shell adds to 128; some programs of their own end with higher statuses."""


@dataclass(frozen=True)
class RunResult:
    """How a command ended.

    :ivar status: exit status, negative for a signal.
    :ivar output: standard output and error together, decoded as UTF-8 with surrogateescape; the worker sends at most
        the last 64 KiB.
    """

    status: int
    output: str

    @property
    def raw(self) -> bytes:
        """The output's bytes, exactly as the worker sent them."""
        return self.output.encode("utf-8", "surrogateescape")

    @property
    def killed(self) -> bool:
        """Whether a signal ended it, or what its shell ran: then what it has said is not all that it had to say."""
        return self.status < 0 or self.status - 128 in _SIGNALS


def parse_run(reply: str, command: str = "") -> RunResult:
    """Read ``OK:RETVAL(N):OUTPUT(...):COMMAND(...)``.

    :param command: the command that was sent. Output and command may both hold ``):COMMAND(``; as the command is
        known, the output is cut off at the right one.
    :raises FSMError: there is no status in it.
    """
    status = _STATUS.match(reply)
    if status is None:
        raise FSMError(f"expected OK:RETVAL(N):OUTPUT(...):COMMAND(...), got {show(reply)}")
    output, _ = _split(reply[status.end() :], command)
    return RunResult(int(status[1]), output)


def _split(rest: str, command: str) -> tuple[str, str]:
    """Output and command of what follows the status."""
    if not rest.startswith(_OUTPUT):
        return "", ""
    end = len(rest)
    for _ in range(command.count(_COMMAND) + 1):
        end = rest.rfind(_COMMAND, len(_OUTPUT), end)
        if end < 0:
            return rest[len(_OUTPUT) :].removesuffix(")"), ""
    return rest[len(_OUTPUT) : end], rest[end + len(_COMMAND) :].removesuffix(")")


def names_run(reply: str, command: str) -> int:
    """How surely a run's reply, RUNNING or RETVAL, is one to this command."""
    if not command:
        return 0
    if reply.startswith("OK:RUNNING("):
        ran = reply[len("OK:RUNNING(") :].removesuffix(")")
    elif (status := _STATUS.match(reply)) is not None:
        _, ran = _split(reply[status.end() :], command)
    else:
        return 0
    if ran == command:
        return SURE
    # The worker shows placeholders replaced, cmdvars in front and cmdargs behind.
    at = 0
    for piece in _PLACEHOLDER.split(command):
        at = ran.find(piece, at)
        if at < 0:
            return 0
        at += len(piece)
    return LIKELY


def names_key(reply: str, key: str | None) -> int:
    """How surely the reply to a retrieve or upload is one for this key.

    The forms are ``(B/KEY)``, ``(B/KEY->FILE)`` and ``(FILE->B/KEY)``; with ``hash_s3keys`` the key has a prefix.
    """
    if key is None:
        return 0
    kind, _, body = reply.partition("(")
    body = body.removesuffix(")")
    if kind == "OK:RETRIEVING":
        return LIKELY if f"{key}->" in body else 0
    if kind == "OK:UPLOADING":
        return LIKELY if body.endswith(key) else 0
    shown = body.partition("/")[2]
    if shown == key:
        return SURE
    return LIKELY if shown.endswith(key) else 0

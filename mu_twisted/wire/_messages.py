"""This module reads and writes what payloads say: commands to a worker, its greeting, INFO and FAIL.

Everything is bytes, split only as often as the grammar says: a value may hold any byte, colons and non-UTF-8 included.
"""

from __future__ import annotations

import json
import re

from mu_twisted.wire._errors import CommandError, PeerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from mu_twisted.base.json_types import Json, JsonObject

VERSION = 1
"""Version of the protocol's additions, announced in the greeting of a worker that supports them."""

HELLO = b"OK:HELLO"
INFO = b"INFO:"
FULL = b"FULL"
"""Said by the rendezvous to a sender whose message finds no room."""
FAILURE_CODES = "failure-codes"
"""Stands among an event's ``capabilities``: the coordinator reads failures' codes."""
_FAIL = b"FAIL"
_CODE = re.compile(r"[A-Za-z0-9]{1,64}")
_CODED = re.compile(rf"FAIL:({_CODE.pattern})\(")
_MAX_LAUNCH_ID = 256
_MAX_INTEGER = 1 << 53
"""The largest integer that every JSON library keeps; Python's takes thousands of digits."""
_MAX_SUPPORTED = 64

TOKEN = "token"
"""What a worker announces that takes ``token:`` and says it when it greets again."""
TEE = "tee"
"""What a worker announces that takes ``tee:`` and streams what its programs print; see :mod:`mu_twisted.wire.tee`."""
PROCESSES = "processes"
"""What a worker announces that takes ``process:``, ``ask:`` and ``end:``."""
MAX_PROCESS_NAME = 40
"""Characters of a process' name."""
MAX_PROCESS_SECONDS = 900.0
"""That an answer of one is waited for: a function lives no longer."""
PRESIGN = "presign"
"""What a worker announces that takes ``presign:``."""
MAX_PRESIGNED = 604_800
"""Seconds that a presigned URL can be good for, S3's own limit."""
MAX_TOKEN = 256
"""Characters of a token."""
_INTEGER = re.compile(rb"\s*[+-]?[0-9]+\s*", re.ASCII)


class Command:
    """A command to a worker.

    :param name: what stands before the first colon, e.g. ``b"run"``.
    :param argument: all that follows it; empty if there was no colon.
    """

    __slots__ = ("argument", "name")

    def __init__(self, name: bytes, argument: bytes) -> None:
        self.name = name
        self.argument = argument


def parse_command(payload: bytes) -> Command:
    """Split a payload at its first colon. Whether the name is known is the worker's to say."""
    name, _, argument = payload.partition(b":")
    return Command(name, argument)


def parse_integer(text: bytes) -> int:
    """An integer as ``seti:`` takes it: blanks around, a sign, leading zeros, any size.

    Narrower than ``int()``, which would take ``1_000``; the original ran on Python 2, where that fails.

    :raises CommandError: anything else, ``0x10`` and ``12L`` included.
    """
    if not _INTEGER.fullmatch(text):
        raise CommandError(f"could not interpret {text.decode('utf-8', 'backslashreplace')} as an integer")
    negative = text.strip().startswith(b"-")
    # In pieces: int() refuses more than 4300 digits at once.
    number, digits = 0, text.strip().lstrip(b"+-")
    for at in range(0, len(digits), 4000):
        piece = digits[at : at + 4000]
        number = number * 10 ** len(piece) + int(piece)
    return -number if negative else number


def fail(reason: str | bytes, code: str = "") -> bytes:
    """``FAIL(reason)``, on one line whatever the reason holds.

    :param code: what kind of failure it is, ``FAIL:CODE(reason)``, for a side that has announced
        :data:`FAILURE_CODES`; left out unless it is 1 to 64 letters and digits.
    """
    raw = reason if isinstance(reason, bytes) else _to_bytes(reason)
    head = f"FAIL:{code}(" if _CODE.fullmatch(code) else "FAIL("
    return head.encode("ascii") + b" ".join(raw.split(b"\n")) + b")"


def failure_code(message: str) -> str:
    """The code of a ``FAIL:CODE(reason)``; empty where it has none."""
    found = _CODED.match(message)
    return found[1] if found else ""


def _to_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # surrogates that stand for no byte, from a \\u escape in JSON
        return text.encode("utf-8", "backslashreplace")


def is_fail(message: bytes) -> bool:
    """Whether a reply reports failure: any that begins with ``FAIL`` does."""
    return message.startswith(_FAIL)


def info(key: bytes, value: bytes) -> bytes:
    """``INFO:key:value``; the key holds no colon, the value may."""
    return INFO + key + b":" + value


def parse_info(message: bytes) -> tuple[bytes, bytes]:
    """Key and value of an ``INFO:key:value``.

    :raises PeerError: it does not begin with ``INFO:``, or has no second colon.
    """
    if not message.startswith(INFO):
        raise PeerError(f"expected INFO:key:value, got {message[:80]!r}")
    key, colon, value = message[len(INFO) :].partition(b":")
    if not colon or not key:
        raise PeerError(f"expected INFO:key:value, got {message[:80]!r}")
    return key, value


class Greeting:
    """How a worker introduced itself.

    :param version: of the protocol's additions; 0 for a worker that announced nothing, as the original's.
    :param launch_id: the event's ``launch_id``, empty if there was none.
    :param deadline_ms: milliseconds left of the function's time when it greeted; 0 if unknown.
    :param memory_mb: the function's memory in MB; 0 if unknown.
    :param redial: whether it had greeted before, on a connection that was lost.
    :param supports: what it can do beyond ``version``, such as :data:`TOKEN`.
    :param token: what it was given with ``token:`` on an earlier connection; empty if nothing.
    :param init_ms: milliseconds that its process had run before the function was ready, which AWS bills as INIT; 0 if
        this is not the first invocation of the process, or it is unknown.
    """

    def __init__(
        self,
        version: int = 0,
        launch_id: str = "",
        deadline_ms: int = 0,
        memory_mb: int = 0,
        redial: bool = False,
        supports: tuple[str, ...] = (),
        token: str = "",
        init_ms: int = 0,
    ) -> None:
        self.version = version
        self.launch_id = launch_id
        self.deadline_ms = deadline_ms
        self.memory_mb = memory_mb
        self.redial = redial
        self.supports = supports
        self.token = token
        self.init_ms = init_ms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Greeting) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(tuple(vars(self).values()))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items() if name != "token")
        return f"Greeting({shown})"

    def encode(self) -> bytes:
        """``OK:HELLO``, followed by a JSON object if there is anything to announce."""
        if not self.version:
            return HELLO
        body: JsonObject = {
            "version": self.version,
            "launch_id": self.launch_id,
            "deadline_ms": self.deadline_ms,
            "memory_mb": self.memory_mb,
        }
        if self.redial:
            body["redial"] = True
        if self.supports:
            body["supports"] = list(self.supports)
        if self.token:
            body["token"] = self.token
        if self.init_ms:
            body["init_ms"] = self.init_ms
        return HELLO + b":" + json.dumps(body, separators=(",", ":")).encode("ascii")


def parse_greeting(message: bytes) -> Greeting:
    """Read a worker's first message, the original's bare ``OK:HELLO`` or ours with its JSON object.

    :raises PeerError: it is neither, or a member of the object has the wrong type, is too long, or is an integer beyond
        2**53, or ``launch_id`` is longer than 256 characters or not printable (it goes into logs).
    """
    if message == HELLO:
        return Greeting()
    if not message.startswith(HELLO + b":"):
        raise PeerError(f"expected {HELLO.decode()}, got {message[:80]!r}")
    try:
        body: Json = json.loads(message[len(HELLO) + 1 :])
    except (ValueError, RecursionError):
        raise PeerError(f"the greeting's announcement is not JSON: {message[:80]!r}") from None
    if not isinstance(body, dict):
        raise PeerError(f"the greeting's announcement is not an object: {message[:80]!r}")
    launch_id = _member(body, "launch_id", str)
    if not launch_id.isprintable() or len(launch_id) > _MAX_LAUNCH_ID:
        raise PeerError(f"the greeting's launch_id is not one printable line: {launch_id[:80]!r}")
    supports, token = _member(body, "supports", list), _member(body, "token", str)
    if len(supports) > _MAX_SUPPORTED or not all(isinstance(name, str) and len(name) <= 64 for name in supports):
        raise PeerError(f"the greeting's supports is no list of up to {_MAX_SUPPORTED} texts of up to 64 characters")
    if len(token) > MAX_TOKEN:
        raise PeerError(f"the greeting's token is longer than {MAX_TOKEN} characters")
    return Greeting(
        version=_member(body, "version", int),
        launch_id=launch_id,
        deadline_ms=_member(body, "deadline_ms", int),
        memory_mb=_member(body, "memory_mb", int),
        redial=_member(body, "redial", bool),
        supports=tuple(supports),
        token=token,
        init_ms=_member(body, "init_ms", int),
    )


def _member(body: JsonObject, key: str, kind: type) -> Any:
    value = body.get(key, kind())
    if type(value) is not kind or (isinstance(value, int) and abs(value) > _MAX_INTEGER):
        raise PeerError(f"the greeting's {key} is not of type {kind.__name__}: {str(value)[:80]!r}")
    return value

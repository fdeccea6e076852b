"""A script speaks to a program that stays on its worker through this: one line in, one line out (docs/protocol.md)."""

import hashlib
from collections.abc import Callable, Generator
from typing import Any, Protocol

from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.wire import MAX_PROCESS_NAME, MAX_PROCESS_SECONDS, PROCESSES


class Awaitable(Protocol):
    """What a script's await hands to its driver."""

    def __await__(self) -> Generator[Any, str, str]:
        """Send, and return the reply."""


Send = Callable[[str, tuple[str, ...], Callable[[str], int]], Awaitable]
"""A command, what its reply may begin with, and how surely a reply belongs to it."""


class Process:
    """A program that stays, as a script sees it.

    :ivar greeting: the first line that it said, if that was waited for.
    """

    __slots__ = ("_name", "_send", "greeting")

    def __init__(self, name: str, send: Send) -> None:
        self._name = name
        self._send = send
        self.greeting = ""

    async def start(self, command: str, *, keep: bool, ready: float | None) -> "Process":
        """Start it, where it does not run already; parameters as of :meth:`Worker.process`.

        :raises FSMError: ``ready`` is no number of seconds.
        """
        kind, seconds = "kept" if keep else "task", 0.0 if ready is None else _seconds(ready)
        self.greeting = await self._line("PROCESS", f"process:{self._name}:{kind}:{seconds:g}:{command}")
        return self

    async def ask(self, line: str, timeout: float = 60.0) -> str:
        """Give it one line, and wait for its answer, one line; questions that come together are asked in turn.

        :param line: without a line break; ``##TMPDIR##`` in it is the worker's private directory.
        :param timeout: seconds that the answer may take from when the line is given; then the program is ended.
        :raises FSMError: an argument is wrong. Where the program ends, is late, or says more than a line, it is ended
            and the task fails.
        """
        if not isinstance(line, str) or "\n" in line:
            raise FSMError(f"a line without a line break is wanted, got {show(line)}")
        return await self._line("ASK", f"ask:{self._name}:{_seconds(timeout):g}:{line}")

    async def end(self) -> None:
        """End it, before its task does."""
        reply = f"OK:END({self._name})"
        await self._send(f"end:{self._name}", (reply,), lambda got: 3 * (got == reply))

    async def _line(self, kind: str, command: str) -> str:
        prefix = f"OK:{kind}({self._name}:"
        reply = await self._send(command, (prefix,), lambda got: 3 * got.startswith(prefix))
        return reply[len(prefix) :].removesuffix(")")


def process_name(command: str, name: str | None, supports: frozenset[str] | None) -> str:
    """What a process is called on its worker: by its command, where the script does not say.

    :param supports: what the worker has announced; None: that is not known.
    :raises FSMError: the worker has no such programs, or the name or the command is none.
    """
    if supports is not None and PROCESSES not in supports:
        raise FSMError(
            "the function holds a worker of an earlier version, which keeps no programs: `mu lambdaize --replace`"
        )
    if not isinstance(command, str) or not command.strip():
        raise FSMError(f"a command is wanted, got {show(command)}")
    if name is None:
        return hashlib.sha256(command.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    if not isinstance(name, str) or not (name.isascii() and name.isalnum() and len(name) <= MAX_PROCESS_NAME):
        raise FSMError(f"a process has a name of 1 to {MAX_PROCESS_NAME} letters and digits, not {show(name)}")
    return name


def _seconds(value: float) -> float:
    if not isinstance(value, int | float) or not 0 < value <= MAX_PROCESS_SECONDS:
        raise FSMError(f"seconds above 0, at most {MAX_PROCESS_SECONDS:g}, are wanted, got {show(value)}")
    return value

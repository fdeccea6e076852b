"""The context holds what all states of one machine share: its info, its settings, what came, and what is to be sent."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.fsm._peering import Peering
from mu_twisted.wire import MAX_COMMAND

MAX_STEPS = 10_000
"""States entered, or steps of a script, between two messages: beyond it the machine loops without end."""

MAX_NESTED = 50
"""Superpositions within one another: a machine that goes deeper has one that is a part of itself."""

MAX_KEPT_MESSAGES = 256
"""Messages that the states of one machine keep, all together."""
MAX_KEPT_CHARACTERS = 256 << 10
"""Characters of these, besides the latest one: room for some whole outputs of a worker."""


class Activation(NamedTuple):
    """A loop that has begun and not ended. They nest: each state carries those that it stands in."""

    loop: type
    iter_key: str
    break_key: str
    value: int


class Context:
    """Shared by the states of one machine, carried from each to the next.

    :param info: what the worker reported by ``INFO:`` and what the states note down.
    :param settings: the job's options.
    :param peering: how the task finds its peers, if it has any.
    :param supports: what the worker has announced that it can do; None: that is not known.
    :ivar last: the worker's message that was taken last.
    :ivar unused_pipes: the task's ends of pipes that no command has named yet, by placeholder.
    """

    __slots__ = (
        "_kept",
        "_kept_characters",
        "_nested",
        "_peering",
        "_steps",
        "commands",
        "counters",
        "info",
        "last",
        "settings",
        "supports",
        "unused_pipes",
    )

    def __init__(
        self,
        info: Mapping[str, Any] | None = None,
        settings: Any = None,
        peering: Peering | None = None,
        supports: frozenset[str] | None = None,
    ) -> None:
        self.info: dict[str, Any] = dict(info or {})
        self.settings = settings
        self.supports = supports
        self._peering = peering
        self.last = ""
        self._kept: deque[tuple[list[str], int]] = deque()
        self._kept_characters = 0
        self.commands: list[bytes] = []
        self.counters: dict[str, int] = {}
        self._steps = self._nested = 0
        self.unused_pipes = {pipe.placeholder: pipe for pipe in peering.pipes} if peering is not None else {}

    @property
    def peering(self) -> Peering:
        """How the task finds its peers.

        :raises FSMError: its pipeline says nothing of peers.
        """
        if self._peering is None:
            raise FSMError(
                "this task has no peers: its pipeline must say whose messages a task takes (consumes= or messages=), "
                "or how tasks are joined (pipes=)"
            )
        return self._peering

    def emit(self, command: str | bytes | None) -> None:
        """Have a command sent; None is none.

        :raises FSMError: it is no text, or longer than a worker accepts.
        """
        if command is None:
            return
        if isinstance(command, str):
            raw = command.encode("utf-8", "surrogateescape")
        elif isinstance(command, bytes):
            raw = command
        else:
            raise FSMError(f"a command must be text, got {show(command)}")
        if len(raw) > MAX_COMMAND:
            raise FSMError(f"a command of {len(raw)} bytes is longer than a worker accepts ({MAX_COMMAND})")
        self.commands.append(raw)
        if self.unused_pipes:
            for placeholder in [one for one in self.unused_pipes if one in raw]:
                del self.unused_pipes[placeholder]

    def remember(self, messages: list[str], message: str) -> None:
        """Append a message to those of the state that took it.

        At most :data:`MAX_KEPT_MESSAGES` with :data:`MAX_KEPT_CHARACTERS` are kept by all states of the machine, and
        the latest in any case; the oldest go first.
        """
        messages.append(message)
        self._kept.append((messages, len(message)))
        self._kept_characters += len(message)
        while len(self._kept) > MAX_KEPT_MESSAGES or (
            len(self._kept) > 1 and self._kept_characters > MAX_KEPT_CHARACTERS
        ):
            owner, size = self._kept.popleft()
            self._kept_characters -= size
            del owner[:1]

    def delivered(self) -> None:
        """A message was taken: steps are counted anew."""
        self._steps = 0

    @contextmanager
    def within(self) -> Iterator[None]:
        """What is done within concerns the parts of one superposition.

        :raises FSMError: there are too many around it.
        """
        if self._nested == MAX_NESTED:
            raise FSMError(f"{MAX_NESTED} superpositions within one another: one that is a part of itself has no end")
        self._nested += 1
        try:
            yield
        finally:
            self._nested -= 1

    def step(self) -> None:
        """Count one step that needed no message.

        :raises FSMError: there were too many since the last message.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise FSMError(f"{MAX_STEPS} steps without a message in between: a loop that waits for nothing has no end")

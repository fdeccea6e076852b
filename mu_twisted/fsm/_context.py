"""What all states of one machine share: its info, its settings, what came, and what is to be sent."""

from collections.abc import Mapping
from typing import Any

from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.fsm._peering import Peering
from mu_twisted.wire import MAX_COMMAND

MAX_STEPS = 10_000
"""States entered, or steps of a script, between two messages: beyond it the machine loops without end."""

_KEPT_MESSAGES = 32
_LARGE_MESSAGE = 16 << 10


class Context:
    """Shared by the states of one machine, carried from each to the next.

    :param info: what the worker told by ``INFO:`` and what the states note down.
    :param settings: the job's options.
    :param peering: how the task finds its peers, if it has any.
    """

    __slots__ = ("_peering", "_steps", "commands", "counters", "info", "messages", "settings")

    def __init__(
        self, info: Mapping[str, Any] | None = None, settings: Any = None, peering: Peering | None = None
    ) -> None:
        self.info: dict[str, Any] = dict(info or {})
        self.settings = settings
        self._peering = peering
        self.messages: list[str] = []
        self.commands: list[bytes] = []
        self.counters: dict[str, int] = {}
        self._steps = 0

    @property
    def peering(self) -> Peering:
        """How the task finds its peers.

        :raises FSMError: its pipeline says nothing of peers.
        """
        if self._peering is None:
            raise FSMError("this task has no peers: its pipeline must say whose messages a task takes (consumes=)")
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
            raise FSMError(f"a command must be text, got {show(repr(command))}")
        if len(raw) > MAX_COMMAND:
            raise FSMError(f"a command of {len(raw)} bytes is longer than a worker accepts ({MAX_COMMAND})")
        self.commands.append(raw)

    def remember(self, message: str) -> None:
        """Note a message that a state took. The latest 32 are kept; a large one only until the next."""
        self.delivered()
        messages = self.messages
        if messages and len(messages[-1]) > _LARGE_MESSAGE:
            messages.pop()
        messages.append(message)
        if len(messages) > _KEPT_MESSAGES:
            del messages[:-_KEPT_MESSAGES]

    def delivered(self) -> None:
        """A message was taken: steps are counted anew."""
        self._steps = 0

    def step(self) -> None:
        """Count one step that needed no message.

        :raises FSMError: there were too many since the last message.
        """
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise FSMError(f"{MAX_STEPS} steps without a message in between: a loop that waits for nothing has no end")

"""A guarded machine is called by the guard only: it may be interrupted, and then it has failed and says where."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from mu_twisted.fsm import PROPAGATED, Interrupted, Machine, MachineState, Outcome, Peering, Script
from mu_twisted.pipelines._guard import guard
from mu_twisted.pipelines._user_code import describe_error
from mu_twisted.wire import MAX_REPLY

_RUNNING = Outcome.RUNNING
"""Looked up once, as in the machine's own module."""


class GuardedMachine(Machine):
    """Drives one attempt at a task, as :class:`~mu_twisted.fsm.Machine` does, within the guard's time limit.

    What it shows and leaves is asked for in the same call, so that nothing of it runs the author's code later.

    :param job: the job's name.
    :param blocked: is called with the error when a call was interrupted.
    """

    __slots__ = ("_blocked", "_job", "_left", "_shown", "_task")

    def __init__(
        self,
        first: type[MachineState] | Script,
        actor_num: int = 0,
        *,
        job: bytes,
        blocked: Callable[[str], None],
        info: Mapping[str, Any] | None = None,
        settings: Any = None,
        peering: Peering | None = None,
        max_message: int = MAX_REPLY,
        supports: frozenset[str] | None = None,
    ) -> None:
        super().__init__(
            first,
            actor_num,
            info=info,
            settings=settings,
            peering=peering,
            max_message=max_message,
            supports=supports,
        )
        self._job = job
        self._task = actor_num
        self._blocked = blocked
        self._shown = f"{actor_num}:(not begun)"
        self._left = ""

    @property
    def text(self) -> str:
        """As it was after the last call."""
        return self._shown

    @property
    def remark(self) -> str:
        """As it was when the machine was done."""
        return self._left

    def start(self) -> list[bytes]:
        if self._started:  # `receive` looks at each message
            return []
        try:
            return guard.call(self._job, self._task, self._start)
        except PROPAGATED as error:
            self._broken_off(error)
            return []

    def receive(self, messages: Iterable[bytes]) -> list[bytes]:
        try:
            return guard.call(self._job, self._task, self._receive, messages)
        except PROPAGATED as error:
            self._broken_off(error)
            return []

    def fail(self, reason: str) -> None:
        try:
            guard.call(self._job, self._task, self._end_it, reason)
        except PROPAGATED as error:
            self._broken_off(error)

    def __del__(self) -> None:
        if self.outcome is _RUNNING:  # a script that waits is closed, here and not amid anything
            self.fail("it was given up")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _start(self) -> list[bytes]:
        commands = Machine.start(self)
        self._keep()
        return commands

    def _receive(self, messages: Iterable[bytes]) -> list[bytes]:
        begun = [] if self._started else Machine.start(self)
        commands = Machine.receive(self, messages)
        if begun:
            commands = begun + commands
        self._keep()
        return commands if self.error is None else []

    def _end_it(self, reason: str) -> None:
        Machine.fail(self, reason)
        self._keep()

    def _keep(self) -> None:
        self._shown = self._show()
        if self.outcome is not _RUNNING:
            self._end()

    def _end(self) -> None:
        """Take what is asked for later, and free what is the author's: he may have a word in that, too."""
        if self.outcome is Outcome.DONE:
            try:
                self._left = self._remark()
            except PROPAGATED:
                raise
            except BaseException as error:  # noqa: BLE001 - the author's own text, which cannot be made
                self.outcome, self.error = Outcome.FAILED, f"its remark is no text: {describe_error(error)}"
        info = self._context.info
        self._context.info = {key: value for key, value in info.items() if type(key) is str and type(value) is str}

    def _broken_off(self, error: BaseException) -> None:
        """It may have been interrupted anywhere: nothing of it counts but that it has failed."""
        if isinstance(error, KeyboardInterrupt) and not guard.watches:  # the user at the terminal
            raise error
        why = str(error) if isinstance(error, Interrupted) else describe_error(error)
        self.outcome, self.error, self.reply, self.status = _RUNNING, None, None, None
        with suppress(*PROPAGATED):  # its clean-up blocks too; the reason is known
            guard.call(self._job, self._task, self._end_it, why)
        if self.error is None:
            self.outcome, self.error = Outcome.FAILED, why
        self._blocked(why)

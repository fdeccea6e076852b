"""The Machine takes a task's messages and gives its commands; it has no socket and no clock, and raises nothing."""

import enum
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from mu_twisted.fsm._context import Context
from mu_twisted.fsm._errors import PROPAGATED, FSMError, StateFault, error_line, fault, show, without_keys
from mu_twisted.fsm._expect import failed_run
from mu_twisted.fsm._peering import Peering
from mu_twisted.fsm._replies import parse_run
from mu_twisted.fsm._script import Script, ScriptState
from mu_twisted.fsm._states import ErrorState, MachineState, Origin, TerminalState, deliver, enter, inform, settle
from mu_twisted.wire import MAX_REPLY, PeerError, parse_info

MAX_HELD_MESSAGES = 1000
"""Messages held back by a superposition; more than that is an error."""
MAX_INFO_KEYS = 1000
"""Different keys that ``info`` may have before a worker's INFO is refused."""
MAX_INFO_VALUE = 64 << 10
"""Longest value of an INFO, bytes."""
MAX_INFO_KEY = 1 << 10
"""Longest key of an INFO, bytes."""
MAX_INFO = 1 << 20
"""Bytes of all keys and values that a worker has reported by INFO and ``info`` still has."""
MAX_TEXT = 1000
"""Characters of a state as it is shown: a pipeline may show what a worker says."""
MAX_REMARK = 2000
"""Characters of what a task leaves for its job's report."""
_KEPT_REPLY = 1000
_FAIL = "FAIL"


class Outcome(enum.Enum):
    """Where a machine stands."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


_RUNNING = Outcome.RUNNING
"""Python 3.11 looks up an enumeration's member by a call, which each message would pay for several times."""


class Machine:
    """Drives one attempt at a task, through its states or through its script.

    A mistake in a state or script, a ``FAIL``, or a message that is not expected ends this machine with
    ``outcome`` FAILED and a line in ``error``; no method raises for it.

    :param first: class of the first state, or a script.
    :param actor_num: number of the task, counted from 0.
    :param info: what ``info`` begins with, e.g. ``{"group": 2}``.
    :param settings: the job's options, as the states see them.
    :param peering: how the task finds its peers, if it has any.
    :param supports: what the worker has announced that it can do; None: that is not known.
    :param max_message: bytes of the longest message that its worker may send. A superposition holds back twice as
        much: two whole outputs.
    :ivar error: one line, once ``outcome`` is FAILED.
    :ivar reply: the worker's message that it failed of, if one did.
    :ivar status: the exit status of the run that it failed of, if one did; ``output`` what that has printed.
    :ivar where: the place in states or script, where reply or run say all the rest.
    """

    __slots__ = (
        "_context",
        "_first",
        "_held",
        "_max_held",
        "_reported",
        "_reported_bytes",
        "_started",
        "_state",
        "_tried",
        "error",
        "outcome",
        "output",
        "reply",
        "status",
        "where",
    )

    def __init__(
        self,
        first: type[MachineState] | Script,
        actor_num: int = 0,
        *,
        info: Mapping[str, Any] | None = None,
        settings: Any = None,
        peering: Peering | None = None,
        max_message: int = MAX_REPLY,
        supports: frozenset[str] | None = None,
    ) -> None:
        self._first = first
        self._context = Context(info, settings, peering, supports)
        self._state: MachineState = Origin(self._context, actor_num)
        self._started = False
        self._held: deque[str] = deque()
        self._max_held = 2 * max_message
        self._reported: dict[str, int] = {}
        self._reported_bytes = 0
        self._tried = 0
        self.outcome = _RUNNING
        self.error: str | None = None
        self.reply: str | None = None
        self.status: int | None = None
        self.output: str | None = None
        self.where: str | None = None

    @property
    def built_in(self) -> bool:
        """Whether states or script come with this project: their places say nothing to its users."""
        return str(getattr(self._first, "__module__", "")).startswith(f"{__name__.partition('.')[0]}.")

    @property
    def is_script(self) -> bool:
        """Whether a script steers the task, and not states."""
        return not isinstance(self._first, type)

    @property
    def info(self) -> dict[str, Any]:
        """What the worker reported by INFO, and what the states put in."""
        return self._context.info

    @property
    def remark(self) -> str:
        """What the task leaves for its job's report: the text that it has put into ``info["remark"]``."""
        return self._remark()

    def _remark(self) -> str:
        text = str(self._context.info.get("remark") or "")[:MAX_REMARK]
        return text.encode("utf-8", "backslashreplace").decode("utf-8")[:MAX_REMARK]

    @property
    def state_name(self) -> str:
        """Name of the state's class; of a script its name and line."""
        state = self._state
        return state.name if isinstance(state, ScriptState) else type(state).__name__

    @property
    def text(self) -> str:
        """The state as it is shown: the task's number and the state's own words."""
        return self._show()

    def _show(self) -> str:
        try:
            text = str(self._state)
            return text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + " ..."
        except PROPAGATED:
            raise
        except BaseException:  # noqa: BLE001 - a status line is no reason to fail
            return f"{self._state.actorNum}:({type(self._state).__name__})"

    @property
    def held(self) -> int:
        """Number of messages that are held back."""
        return len(self._held)

    def start(self) -> list[bytes]:
        """Enter the first state.

        :returns: the commands of the states that wait for nothing.
        """
        if self._started or self.outcome is not _RUNNING:
            return []
        self._started = True
        try:
            self._become(settle(self._construct()))
        except BaseException as error:  # noqa: BLE001 - a mistake in a task ends that task only
            self._fail_by(error)
        return self._flush()

    def receive(self, messages: Iterable[bytes]) -> list[bytes]:
        """Take all messages of one read. INFOs are applied before the others, whatever their order.

        :returns: the commands to send, in order; none once the machine is done or failed. A read that makes the
            machine fail sends nothing, as in the original.
        """
        commands = [] if self._started else self.start()
        if self.outcome is not _RUNNING:
            return commands
        try:
            if self._sort(messages):
                self._tried = 0
                self._become(inform(self._state))
            self._work()
        except BaseException as error:  # noqa: BLE001 - as above
            self._fail_by(error)
        if self.error is not None:
            return []
        commands += self._context.commands
        self._context.commands = []
        return commands

    def fail(self, reason: str) -> None:
        """End the machine from outside: the connection is lost, the task was given up.

        :param reason: what happened; the state is named in front of it.
        """
        if self.outcome is _RUNNING:
            self._fail(error_line(f"{self._where()}: {reason}"))

    def _construct(self) -> MachineState:
        first = self._first
        if isinstance(first, type) and issubclass(first, MachineState):
            return enter(self._state, first)
        if callable(first) and not isinstance(first, type):
            return ScriptState(self._state, self._state.actorNum, first)
        raise StateFault(f"{show(first)} is neither a state class nor a script")

    def _sort(self, messages: Iterable[bytes]) -> bool:
        """Apply the INFOs and queue the others; return whether there were INFOs."""
        informed = False
        for message in messages:
            if message.startswith(b"INFO"):
                try:
                    key, value = parse_info(message)
                except PeerError as error:
                    raise StateFault(f"{self._where()}: {error_line(str(error))}") from error
                self._note(key, value)
                informed = True
            else:
                text = message.decode("utf-8", "surrogateescape")
                self._held.append(without_keys(text) if text.startswith(_FAIL) else text)
        return informed

    def _note(self, raw: bytes, value: bytes) -> None:
        key, info, reported = _text(raw), self.info, self._reported
        size = len(raw) + len(value)
        if self._reported_bytes + size > MAX_INFO or len(reported) > MAX_INFO_KEYS:
            for gone in [known for known in reported if known not in info]:  # the states have done with these
                self._reported_bytes -= reported.pop(gone)
        total = self._reported_bytes - reported.get(key, 0) + size
        if (
            len(raw) > MAX_INFO_KEY
            or len(value) > MAX_INFO_VALUE
            or total > MAX_INFO
            or (key not in info and len(info) >= MAX_INFO_KEYS)
        ):
            raise StateFault(
                f"{self._where()}: INFO of {show(key)} is refused: at most {MAX_INFO_KEYS} keys of {MAX_INFO_KEY} "
                f"bytes are kept, with values of {MAX_INFO_VALUE} bytes, {MAX_INFO} bytes in all"
            )
        reported[key], self._reported_bytes = size, total
        info[key] = _text(value)

    def _work(self) -> None:
        while self._held and self.outcome is _RUNNING:
            if self._state._holds_back:
                if not self._pass():
                    break
            else:
                message = self._held.popleft()
                following = None if message.startswith(_FAIL) else deliver(self._state, message)
                if following is None:
                    raise self._unexpected(message)
                self._tried = 0
                self._become(following)

    def _pass(self) -> bool:
        """Try each message once on a state that holds back what it does not expect; return whether to try again."""
        state, at, taken = self._state, self._tried, False
        while at < len(self._held):
            message = self._held[at]
            following = None if _failed(message) else deliver(state, message)
            if following is None:
                self._check_holdable(message)
                at += 1
                continue
            del self._held[at]
            taken = True
            if following is not state or not state._holds_back:
                self._tried = 0
                self._become(following)
                return True
        if at > MAX_HELD_MESSAGES or (at > 1 and sum(map(len, self._held)) > self._max_held):
            raise StateFault(f"{self._where()}: {at} messages that nothing expects, the first {show(self._held[0])}")
        self._tried = 0 if taken else at
        return taken

    def _check_holdable(self, message: str) -> None:
        """Check that a message may wait.

        A failed run is not held back while a run's success is waited for: the original waits for ever there.
        """
        if _failed(message) or (
            failed_run(message) and any(text.startswith("OK:RETVAL(") for text in self._state._expected())
        ):
            raise self._unexpected(message)

    def _become(self, state: MachineState) -> None:
        before, self._state = self._state, state
        if state is before:
            return
        if isinstance(state, ErrorState):
            self._keep_reply(self._context.last)
            self._fail(error_line(f"{before._where()}: went to {type(state).__name__}: {state.str_extra()}"))
        elif isinstance(state, TerminalState):
            self._check_pipes(before)
            self.outcome = Outcome.DONE
            self._held.clear()

    def _check_pipes(self, last: MachineState) -> None:
        """Check that each pipe was used: the task at the other end of one that was not would wait for ever."""
        unused = next(iter(self._context.unused_pipes.values()), None)
        if unused is not None:
            end = f"pipe {unused.name!r} {'to' if unused.writes else 'from'} task {unused.peer}"
            raise StateFault(f"{last._where()}: it has ended, and no command of it has used {end}")

    def _unexpected(self, message: str) -> StateFault:
        expected = " or ".join(repr(text) for text in dict.fromkeys(self._expected()))
        where = self._where()
        return StateFault(
            f"{where}: expected {_bounded(expected) or 'nothing'}, got {show(message)}", reply=message, where=where
        )

    def _expected(self) -> list[str]:
        try:
            return self._state._expected()
        except Exception:  # noqa: BLE001 - only for the text of an error that is there already
            return []

    def _where(self) -> str:
        return self._state._where()

    def _fail_by(self, error: BaseException) -> None:
        found = fault(self._where(), error)
        self.status, self.output, self.where = found.status, found.output, found.where
        if found.reply is not None:
            self._keep_reply(found.reply)
        self._fail(str(found))

    def _keep_reply(self, reply: str) -> None:
        self.reply = reply[:_KEPT_REPLY]
        if failed_run(reply):
            with suppress(FSMError):
                result = parse_run(reply)
                self.status, self.output = result.status, result.output

    def _fail(self, error: str) -> None:
        state, self.outcome, self.error = self._state, Outcome.FAILED, error
        self._context.commands.clear()
        self._held.clear()
        if not isinstance(state, ErrorState):
            self._state = ErrorState(state, error)
        try:
            state._leave()
        except BaseException as late:  # noqa: BLE001 - the reason is known; what comes after it says nothing
            fault("", late)

    def _flush(self) -> list[bytes]:
        commands, self._context.commands = self._context.commands, []
        return commands


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _failed(message: str) -> bool:
    return message.startswith(_FAIL)


def _bounded(expected: str) -> str:
    return expected if len(expected) <= 300 else expected[:300] + " ..."

"""The plain states hold a pair (expected reply, command to send), one or several of them.

The names and what they mean are those of the original's ``libmu/machine_state.py``, so that a pipeline written for it
can be ported by hand. A state here owns no socket: the Machine gives it each message, and collects the commands that it
emits.
"""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from mu_twisted.fsm._context import Activation, Context
from mu_twisted.fsm._errors import FSMError, StateFault, fault
from mu_twisted.fsm._hooks import ABSENT, misused_hooks, takes_number
from mu_twisted.fsm._named_messages import LINK_COMMANDS, check_link_command
from mu_twisted.fsm._peering import Peering
from mu_twisted.fsm._references import state_class

StateReference: TypeAlias = "type[MachineState] | str | Callable[[], type[MachineState] | str]"
"""A state class; its name; or a callable that returns one of these: ``lambda: Upload``."""
_KEPT_STATES = 8


class MachineState:
    """A node of a state machine. Inherit from one of its subclasses rather than from it.

    :param prevState: the state that led here; info, settings and the task's number are carried over from it.
    :param actorNum: number of the task, counted from 0; that of ``prevState`` counts, as in the original.
    :ivar prevState: the state that led here, None for the first; the last eight states at least can be gone back to.
        That of a superposition's part is the state before the superposition.
    :ivar info: dictionary of what the worker reported by ``INFO:`` (texts) and of whatever the states put in.
    :ivar settings: the job's options.
    :ivar peering: how the task finds its peers; FSMError if its pipeline has none.
    :ivar messages: what this state has taken so far, texts; ``messages[-1]`` is the one just received. A state that
        went on without a message has taken an empty one. All states of a machine keep 256 messages or 256 KiB.
    :cvar expect: text that a message must begin with to be taken here; None goes on at once.
    :cvar command: what to send then; None sends nothing.
    :cvar extra: how the state is shown, e.g. ``(uploading)``.
    """

    expect: str | None = None
    command: str | None = None
    extra: str | None = None

    actorNum: int

    _holds_back = False
    _awaits_messages = False
    """Whether it waits for another message whenever it has taken one and is still the state."""
    _loops: tuple[Activation, ...] = ()
    _depth = 0
    _entered = False
    _kicked = False

    def __init__(self, prevState: "MachineState", actorNum: int = 0) -> None:
        self._context: Context = prevState._context
        self._loops = prevState._loops
        self.prevState: MachineState | None = None if isinstance(prevState, Origin) else prevState
        self.actorNum = prevState.actorNum
        self.messages: list[str] = []
        self._depth = prevState._depth + 1
        if self._depth > 2 * _KEPT_STATES:
            self._forget()

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        for text in misused_hooks(cls):
            warnings.warn(text, FutureWarning, stacklevel=2)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            text = f"{type(self).__name__} has no attribute {name!r}"
            raise AttributeError(f"{text}: {ABSENT[name]}" if name in ABSENT else text)

    @property
    def info(self) -> dict[str, Any]:
        return self._context.info

    @info.setter
    def info(self, value: dict[str, Any]) -> None:
        self._context.info = value

    @property
    def settings(self) -> Any:
        return self._context.settings

    @property
    def peering(self) -> Peering:
        return self._context.peering

    def get_expect(self) -> str | None:
        """The text that the next message must begin with; None if the state goes on without one."""
        return self.expect

    def enqueue(self, command: str | None) -> None:
        """Send a command now, besides the state's own.

        :raises FSMError: it is no text, or too long for a worker, or a message that the pipeline does not declare.
        """
        if isinstance(command, str) and command.startswith(LINK_COMMANDS):
            check_link_command(self._context.peering, self.actorNum, command)
        self._context.emit(command)

    def entered(self) -> None:
        """Called once, when the machine has come to this state, before it takes a message. It may send, or kick."""

    def transition(self, message: str) -> "MachineState":
        """Take a message that begins with the expected text: send the command, and go on.

        :param message: decoded as UTF-8 with surrogateescape; empty if the state goes on without one.
        :returns: the state after this one, which may be the same object.
        """
        raise NotImplementedError(f"{type(self).__name__} says no transition: inherit from OnePassState or another")

    def info_updated(self) -> bool | None:
        """Called once for each read that brought INFOs, when they have been put into ``self.info``.

        :returns: true to go on without a message, as :meth:`kick` does, false to wait on; None leaves it at whether
            the state was kicked.
        """
        return None

    def kick(self) -> None:
        """Go on without a message, as though the expected one had come: once this method's caller has returned."""
        self._kicked = True

    def str_extra(self) -> str:
        """How the state is shown."""
        return self.extra or f"({type(self).__name__})"

    def __str__(self) -> str:
        return f"{self.actorNum}:{self.str_extra()}"

    def __repr__(self) -> str:
        return f"{type(self)}: {self}"

    # What follows is between the states and the Machine.

    def _follow(self, attribute: str) -> "MachineState":
        """Construct the state that an attribute names."""
        return enter(self, state_class(self, attribute, MachineState))

    def _offer(self, message: str) -> "MachineState | None":
        """Take the message and return the state afterwards, or None if it is not expected here."""
        expected = self.get_expect()
        if expected is None or not message.startswith(expected):
            return None
        self._context.delivered()
        self._context.last = message
        self._context.remember(self.messages, message)
        return checked(self, self.transition(message))

    def _onward(self) -> "MachineState":
        """The state after this one if it goes on without a message, else itself."""
        if not (self._kicked or self._goes_on_at_once()):
            return self
        self._kicked = False
        self._context.step()
        message = self.get_expect() or ""
        self._context.remember(self.messages, message)
        return checked(self, self.transition(message))

    def _goes_on_at_once(self) -> bool:
        """Whether it waits for no message."""
        return False

    def _informed(self) -> "MachineState":
        """A read brought INFOs: the state afterwards."""
        notify(self)
        return self

    def _forget(self) -> None:
        """Cut off the states long before this one: a loop has any number of them."""
        state: MachineState | None = self
        for _ in range(_KEPT_STATES):
            state = state and state.prevState
        if state is not None:
            state.prevState = None
        self._depth = _KEPT_STATES

    def _expected(self) -> list[str]:
        """The texts that are waited for, for errors."""
        expected = self.get_expect()
        return [] if expected is None else [expected]

    def _where(self) -> str:
        """What an error calls this state."""
        return f"state {type(self).__name__}"

    def _leave(self) -> None:
        """The machine ended while this was its state."""


class TerminalState(MachineState):
    """A state that is never left: the machine, or this part of a superposition, is done."""

    extra = "(terminal state)"

    def _onward(self) -> MachineState:
        return self


class ErrorState(TerminalState):
    """A state that ends the machine with an error.

    The order is the original's. A number in the second place is the task's, as every other state has it there, and a
    text in the third is the reason.

    :param err: the reason; a pipeline that goes here by name says it in its subclass's ``extra``.
    """

    extra = "(error)"
    err = ""

    def __init__(self, prevState: MachineState, err: object = "", actorNum: object = 0) -> None:
        super().__init__(prevState)
        if isinstance(err, int):
            err = "" if isinstance(actorNum, int) else actorNum
        self.err = "" if err is None else str(err)

    def str_extra(self) -> str:
        return self.err or super().str_extra()


class OnePassState(MachineState):
    """One pair: wait for ``expect``, send ``command``, go to ``nextState``.

    :cvar nextState: a state class, its name, or a callable without arguments that returns it.
    """

    nextState: StateReference = TerminalState

    def transition(self, message: str) -> MachineState:
        self.enqueue(self.command)
        return self.post_transition()

    def post_transition(self) -> MachineState:
        """Called once, after the expected reply has come and the command was sent: decides where to go.

        :returns: the state after this one; itself to wait for ``expect`` again.
        """
        return self._follow("nextState")

    def _goes_on_at_once(self) -> bool:
        return self.get_expect() is None


class MultiPassState(MachineState):
    """A straight line of pairs, worked off in turn, then ``nextState``.

    A subclass may change ``commands`` and ``expects`` in its constructor, after calling the one of this class.

    :cvar commands: what to send, a text or None each.
    :cvar expects: what must come before it, a text each; None sends it together with the one before.
    :cvar nextState: a state class, its name, or a callable without arguments that returns it.
    :ivar cmdNum: number of pairs that are done.
    """

    commands: list[str | None] = []
    expects: list[str | None] = []
    nextState: StateReference = TerminalState

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands = list(self.commands)
        self.expects = list(self.expects)
        self.cmdNum = 0

    def get_expect(self) -> str | None:
        if len(self.expects) != len(self.commands):
            raise FSMError(f"{len(self.commands)} commands, but {len(self.expects)} expected texts: make them pairs")
        return self.expects[self.cmdNum] if self.cmdNum < len(self.expects) else None

    def transition(self, message: str) -> MachineState:
        while self.cmdNum < len(self.commands):
            self.enqueue(self.commands[self.cmdNum])
            self.cmdNum += 1
            if self.get_expect() is not None:
                return self
        return self._follow("nextState")

    def _goes_on_at_once(self) -> bool:
        return self.get_expect() is None

    def str_extra(self) -> str:
        return f"({super().str_extra()} (#{self.cmdNum}))"


class Origin(MachineState):
    """What stands in for the previous state of the first one."""

    def __init__(self, context: Context, actor_num: int) -> None:
        self._context = context
        self.actorNum = actor_num


def enter(origin: MachineState, state: type[MachineState]) -> MachineState:
    """Construct a state behind another one.

    :raises StateFault: its constructor failed.
    """
    origin._context.step()
    try:
        if issubclass(state, ErrorState) and not takes_number(state):
            return state(origin)
        return state(origin, origin.actorNum)
    except BaseException as error:  # noqa: BLE001 - whatever a user's state raises ends its machine only
        raise fault(f"state {state.__name__}", error) from error


def settle(state: MachineState) -> MachineState:
    """Follow the states that wait for nothing, until one waits or is terminal.

    :raises StateFault: one of them failed.
    """
    while True:
        try:
            if not state._entered:
                state._entered = True
                state.entered()
            following = state._onward()
        except BaseException as error:  # noqa: BLE001 - as above
            raise fault(state._where(), error) from error
        if following is state and not state._kicked:
            return state
        state = following


def notify(state: MachineState) -> None:
    """Call a state's ``info_updated``.

    :raises StateFault: it failed.
    """
    try:
        verdict = state.info_updated()
    except BaseException as error:  # noqa: BLE001 - as above
        raise fault(state._where(), error) from error
    if verdict is not None:
        state._kicked = bool(verdict)


def deliver(state: MachineState, message: str) -> MachineState | None:
    """Offer a message to a state.

    :returns: the state afterwards, settled, or None if the message is not expected there.
    :raises StateFault: a state failed.
    """
    try:
        following = state._offer(message)
    except BaseException as error:  # noqa: BLE001 - as above
        raise fault(state._where(), error) from error
    if following is None or (following is state and state._awaits_messages):
        return following
    return settle(following)


def inform(state: MachineState) -> MachineState:
    """Tell a state that a read brought INFOs; returns the state afterwards, settled.

    :raises StateFault: a state failed.
    """
    state._context.delivered()
    try:
        following = state._informed()
    except BaseException as error:  # noqa: BLE001 - as above
        raise fault(state._where(), error) from error
    return settle(checked(state, following))


def checked(state: MachineState, following: object) -> MachineState:
    """What a state's own method returned, if it is a state."""
    if not isinstance(following, MachineState):
        raise StateFault(f"{state._where()}: its transition returned {type(following).__name__}, which is no state")
    return following

"""The plain states: a pair (expected reply, command to send), one or several of them.

The names are those of the original's ``libmu/machine_state.py``, so that a pipeline written for it can be ported by
hand. A state here owns no socket: the Machine gives it each message, and collects the commands that it emits.
"""

from typing import TYPE_CHECKING, Any

from mu_twisted.fsm._context import Context
from mu_twisted.fsm._errors import FSMError, StateFault, fault
from mu_twisted.fsm._peering import Peering
from mu_twisted.fsm._references import StateReference, state_class

if TYPE_CHECKING:
    from mu_twisted.fsm._combinators import Activation


class MachineState:
    """A node of a state machine. Inherit from one of its subclasses rather than from it.

    :param prevState: the state that led here; info, settings and messages are carried over from it.
    :param actorNum: number of the task, counted from 0.
    :ivar info: dictionary of what the worker told by ``INFO:`` (texts) and of whatever the states put in.
    :ivar settings: the job's options.
    :ivar peering: how the task finds its peers; FSMError if its pipeline has none.
    :ivar messages: the last messages that were taken, texts; ``messages[-1]`` is the one just received.
    :cvar expect: text that a message must begin with to be taken here; None goes on at once.
    :cvar command: what to send then; None sends nothing.
    :cvar extra: how the state is shown, e.g. ``(uploading)``.
    """

    expect: str | None = None
    command: str | None = None
    extra: str | None = None

    _holds_back = False
    _loops: "tuple[Activation, ...]" = ()

    def __init__(self, prevState: "MachineState", actorNum: int = 0) -> None:
        self._context: Context = prevState._context
        self._loops = prevState._loops
        self.actorNum = actorNum

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

    @property
    def messages(self) -> list[str]:
        return self._context.messages

    def get_expect(self) -> str | None:
        """The text that the next message must begin with; None if the state goes on without one."""
        return self.expect

    def enqueue(self, command: str | None) -> None:
        """Send a command now, besides the state's own.

        :raises FSMError: it is no text, or too long for a worker.
        """
        self._context.emit(command)

    def transition(self, message: str) -> "MachineState":
        """Take a message that begins with the expected text: send the command, and go on.

        :param message: decoded as UTF-8 with surrogateescape; empty if the state goes on without one.
        :returns: the state after this one, which may be the same object.
        """
        raise NotImplementedError(f"{type(self).__name__} says no transition: inherit from OnePassState or another")

    def post_transition(self) -> "MachineState":
        """Called when the state was entered and after each transition, until it returns itself."""
        return self

    def kick(self) -> "MachineState":
        """Send the command and go on, without a message.

        :returns: the state after this one.
        """
        self._context.step()
        return self.transition("")

    def str_extra(self) -> str:
        """How the state is shown."""
        return self.extra or f"({type(self).__name__})"

    def __str__(self) -> str:
        return f"{self.actorNum}:{self.str_extra()}"

    # What follows is between the states and the Machine.

    def _follow(self, attribute: str) -> "MachineState":
        """Construct the state that an attribute names."""
        return enter(self, state_class(self, attribute))

    def _offer(self, message: str) -> "MachineState | None":
        """Take the message and return the state afterwards, or None if it is not expected here."""
        expected = self.get_expect()
        if expected is None or not message.startswith(expected):
            return None
        self._context.remember(message)
        return checked(self, self.transition(message))

    def _informed(self) -> "MachineState":
        """A read brought INFOs: the state afterwards."""
        return self

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


class ErrorState(TerminalState):
    """A state that ends the machine with an error.

    :param err: the reason; a pipeline that goes here by name says it in its subclass's ``extra``.
    """

    extra = "(error)"

    def __init__(self, prevState: MachineState, actorNum: int = 0, err: str = "") -> None:
        super().__init__(prevState, actorNum)
        self.err = err

    def str_extra(self) -> str:
        return self.err or super().str_extra()


class OnePassState(MachineState):
    """One pair: wait for ``expect``, send ``command``, go to ``nextState``.

    :cvar nextState: a state class, its name, or a callable without arguments that returns it.
    """

    nextState: StateReference = TerminalState

    def transition(self, message: str) -> MachineState:
        self.enqueue(self.command)
        return self._follow("nextState")

    def post_transition(self) -> MachineState:
        return self.kick() if self.get_expect() is None else self


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
        if self.cmdNum < len(self.commands):
            self.enqueue(self.commands[self.cmdNum])
            self.cmdNum += 1
        return self if self.cmdNum < len(self.commands) else self._follow("nextState")

    def post_transition(self) -> MachineState:
        while self.get_expect() is None:
            following = self.kick()
            if following is not self:
                return following
        return self

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
        return state(origin, origin.actorNum)
    except BaseException as error:  # noqa: BLE001 - whatever a user's state raises ends its machine only
        raise fault(f"state {state.__name__}", error) from error


def settle(state: MachineState) -> MachineState:
    """Follow the states that wait for nothing, until one waits or is terminal.

    :raises StateFault: one of them failed.
    """
    while True:
        try:
            following = state.post_transition()
        except BaseException as error:  # noqa: BLE001 - as above
            raise fault(state._where(), error) from error
        if following is state:
            return state
        state = checked(state, following)


def deliver(state: MachineState, message: str) -> MachineState | None:
    """Offer a message to a state.

    :returns: the state afterwards, settled, or None if the message is not expected there.
    :raises StateFault: a state failed.
    """
    try:
        following = state._offer(message)
    except BaseException as error:  # noqa: BLE001 - as above
        raise fault(state._where(), error) from error
    return None if following is None else settle(following)


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

"""States that choose, repeat, run side by side, and watch."""

from collections.abc import Sequence
from typing import NamedTuple

from mu_twisted.fsm._context import Context
from mu_twisted.fsm._references import StateReference, resolve
from mu_twisted.fsm._states import (
    ErrorState,
    MachineState,
    OnePassState,
    TerminalState,
    deliver,
    enter,
    inform,
    settle,
)


class IfElseState(OnePassState):
    """Goes one of two ways.

    :cvar consequentState: where to go if ``testfn()`` is true.
    :cvar alternativeState: where to go otherwise.
    """

    consequentState: StateReference = TerminalState
    alternativeState: StateReference = TerminalState

    def testfn(self) -> bool:
        """Decides; ``self.messages[-1]`` is the message just received, ``self.info`` what the worker told."""
        return True

    def transition(self, message: str) -> MachineState:
        self.enqueue(self.command)
        return self._follow("consequentState" if self.testfn() else "alternativeState")


class Activation(NamedTuple):
    """A loop that has begun and not ended. They nest: each state carries those that it stands in."""

    loop: type
    iter_key: str
    break_key: str
    value: int


class ForLoopState(OnePassState):
    """The head of a loop with a counter: goes to ``loopState`` as often as the counter says, then to ``exitState``.

    The loop's body comes back here by its ``nextState``. The loop ends early, the next time its head is reached, if
    ``info[breakKey]`` is set and not empty; the key is removed with the loop. Loops may be nested with the same keys:
    which ones are under way is noted beside ``info`` (the original tells it by the break key, and dies of two).

    :cvar iterKey: key of ``info`` that holds the counter.
    :cvar iterInit: the counter's first value.
    :cvar iterFin: the value that it does not reach any more.
    :cvar breakKey: key of ``info`` that ends the loop.
    :cvar loopState: the body's first state.
    :cvar exitState: where to go when the loop is over.
    """

    iterKey = "iter_key"
    iterInit = 0
    iterFin = 0
    breakKey = "_loop_break"
    loopState: StateReference = TerminalState
    exitState: StateReference = TerminalState

    def transition(self, message: str) -> MachineState:
        self.enqueue(self.command)
        return self._follow("loopState" if self._again() else "exitState")

    def _again(self) -> bool:
        loop, outer = type(self), self._loops
        count = self.iterInit - 1
        for at in reversed(range(len(outer))):
            if outer[at].loop is loop:
                # Loops further in were left by a jump, and are over too.
                count, outer = _count(self._context, outer[at]), outer[:at]
                break
        if self.info.get(self.breakKey) or count + 1 >= self.iterFin:
            _note(self._context, self.iterKey, count)
            self.info.pop(self.breakKey, None)
            for around in outer:
                if around.iter_key == self.iterKey:
                    _note(self._context, around.iter_key, around.value)
                if around.break_key == self.breakKey:
                    self.info[around.break_key] = False
            self._loops = outer
            return False
        _note(self._context, self.iterKey, count + 1)
        self.info.setdefault(self.breakKey, False)
        self._loops = (*outer, Activation(loop, self.iterKey, self.breakKey, count + 1))
        return True


def _note(context: Context, key: str, count: int) -> None:
    context.info[key] = context.counters[key] = count


def _count(context: Context, activation: Activation) -> int:
    """The counter as it stands: what a state of the body made of it counts, what another loop wrote does not."""
    value = context.info.get(activation.iter_key)
    if type(value) is int and value != context.counters.get(activation.iter_key):
        return value
    return activation.value


class SuperpositionState(MachineState):
    """Several states at once, each with what follows it, until all of them are terminal; then ``nextState``.

    The first part that expects a message takes it. One that no part expects is held back, and tried again until none
    matches; what is left over is for the state after this one. Parts that wait for nothing begin in reverse order, as
    in the original.

    :cvar state_constructors: the parts: state classes, their names, or callables that return them.
    :cvar nextState: a state class, its name, or a callable without arguments that returns it.
    :ivar states: the parts as they stand.
    """

    state_constructors: Sequence[StateReference] = ()
    nextState: StateReference = TerminalState

    _holds_back = True

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        owner = next(c for c in type(self).__mro__ if "state_constructors" in vars(c))
        self.states: list[MachineState] = [
            enter(self, resolve(part, "state_constructors", owner, type(self))) for part in self.state_constructors
        ]
        self._begun = False

    def post_transition(self) -> MachineState:
        if not self._begun:
            self._begun = True
            for at in reversed(range(len(self.states))):
                self.states[at] = settle(self.states[at])
        return self._onward()

    def _onward(self) -> MachineState:
        done = True
        for part in self.states:
            if isinstance(part, ErrorState):
                return part
            done = done and isinstance(part, TerminalState)
        return self._follow("nextState") if done else self

    def _offer(self, message: str) -> MachineState | None:
        for at, part in enumerate(self.states):
            if isinstance(part, TerminalState):
                continue
            following = deliver(part, message)
            if following is not None:
                self.states[at] = following
                return self
        return None

    def _informed(self) -> MachineState:
        for at, part in enumerate(self.states):
            self.states[at] = inform(part)
        return self

    def _expected(self) -> list[str]:
        return [text for part in self.states for text in part._expected()]

    def str_extra(self) -> str:
        return f"(superposition: {' '.join(part.str_extra() for part in self.states)})"


class InfoWatcherState(OnePassState):
    """Waits for any ``INFO`` of the worker, then sends ``command`` and goes to ``nextState``.

    The INFOs of one read wake it once; those that came before it was entered are past. Alone it takes no reply: one
    that comes is an error. In a superposition it leaves replies to the other parts.
    """

    def info_updated(self) -> bool:
        """Called when INFOs have been put into ``self.info``, once for each read: true goes on, false waits."""
        return True

    def get_expect(self) -> str | None:
        return "INFO:"

    def post_transition(self) -> MachineState:
        return self

    def _informed(self) -> MachineState:
        return self.kick() if self.info_updated() else self

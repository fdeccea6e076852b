"""The combinators are states that choose, repeat, run side by side, and watch."""

from collections.abc import Sequence

from mu_twisted.fsm._context import Activation, Context
from mu_twisted.fsm._references import resolve
from mu_twisted.fsm._states import (
    ErrorState,
    MachineState,
    OnePassState,
    StateReference,
    TerminalState,
    deliver,
    enter,
    notify,
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
        """Decides; ``self.messages[-1]`` is the message just received, ``self.info`` what the worker reported.

        A state without ``expect`` receives none: it finds the one before in ``self.prevState.messages[-1]``.
        """
        return True

    def post_transition(self) -> MachineState:
        return self._follow("consequentState" if self.testfn() else "alternativeState")


class ForLoopState(OnePassState):
    """The head of a loop with a counter: goes to ``loopState`` as often as the counter says, then to ``exitState``.

    The loop's body comes back here by its ``nextState``. The counter is in ``info`` as soon as the head is constructed,
    one below ``iterInit`` at first; what a state puts there counts. The loop ends early, the next time its head is
    reached, if ``info[breakKey]`` is set and not empty; the key is removed with the loop. Loops may be nested with the
    same keys: which ones are under way is noted beside ``info`` (the original looks at the break key, and fails with
    two).

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

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        at = self._under_way()
        begins = at is None
        self._round = self.iterInit - 1 if at is None else _count(self._context, self._loops[at])
        self._first = self._round if begins else None
        _note(self._context, self.iterKey, self._round)
        self.info.setdefault(self.breakKey, False)

    def post_transition(self) -> MachineState:
        return self._follow("loopState" if self._again() else "exitState")

    def _under_way(self) -> int | None:
        """Where this loop stands among those that have begun and not ended."""
        loops = self._loops
        return next((at for at in reversed(range(len(loops))) if loops[at].loop is type(self)), None)

    def _again(self) -> bool:
        at = self._under_way()
        # Loops further in were left by a jump, and are over too.
        outer = self._loops if at is None else self._loops[:at]
        count = self._round
        value = self.info.get(self.iterKey)
        if type(value) is int and value != self._context.counters.get(self.iterKey):
            count = value
        elif self._first is not None:
            count = self.iterInit - 1  # which a constructor may have changed since
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
        self._loops = (*outer, Activation(type(self), self.iterKey, self.breakKey, count + 1))
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
        with self._context.within():
            self.states: list[MachineState] = [
                enter(prevState, resolve(part, "state_constructors", MachineState, owner, type(self)))
                for part in self.state_constructors
            ]

    def info_updated(self) -> bool | None:
        """Notifies the parts."""
        for part in self.states:
            notify(part)
        return None

    def _onward(self) -> MachineState:
        self._kicked = False
        with self._context.within():
            for at in reversed(range(len(self.states))):
                self.states[at] = settle(self.states[at])
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
            with self._context.within():
                following = deliver(part, message)
            if following is not None:
                self.states[at] = following
                return self
        return None

    def _expected(self) -> list[str]:
        return [text for part in self.states for text in part._expected()]

    def str_extra(self) -> str:
        return f"(superposition: {' '.join(part.str_extra() for part in self.states)})"


class InfoWatcherState(OnePassState):
    """Waits for any ``INFO`` of the worker, then sends ``command`` and goes to ``nextState``.

    The INFOs of one read wake it once; those that came before it was entered are past. Alone it takes no reply: one
    that comes is an error. In a superposition it leaves replies to the other parts.
    """

    def info_updated(self) -> bool | None:
        """Called when INFOs have been put into ``self.info``, once for each read: true goes on, false waits.

        An override that returns None goes on if it has called :meth:`kick`, itself or through this one.
        """
        self.kick()
        return None

    def get_expect(self) -> str | None:
        return self.expect or "INFO:"

"""Attributes and hooks of states mean what they mean in the original's machine_state, so that ported states work."""

import gc
import warnings
import weakref
from typing import Any

import pytest

from mu_twisted.fsm import (
    CommandListState,
    ErrorState,
    ForLoopState,
    IfElseState,
    InfoWatcherState,
    Machine,
    MachineState,
    MultiPassState,
    OnePassState,
    Outcome,
    SuperpositionState,
    TerminalState,
)


def started(first: type[MachineState], **given: Any) -> Machine:
    machine = Machine(first, **given)
    machine.start()
    return machine


class Done(TerminalState):
    pass


# post_transition: once, after the expected reply.


class Judge(OnePassState):
    """As the original's xcenc judges whether states have converged."""

    expect = "OK:RETVAL("
    nextState = Done

    def post_transition(self) -> MachineState:
        self.info["well"] = self.messages[-1].startswith("OK:RETVAL(0)")
        self.info["calls"] = self.info.get("calls", 0) + 1
        return self.nextState(self)


class JudgeByBranch(IfElseState):
    expect = "OK:RETVAL("
    consequentState = Done
    alternativeState = ErrorState

    def testfn(self) -> bool:
        return self.messages[-1].startswith("OK:RETVAL(0)")

    def post_transition(self) -> MachineState:
        self.info["well"] = self.testfn()
        self.info["calls"] = self.info.get("calls", 0) + 1
        return super().post_transition()


class JudgeByLoop(ForLoopState):
    expect = "OK:RETVAL("
    iterFin = 1
    exitState = Done
    loopState = Done

    def post_transition(self) -> MachineState:
        self.info["well"] = self.messages[-1].startswith("OK:RETVAL(0)")
        self.info["calls"] = self.info.get("calls", 0) + 1
        return super().post_transition()


class JudgeByWatcher(InfoWatcherState):
    expect = "OK:RETVAL("

    def post_transition(self) -> MachineState:
        self.info["well"] = self.messages[-1].startswith("OK:RETVAL(0)")
        self.info["calls"] = self.info.get("calls", 0) + 1
        return Done(self)


JUDGES = [Judge, JudgeByBranch, JudgeByLoop, JudgeByWatcher]


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("beside", [False, True])
def test_post_transition_is_called_once_after_the_expected_reply(judge: type[MachineState], beside: bool) -> None:
    class Compare(OnePassState):
        expect = "OK:HELLO"
        command = "run:sleep 3; true"
        nextState = judge

    class Beside(SuperpositionState):
        state_constructors = [Compare]

    machine = started(Beside if beside else Compare)
    assert machine.receive([b"OK:HELLO"]) == [b"run:sleep 3; true"]
    assert machine.outcome is Outcome.RUNNING
    assert "calls" not in machine.info
    machine.receive([b"OK:RETVAL(0):OUTPUT():COMMAND(x)"])
    assert machine.outcome is Outcome.DONE
    assert (machine.info["well"], machine.info["calls"]) == (True, 1)


def test_post_transition_of_a_state_that_expects_nothing_is_called_once_at_once() -> None:
    class AtOnce(OnePassState):
        command = "echo:1"

        def post_transition(self) -> MachineState:
            self.info["calls"] = self.info.get("calls", 0) + 1
            return Done(self)

    machine = Machine(AtOnce)
    assert machine.start() == [b"echo:1"]
    assert (machine.outcome, machine.info["calls"]) == (Outcome.DONE, 1)


def test_a_post_transition_that_stays_waits_for_the_same_reply_again() -> None:
    class Poll(OnePassState):
        expect = "OK:GET("
        command = "get:progress"

        def post_transition(self) -> MachineState:
            return self if self.messages[-1] != "OK:GET(100)" else Done(self)

    machine = started(Poll)
    assert machine.receive([b"OK:GET(1)"]) == [b"get:progress"]
    assert machine.receive([b"OK:GET(50)"]) == [b"get:progress"]
    machine.receive([b"OK:GET(100)"])
    assert machine.outcome is Outcome.DONE


def test_entered_is_called_once_on_entry_of_every_kind_of_state() -> None:
    def entered(self: MachineState) -> None:
        self.enqueue(f"echo:{type(self).__name__}")

    for kind in (OnePassState, IfElseState, ForLoopState, MultiPassState, CommandListState, InfoWatcherState):
        given = {"expect": "OK:X", "expects": ["OK:X"], "commands": [None], "commandlist": [("OK:X", None)]}
        state = type(kind.__name__, (kind,), {**given, "entered": entered})
        both = type("Both", (SuperpositionState,), {"state_constructors": [state], "entered": entered})
        assert Machine(state).start() == [b"echo:%s" % kind.__name__.encode()]
        machine = Machine(both)
        assert machine.start() == [b"echo:Both", b"echo:%s" % kind.__name__.encode()]
        machine.receive([b"INFO:k:v"])
        if machine.outcome is Outcome.RUNNING:
            assert machine.receive([b"OK:X"]) == []


# Warnings, when a class is made.


def made(kind: type[MachineState], **given: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        type("Made", (kind,), given)
    assert all(w.category is FutureWarning and w.filename == __file__ for w in caught)
    return [str(w.message) for w in caught]


def kicks(self: Any) -> Any:
    return self.kick() if self.info.get("ready") else self


def stays(self: Any) -> Any:
    self.enqueue("echo:1")
    return self


def judges(self: Any) -> Any:
    self.info["well"] = self.messages[-1].startswith("OK:RETVAL(0)")
    return self.nextState(self)


def polls(self: Any) -> Any:
    return self.nextState(self) if self.messages[-1] == "OK" else self


@pytest.mark.parametrize("hook", [kicks, stays])
@pytest.mark.parametrize("kind", [OnePassState, IfElseState, ForLoopState, InfoWatcherState])
def test_an_entry_hook_under_the_name_post_transition_is_warned_of(kind: type[MachineState], hook: Any) -> None:
    [text] = made(kind, post_transition=hook, expect="OK")
    assert "Made: post_transition is called once, after the expected reply" in text
    assert "entered()" in text


@pytest.mark.parametrize("kind", [MultiPassState, CommandListState, SuperpositionState, TerminalState, MachineState])
def test_a_post_transition_that_is_never_called_is_warned_of(kind: type[MachineState]) -> None:
    [text] = made(kind, post_transition=judges)
    assert "never called" in text


@pytest.mark.parametrize("hook", [judges, polls])
def test_a_ported_post_transition_is_not_warned_of(hook: Any) -> None:
    for kind in (OnePassState, IfElseState, ForLoopState, InfoWatcherState):
        assert made(kind, post_transition=hook, expect="OK:RETVAL(") == []


def test_a_state_that_looks_at_messages_that_it_cannot_have_is_warned_of() -> None:
    def testfn(self: Any) -> bool:
        return self.messages[-1] == "OK"

    def sound(self: Any) -> bool:
        return self.prevState.messages[-1] == "OK"

    [text] = made(IfElseState, testfn=testfn)
    assert "self.prevState.messages[-1]" in text
    assert made(IfElseState, testfn=testfn, expect="OK") == []
    assert made(IfElseState, testfn=sound) == []


# ErrorState: the original's order of arguments.


class OtherNames(ErrorState):
    def __init__(self, prev: MachineState, aNum: int = 0, gNum: int = 0) -> None:
        super().__init__(prev, aNum)


class OwnText(ErrorState):
    def __init__(self, prev: MachineState, reason: str = "no frames") -> None:
        super().__init__(prev, "there are " + reason)


class OwnDefault(ErrorState):
    def __init__(self, prev: MachineState, reason: str | None = None, number: int = 0) -> None:
        super().__init__(prev, reason or "no frames", number)


class Original(ErrorState):
    def __init__(self, prevState: MachineState, err: str = "", actorNum: int = 0) -> None:
        super().__init__(prevState, err, actorNum)


class Everything(ErrorState):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda s: ErrorState(s, "why"), "why"),
        (lambda s: ErrorState(s, "why", 3), "why"),
        (lambda s: ErrorState(s, 3, "why"), "why"),
        (lambda s: ErrorState(s, err="why"), "why"),
        (lambda s: ErrorState(s, ValueError("why")), "why"),
        (lambda s: ErrorState(s, 3), "(error)"),
        (lambda s: ErrorState(s), "(error)"),
        (lambda s: OwnText(s, "none"), "there are none"),
        (lambda s: Original(s, "why"), "why"),
    ],
)
def test_an_error_states_second_argument_is_a_reason_or_a_tasks_number(make: Any, reason: str) -> None:
    class Check(OnePassState):
        expect = "OK:HELLO"

        def post_transition(self) -> MachineState:
            return make(self)

    machine = started(Check, actor_num=5)
    machine.receive([b"OK:HELLO"])
    assert (machine.error or "").endswith(f": {reason}")
    assert machine.text == f"5:{reason}"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (OtherNames, "(error)"),
        (OwnText, "there are no frames"),
        (OwnDefault, "no frames"),
        (Original, "(error)"),
        (Everything, "(error)"),
    ],
)
def test_an_error_state_is_reached_by_name_whatever_its_parameters_are_called(
    state: type[ErrorState], reason: str
) -> None:
    class Check(OnePassState):
        expect = "OK:HELLO"
        nextState = state

    machine = started(Check, actor_num=5)
    machine.receive([b"OK:HELLO"])
    assert machine.error == f"state Check: went to {state.__name__}: {reason}"
    assert machine.text.startswith("5:")


def test_a_state_may_make_itself_an_error_state() -> None:
    class Final(TerminalState):
        def __init__(self, prevState: MachineState, aNum: int = 0) -> None:
            super().__init__(prevState, aNum)
            self.__class__ = ErrorState
            self.err = f"not converged for state {self.actorNum}"

    class Check(OnePassState):
        expect = "OK:HELLO"
        nextState = Final

    machine = started(Check, actor_num=5)
    machine.receive([b"OK:HELLO"])
    assert machine.error == "state Check: went to ErrorState: not converged for state 5"


# actorNum, prevState, messages.


def test_the_tasks_number_is_that_of_the_state_before() -> None:
    class Use(OnePassState):
        def __init__(self, prevState: MachineState, aNum: int = 0) -> None:
            super().__init__(prevState, aNum)
            self.command = f"echo:{self.actorNum}"

    class Check(OnePassState):
        expect = "OK:HELLO"
        nextState = Use

        def post_transition(self) -> MachineState:
            return self.nextState(self)

    assert started(Check, actor_num=5).receive([b"OK:HELLO"]) == [b"echo:5"]


def test_messages_are_those_of_each_state_and_the_ones_before_are_in_prev_state() -> None:
    seen: list[list[str]] = []

    class Final(TerminalState):
        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            state: MachineState | None = self
            while state is not None:
                seen.append(state.messages)
                state = state.prevState

    class Last(CommandListState):
        commandlist = [(None, "set:a:1"), (None, "set:b:1"), "set:c:1", None]
        nextState = Final

    class Middle(OnePassState):
        nextState = Last

    class First(MultiPassState):
        expects = ["OK:HELLO", "OK:A", None, "OK:B"]
        commands = ["a", "b", "c", None]
        nextState = Middle

    machine = started(First)
    machine.receive([b"OK:HELLO", b"OK:A", b"OK:B", b"OK:SET(a)", b"OK:SET(b)"])
    assert machine.outcome is Outcome.DONE
    assert seen == [[], ["", "OK:SET(a)", "OK:SET(b)"], [""], ["OK:HELLO", "OK:A", "OK:B"]]


def test_a_first_state_has_none_before_it_and_a_part_its_superpositions() -> None:
    found: list[MachineState | None] = []

    class Part(OnePassState):
        expect = "OK:X"

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            found.append(self.prevState)

    class Inner(SuperpositionState):
        state_constructors = [Part]

    class Outer(SuperpositionState):
        state_constructors = [Inner, Part]

    class First(OnePassState):
        expect = "OK:HELLO"
        nextState = Outer

    machine = started(First)
    assert machine._state.prevState is None
    machine.receive([b"OK:HELLO"])
    assert [type(state) for state in found] == [First, First]
    assert Machine(Part).start() == []
    assert found[-1] is None


def test_states_long_past_are_freed() -> None:
    states: list[Any] = []

    class Loop(ForLoopState):
        iterFin = 1000
        expect = "OK"
        loopState = lambda: Loop  # noqa: E731

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            states.append(weakref.ref(self))

    machine = started(Loop)
    machine.receive([b"OK"] * 500)
    gc.collect()
    assert sum(ref() is not None for ref in states) <= 17


# The counter of a ForLoopState.


def test_a_loops_counter_is_in_info_when_its_constructor_runs() -> None:
    seen: list[int] = []

    class Loop(ForLoopState):
        iterKey = "i"
        iterInit = 3
        iterFin = 6
        expect = "OK"
        loopState = lambda: Loop  # noqa: E731

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            seen.append(self.info["i"])
            assert self.info["_loop_break"] is False

    machine = started(Loop)
    machine.receive([b"OK"] * 4)
    assert machine.outcome is Outcome.DONE
    assert seen == [2, 3, 4, 5]


def test_a_loops_constructor_may_set_the_counter_or_where_it_begins() -> None:
    class Body(OnePassState):
        nextState = lambda: first  # noqa: E731

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.command = f"echo:{self.info['iter_key']}"

    class Sets(ForLoopState):
        iterFin = 5
        loopState = Body

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            if self.info["iter_key"] < 0:
                self.info["iter_key"] = 2

    class Begins(ForLoopState):
        iterFin = 5
        loopState = Body

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.iterInit = 3

    for first in (Sets, Begins):
        assert Machine(first).start() == [b"echo:3", b"echo:4"]


# info_updated and kick.


class Kicks(InfoWatcherState):
    command = "echo:told"

    def info_updated(self) -> None:
        if self.info.get("wanted"):
            self.kick()


class KicksByBase(InfoWatcherState):
    command = "echo:told"

    def info_updated(self) -> None:
        if self.info.get("wanted"):
            super().info_updated()


class KicksTwice(InfoWatcherState):
    command = "echo:told"

    def info_updated(self) -> None:
        if self.info.get("wanted"):
            self.kick()
            self.kick()


class Says(InfoWatcherState):
    command = "echo:told"

    def info_updated(self) -> bool:
        return bool(self.info.get("wanted"))


class AnyState(OnePassState):
    expect = "OK:NEVER"
    command = "echo:told"

    def info_updated(self) -> None:
        if self.info.get("wanted"):
            self.kick()


class Line(CommandListState):
    commandlist = [("OK:NEVER", "echo:told")]

    def info_updated(self) -> None:
        if self.info.get("wanted"):
            self.kick()


WATCHERS = [Kicks, KicksByBase, KicksTwice, Says, AnyState, Line]


@pytest.mark.parametrize("watcher", WATCHERS)
@pytest.mark.parametrize("depth", [0, 1, 2])
def test_a_state_that_is_kicked_by_an_info_goes_on_once(watcher: type[MachineState], depth: int) -> None:
    first = watcher
    for _ in range(depth):
        first = type("Around", (SuperpositionState,), {"state_constructors": [first]})
    machine = started(first)
    assert machine.receive([b"INFO:other:1"]) == []
    assert machine.outcome is Outcome.RUNNING
    assert machine.receive([b"INFO:wanted:1"]) == [b"echo:told"]
    assert machine.outcome is Outcome.DONE


def test_a_watcher_with_an_expectation_goes_on_by_that_too() -> None:
    class Either(InfoWatcherState):
        expect = "OK:GETI"
        command = "echo:told"

    assert started(Either).receive([b"OK:GETI(k)"]) == [b"echo:told"]
    assert started(Either).receive([b"INFO:k:v"]) == [b"echo:told"]


def test_parts_that_are_kicked_go_on_in_reverse_order_as_in_the_original() -> None:
    one = type("One", (InfoWatcherState,), {"command": "echo:1"})
    two = type("Two", (InfoWatcherState,), {"command": "echo:2"})
    both = type("Both", (SuperpositionState,), {"state_constructors": [one, two]})
    assert started(both).receive([b"INFO:k:v"]) == [b"echo:2", b"echo:1"]


def test_a_superpositions_own_info_updated_may_pass_it_on_or_not() -> None:
    class Deaf(SuperpositionState):
        state_constructors = [Kicks]

        def info_updated(self) -> None:
            if self.info.get("open"):
                super().info_updated()

    machine = started(Deaf)
    assert machine.receive([b"INFO:wanted:1"]) == []
    assert machine.receive([b"INFO:open:1"]) == [b"echo:told"]


@pytest.mark.parametrize("hook", ["entered", "transition"])
def test_a_state_that_kicks_itself_for_ever_is_an_error(hook: str) -> None:
    def again(self: Any, *_: Any) -> Any:
        self.kick()
        return self if hook == "transition" else None

    state = type("Again", (OnePassState,), {hook: again, "nextState": lambda: state})
    machine = started(state)
    assert machine.outcome is Outcome.FAILED
    assert "has no end" in (machine.error or "")


# What is not here.


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("timestamps", "-O"),
        ("stateinfo", "-O"),
        ("recv_queue", "kick()"),
        ("sock", "no socket"),
        ("close", "ErrorState"),
    ],
)
def test_an_attribute_of_the_originals_that_is_not_here_names_what_takes_its_place(name: str, instead: str) -> None:
    class Old(OnePassState):
        expect = "OK"

        def post_transition(self) -> MachineState:
            getattr(self, name)
            return Done(self)

    machine = started(Old)
    machine.receive([b"OK"])
    assert (machine.error or "").startswith(f"state Old: AttributeError: Old has no attribute {name!r}: ")
    assert instead in (machine.error or "")

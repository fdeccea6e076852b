"""The Machine and its states beyond the recorded scenarios: references, errors, limits, what the original breaks on."""

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
    Worker,
    default_expect,
)
from mu_twisted.fsm._machine import MAX_TEXT
from mu_twisted.wire import MAX_COMMAND


def started(first: Any, **given: Any) -> Machine:
    machine = Machine(first, **given)
    machine.start()
    return machine


# States in reading order: this module is where their names are looked up.


class Greet(OnePassState):
    expect = "OK:HELLO"
    command = "echo:1"
    nextState = "Later"


class Later(OnePassState):
    expect = "OK:ECHO"
    nextState = lambda: "Last"  # noqa: E731


class Last(OnePassState):
    command = "quit:"

    def nextState(self) -> type[MachineState]:
        return TerminalState


class Astray(OnePassState):
    expect = "OK:HELLO"
    nextState = "NoSuchState"


class NotAState(OnePassState):
    expect = "OK:HELLO"
    nextState = lambda: int  # noqa: E731


def test_a_next_state_may_be_a_name_a_callable_or_a_method() -> None:
    machine = started(Greet)
    assert machine.receive([b"OK:HELLO"]) == [b"echo:1"]
    assert machine.receive([b"OK:ECHO(1)"]) == [b"quit:"]
    assert machine.outcome is Outcome.DONE


@pytest.mark.parametrize(("first", "wrong"), [(Astray, "NoSuchState"), (NotAState, "int")])
def test_a_next_state_that_is_none_fails_the_machine_and_is_named(first: type[MachineState], wrong: str) -> None:
    machine = started(first)
    assert machine.receive([b"OK:HELLO"]) == []
    assert machine.outcome is Outcome.FAILED
    assert f"state {first.__name__}: nextState" in (machine.error or "")
    assert wrong in (machine.error or "")


def test_an_inherited_name_is_looked_up_where_it_was_written() -> None:
    class Elsewhere(Greet):
        __module__ = "builtins"

    machine = started(Elsewhere)
    machine.receive([b"OK:HELLO"])
    assert machine.state_name == "Later"


class Wrong(CommandListState):
    commandlist = [("OK:HELLO", "run:./x"), ("OK:RETVAL(0)", None)]


@pytest.mark.parametrize("reply", [b"OK:RETVAL(1):OUTPUT(no):COMMAND(./x)", b"FAIL(no)", b"", b"\xff\0\n"])
def test_an_error_names_the_state_the_expected_text_and_what_came(reply: bytes) -> None:
    machine = started(Wrong)
    machine.receive([b"OK:HELLO"])
    assert machine.receive([reply]) == []
    assert machine.outcome is Outcome.FAILED
    shown = repr(reply.decode("utf-8", "surrogateescape"))
    assert machine.error == f"state Wrong: expected 'OK:RETVAL(0)', got {shown}"
    assert machine.state_name == "ErrorState"


def test_an_error_is_one_bounded_line_and_keeps_the_end_of_the_output() -> None:
    machine = started(Wrong)
    machine.receive([b"OK:HELLO"])
    machine.receive([b"OK:RETVAL(1):OUTPUT(" + b"x\n" * 1_000_000 + b"the cause):COMMAND(./x)"])
    assert machine.error is not None
    assert len(machine.error) < 1000
    assert "\n" not in machine.error
    assert "the cause" in machine.error


def test_a_read_that_fails_sends_nothing() -> None:
    machine = started(Wrong)
    assert machine.receive([b"OK:HELLO", b"FAIL(x)"]) == []


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize("exception", [KeyError("k"), Unprintable(), SystemExit(3), RecursionError(), MemoryError()])
@pytest.mark.parametrize("where", ["__init__", "transition", "post_transition", "get_expect", "testfn", "info_updated"])
def test_an_exception_inside_a_state_ends_its_machine_only(exception: BaseException, where: str) -> None:
    def fails(self: MachineState, *given: Any) -> Any:
        raise exception

    base = {"testfn": IfElseState, "info_updated": InfoWatcherState}.get(where, OnePassState)
    bad = type("Bad", (base,), {where: fails})

    class First(OnePassState):
        expect = "OK:HELLO"
        nextState = bad

    machine = started(First)
    machine.receive([b"OK:HELLO"])
    if machine.outcome is Outcome.RUNNING:
        machine.receive([b"INFO:k:v", b"OK"])
    assert machine.outcome is Outcome.FAILED
    assert (machine.error or "").startswith(f"state Bad: {type(exception).__name__}")
    assert "test_machine.py line" in (machine.error or "")
    assert "\n" not in (machine.error or "")
    assert machine.receive([b"OK"]) == []


def test_what_a_state_spoils_for_the_machine_ends_that_machine_only() -> None:
    class Spoils(OnePassState):
        expect = "OK"

        def transition(self, message: str) -> MachineState:
            self.info = None  # type: ignore[assignment]
            return self

    class Mute(ErrorState):
        def str_extra(self) -> str:
            raise ValueError

    class ToMute(OnePassState):
        expect = "OK"
        nextState = Mute

    for first in (Spoils, ToMute):
        machine = started(first)
        machine.receive([b"OK"])
        machine.receive([b"INFO:k:v"])
        assert machine.outcome is Outcome.FAILED
        assert machine.error


def test_a_part_that_fails_is_named_itself() -> None:
    class Part(OnePassState):
        expect = "OK:A"

        def transition(self, message: str) -> MachineState:
            raise ZeroDivisionError

    class Both(SuperpositionState):
        state_constructors = [Wrong, Part]

    machine = started(Both)
    machine.receive([b"OK:A"])
    assert (machine.error or "").startswith("state Part: ZeroDivisionError")


def test_a_keyboard_interrupt_is_the_users_and_goes_through() -> None:
    class Interrupted(OnePassState):
        def post_transition(self) -> MachineState:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Machine(Interrupted).start()


def test_a_transition_that_returns_no_state_is_an_error() -> None:
    class Forgetful(OnePassState):
        expect = "OK"

        def transition(self, message: str) -> MachineState:
            return None  # type: ignore[return-value]

    machine = started(Forgetful)
    machine.receive([b"OK"])
    assert machine.error == "state Forgetful: its transition returned NoneType, which is no state"


def test_an_error_state_ends_the_machine_with_its_reason() -> None:
    class NoFrames(ErrorState):
        extra = "(there are no frames)"

    class Check(OnePassState):
        expect = "OK:HELLO"
        nextState = NoFrames

    machine = started(Check)
    machine.receive([b"OK:HELLO"])
    assert machine.outcome is Outcome.FAILED
    assert machine.error == "state Check: went to NoFrames: (there are no frames)"


def test_an_error_state_in_a_part_ends_the_machine() -> None:
    class Part(OnePassState):
        expect = "OK:A"
        nextState = ErrorState

    class Both(SuperpositionState):
        state_constructors = [Wrong, Part]

    machine = started(Both)
    machine.receive([b"OK:A"])
    assert machine.outcome is Outcome.FAILED


def test_nothing_is_taken_after_the_end() -> None:
    class Short(OnePassState):
        expect = "OK:HELLO"
        command = "quit:"

    machine = started(Short)
    assert machine.receive([b"OK:HELLO", b"FAIL(late)"]) == [b"quit:"]
    assert machine.outcome is Outcome.DONE
    assert machine.receive([b"FAIL(x)", b"INFO", b"OK"]) == []
    machine.fail("the connection is lost")
    assert machine.outcome is Outcome.DONE
    assert machine.error is None


def test_a_private_key_that_a_worker_sends_back_is_in_no_error() -> None:
    machine = started(Greet)
    machine.receive([b"FAIL(no such command 'identity:" + b"Q0VSVA" * 9 + b"= " + b"U0VDUkVU" * 9 + b"==')"])
    assert machine.reply == "FAIL(no such command 'identity:<secret>')"
    assert machine.error is not None
    assert "identity:<secret>" in machine.error
    assert "U0VD" not in machine.error + machine.text


def test_failing_from_outside_names_the_state() -> None:
    machine = started(Wrong)
    machine.fail("the worker closed the connection")
    assert machine.outcome is Outcome.FAILED
    assert machine.error == "state Wrong: the worker closed the connection"


def test_receive_starts_a_machine_that_was_not_started() -> None:
    class AtOnce(CommandListState):
        commandlist = [(None, "echo:1"), "echo:2"]

    assert Machine(AtOnce).receive([b"OK:ECHO(1)"]) == [b"echo:1", b"echo:2"]


@pytest.mark.parametrize("message", [b"INFO", b"INFO:", b"INFO:k", b"INFO::v", b"INFORMATION:k:v"])
def test_a_malformed_info_fails_the_machine_only(message: bytes) -> None:
    machine = started(Wrong)
    assert machine.receive([message]) == []
    assert machine.outcome is Outcome.FAILED
    assert (machine.error or "").startswith("state Wrong: expected INFO:key:value")


def test_infos_cannot_fill_the_memory() -> None:
    machine = started(Wrong)
    machine.receive([b"INFO:k%d:v" % n for n in range(1000)])
    assert machine.outcome is Outcome.RUNNING
    machine.receive([b"INFO:k7:w"])
    assert machine.outcome is Outcome.RUNNING
    machine.receive([b"INFO:one more:v"])
    assert machine.outcome is Outcome.FAILED
    large = started(Wrong)
    large.receive([b"INFO:k:" + b"v" * 100_000])
    assert large.outcome is Outcome.FAILED


def test_held_back_messages_cannot_fill_the_memory() -> None:
    class Part(OnePassState):
        expect = "OK:NEVER"

    class Both(SuperpositionState):
        state_constructors = [Part]

    machine = started(Both)
    machine.receive([b"OK:%d" % n for n in range(1000)])
    assert machine.outcome is Outcome.RUNNING
    assert machine.held == 1000
    machine.receive([b"OK:1000"])
    assert machine.outcome is Outcome.FAILED
    assert machine.held == 0


def kept(machine: Machine) -> list[str]:
    """All messages that can still be reached, from the state that stands."""
    found: list[str] = []
    state: MachineState | None = machine._state
    while state is not None:
        found[:0] = state.messages
        state = state.prevState
    return found


class Count(ForLoopState):
    iterFin = 10_000
    expect = "OK"
    loopState = lambda: Count  # noqa: E731


class Waits(OnePassState):
    expect = "OK"

    def post_transition(self) -> MachineState:
        return self if self.messages else TerminalState(self)


@pytest.mark.parametrize("first", [Count, Waits])
def test_messages_keep_the_last_ones_only(first: type[MachineState]) -> None:
    machine = started(first)
    machine.receive([b"OK:%d" % n for n in range(1000)])
    assert kept(machine)[-1] == "OK:999"
    assert len(kept(machine)) <= 256
    machine.receive([b"OK" + b"x" * 1_000_000] * 20)
    assert sum(map(len, kept(machine))) < 1_100_000
    machine.receive([b"OK"] * 2)
    assert sum(map(len, kept(machine))) < 1000


def test_the_states_of_a_long_loop_are_not_all_kept() -> None:
    machine = started(Count)
    machine.receive([b"OK"] * 9000)
    before, state = 0, machine._state.prevState
    while state is not None:
        before, state = before + 1, state.prevState
    assert 8 <= before <= 16


def test_a_loop_that_waits_for_nothing_and_never_ends_is_an_error() -> None:
    class Endless(ForLoopState):
        iterFin = 10**12
        loopState = lambda: Endless  # noqa: E731

    machine = started(Endless)
    assert machine.outcome is Outcome.FAILED
    assert "has no end" in (machine.error or "")


def test_a_superposition_of_itself_is_an_error() -> None:
    class Mirror(SuperpositionState):
        state_constructors = [lambda: Mirror]

    machine = started(Mirror)
    assert machine.outcome is Outcome.FAILED
    assert "superpositions within one another" in (machine.error or "")


@pytest.mark.parametrize("waits", [False, True])
def test_a_superposition_whose_parts_lead_to_itself_is_an_error(waits: bool) -> None:
    class Door(OnePassState):
        expect = "OK:ECHO" if waits else None
        command = "echo:in"
        nextState = lambda: Mirror  # noqa: E731

    class Mirror(SuperpositionState):
        state_constructors = [Door]

    machine = started(Mirror)
    for _ in range(100):
        if machine.outcome is Outcome.RUNNING:
            machine.receive([b"OK:ECHO(in)"])
    assert machine.outcome is Outcome.FAILED
    assert "superpositions within one another" in (machine.error or "")


def test_superpositions_may_stand_within_others() -> None:
    made: type = TerminalState
    for _ in range(40):
        made = type("Outer", (SuperpositionState,), {"state_constructors": [made, TerminalState]})
    assert started(made).outcome is Outcome.DONE


def test_a_command_longer_than_a_worker_accepts_is_an_error() -> None:
    class Long(OnePassState):
        command = "echo:" + "x" * MAX_COMMAND

    machine = started(Long)
    assert machine.outcome is Outcome.FAILED
    assert "longer than a worker accepts" in (machine.error or "")


def test_a_command_that_is_no_text_is_an_error() -> None:
    class Number(OnePassState):
        command = 7  # type: ignore[assignment]

    assert "a command must be text, got 7" in (started(Number).error or "")


def test_lists_of_different_length_are_an_error() -> None:
    class Uneven(MultiPassState):
        expects = ["OK:HELLO"]
        commands = ["echo:1", "echo:2"]

    assert "2 commands, but 1 expected texts" in (started(Uneven).error or "")


def test_an_empty_list_goes_on_at_once() -> None:
    class Nothing(CommandListState):
        nextState = Last

    assert Machine(Nothing).start() == [b"quit:"]


def test_lists_changed_in_a_constructor_stay_with_that_state() -> None:
    class Changing(CommandListState):
        commandlist = [("OK:HELLO", "echo:{0}")]

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.commands = [c and c.format(actorNum) for c in self.commands]

    for task in (3, 4):
        assert Machine(Changing, task).receive([b"OK:HELLO"]) == [b"echo:%d" % task]


def test_settings_and_info_are_carried_along() -> None:
    class Note(OnePassState):
        expect = "OK:HELLO"
        nextState = lambda: Use  # noqa: E731

        def transition(self, message: str) -> MachineState:
            self.info["seen"] = message
            return super().transition(message)

    class Use(OnePassState):
        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.command = f"echo:{self.info['seen']} {self.info['group']} {self.settings['frames']} {self.actorNum}"

    machine = started(Note, actor_num=5, info={"group": 2}, settings={"frames": 6})
    assert machine.receive([b"OK:HELLO"]) == [b"echo:OK:HELLO 2 6 5"]


def test_bytes_that_are_not_utf8_pass_through() -> None:
    class Repeat(OnePassState):
        expect = "OK:GET"

        def transition(self, message: str) -> MachineState:
            self.enqueue("set:k:" + message[7:-1])
            return super().transition(message)

    assert started(Repeat).receive([b"OK:GET(\xff\xc3\xa9\0)"]) == [b"set:k:\xff\xc3\xa9\0"]


@pytest.mark.parametrize("iter_key", ["i", "o"])
def test_loops_nest_with_the_same_keys(iter_key: str) -> None:
    class Outer(ForLoopState):
        iterKey = "o"
        iterFin = 2
        loopState = lambda: Inner  # noqa: E731

    class Inner(ForLoopState):
        iterKey = iter_key
        iterFin = 3
        loopState = lambda: Body  # noqa: E731
        exitState = Outer

    class Body(OnePassState):
        nextState = Inner

        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            super().__init__(prevState, actorNum)
            self.command = f"echo:{self.info[iter_key]}"

    machine = Machine(Outer)
    assert machine.start() == [b"echo:0", b"echo:1", b"echo:2"] * 2
    assert machine.outcome is Outcome.DONE
    assert machine.info["o"] == 1
    assert "_loop_break" not in machine.info


def test_an_inner_loops_break_leaves_the_outer_one_running() -> None:
    class Outer(ForLoopState):
        iterKey = "o"
        iterFin = 2
        loopState = lambda: Inner  # noqa: E731

    class Inner(ForLoopState):
        iterFin = 3
        loopState = lambda: Body  # noqa: E731
        exitState = Outer

    class Body(OnePassState):
        expect = "OK"
        command = "echo:x"
        nextState = Inner

    machine = started(Outer)
    assert machine.receive([b"INFO:_loop_break:1", b"OK"]) == [b"echo:x"]
    assert machine.info["o"] == 1
    assert machine.receive([b"OK", b"OK", b"OK"]) == [b"echo:x"] * 3
    assert machine.outcome is Outcome.DONE


def test_loops_in_two_parts_count_for_themselves() -> None:
    class Loop(ForLoopState):
        iterFin = 3

    class One(Loop):
        loopState = lambda: OneBody  # noqa: E731

    class Two(Loop):
        loopState = lambda: TwoBody  # noqa: E731

    class OneBody(OnePassState):
        expect = "OK:1"
        command = "echo:1"
        nextState = One

    class TwoBody(OnePassState):
        expect = "OK:2"
        command = "echo:2"
        nextState = Two

    class Both(SuperpositionState):
        state_constructors = [One, Two]

    machine = started(Both)
    sent = machine.receive([b"OK:1", b"OK:2"] * 3)
    assert sorted(sent) == [b"echo:1"] * 3 + [b"echo:2"] * 3
    assert machine.outcome is Outcome.DONE


def test_a_body_may_set_the_counter() -> None:
    class Loop(ForLoopState):
        iterKey = "i"
        iterFin = 10
        loopState = lambda: Body  # noqa: E731

    class Body(OnePassState):
        nextState = Loop

        def transition(self, message: str) -> MachineState:
            self.enqueue(f"echo:{self.info['i']}")
            self.info["i"] += 3
            return super().transition(message)

    assert Machine(Loop).start() == [b"echo:0", b"echo:4", b"echo:8"]


def test_messages_left_by_a_superposition_keep_their_order() -> None:
    class Part(OnePassState):
        expect = "OK:GO"

    class First(SuperpositionState):
        state_constructors = [Part]
        nextState = lambda: After  # noqa: E731

    class After(CommandListState):
        commandlist = [("OK:1", "echo:1"), ("OK:2", "echo:2"), ("OK:3", "echo:3")]

    machine = started(First)
    assert machine.receive([b"OK:1", b"OK:2", b"OK:GO", b"OK:3"]) == [b"echo:1", b"echo:2", b"echo:3"]
    assert machine.outcome is Outcome.DONE


def test_a_watcher_in_a_nested_superposition_is_woken() -> None:
    class Watcher(InfoWatcherState):
        command = "echo:told"

        def info_updated(self) -> bool:
            return self.info.get("wanted") == "1"

    class Inner(SuperpositionState):
        state_constructors = [Watcher]

    class Outer(SuperpositionState):
        state_constructors = [Inner]

    machine = started(Outer)
    assert machine.receive([b"INFO:other:1"]) == []
    assert machine.receive([b"INFO:wanted:1"]) == [b"echo:told"]
    assert machine.outcome is Outcome.DONE


def test_a_failed_run_is_held_back_while_only_other_runs_are_under_way() -> None:
    class Part(OnePassState):
        expect = "OK:RUNNING"
        nextState = lambda: Status  # noqa: E731

    class Status(OnePassState):
        expect = "OK:RETVAL(1)"

    class Both(SuperpositionState):
        state_constructors = [Part]

    machine = started(Both)
    machine.receive([b"OK:RETVAL(1):OUTPUT():COMMAND(x)"])
    assert machine.outcome is Outcome.RUNNING
    machine.receive([b"OK:RUNNING(x)"])
    assert machine.outcome is Outcome.DONE


def test_a_status_line_that_cannot_be_made_fails_nothing() -> None:
    class Shy(OnePassState):
        expect = "OK"

        def str_extra(self) -> str:
            raise ValueError

    assert started(Shy).text == "0:(Shy)"


@pytest.mark.parametrize("first", [None, "Greet", 7, object(), int])
def test_what_is_neither_state_nor_script_fails_at_the_start(first: Any) -> None:
    machine = Machine(first)
    assert machine.start() == []
    assert machine.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("set:a:b", "OK:SET"),
        ("seti:a:1", "OK:SETI"),
        ("run:echo a:b", "OK:R"),
        ("retrieve:k\0f", "OK:RETRIEV"),
        ("close_connect:", "OK:CLOSE_CONNECT"),
        ("quit:", "OK"),
        ("ping:1", "OK"),
        ("", "OK"),
    ],
)
def test_the_default_expectation_follows_from_the_command(command: str, expected: str) -> None:
    assert default_expect(command) == expected


def test_what_a_machine_failed_of_can_be_told_apart() -> None:
    class Runs(CommandListState):
        commandlist = [("OK:HELLO", "run:x"), ("OK:RETVAL(0)", None)]
        nextState = TerminalState

    async def script(w: Worker) -> None:
        await w.run("x")

    killed = b"OK:RETVAL(-9):OUTPUT():COMMAND(x)"
    for first, answer, reply, status in [
        (Runs, killed, killed.decode(), -9),
        (Runs, b"FAIL(no)", "FAIL(no)", None),
        (Runs, b"OK:RETVAL(x", "OK:RETVAL(x", None),
        (script, killed, None, -9),
        (script, b"FAIL(no)", "FAIL(no)", None),
    ]:
        machine = Machine(first, 0)  # type: ignore[arg-type]
        machine.receive([b"OK:HELLO"])
        machine.receive([answer])
        assert (machine.outcome, machine.reply, machine.status) == (Outcome.FAILED, reply, status)


@pytest.mark.parametrize("shown", [MAX_TEXT, MAX_TEXT + 1, 5 << 20])
def test_what_a_state_shows_has_a_bound(shown: int) -> None:
    class Shows(OnePassState):
        expect = "OK"

        def str_extra(self) -> str:
            return "x" * (shown - len("0:"))

    text = started(Shows).text
    assert text == ("0:" + "x" * (MAX_TEXT - 2) + (" ..." if shown > MAX_TEXT else ""))

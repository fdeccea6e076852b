"""Named messages in scripts and states, and the exchanges that are made of them."""

import re
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.fsm import (
    CommandListState,
    Machine,
    Outcome,
    Peering,
    TaskPipe,
    TerminalState,
    Worker,
    all_to_all,
    broadcast,
    gather,
    reduce,
)

HELLO = b"OK:HELLO"
Takes = Mapping[int, frozenset[str] | None]


def peering(takes: Takes | None = None, **more: Any) -> Peering:
    found = dict.fromkeys(range(100)) if takes is None else takes
    return Peering("[::1]:13337", "job-1", attempt=2, links=True, takes=lambda _: found, **more)


def begun(script: Any, task: int = 3, **more: Any) -> tuple[Machine, list[bytes]]:
    machine = Machine(script, task, peering=peering(**more))
    return machine, machine.receive([HELLO])


def test_a_script_sends_and_receives() -> None:
    got: list[Any] = []

    async def task(w: Worker) -> None:
        await w.send(5, "a/b: c", "##TMPDIR##/x")
        await w.send(5, "n", data=b"\xff\0:")
        got.append(await w.receive(7, "a/b: c"))
        got.append(await w.receive(7, "a/b: c"))
        got.append(await w.receive(7, "n", "here"))
        got.append(await w.receive_any("n"))

    machine, sent = begun(task)
    assert sent == [b"send:5:a/b: c\0##TMPDIR##/x"]
    for reply, command in [
        (b"OK:SEND(5/a/b: c)", b"send:5:n\0\0\xff\0:"),
        (b"OK:SEND(5/n)", b"receive:7:a/b: c\0##TMPDIR##/7.a_b__c"),
        (b"OK:RECEIVE(7/a/b: c)", b"receive:7:a/b: c\0##TMPDIR##/7.a_b__c.2"),
        (b"OK:RECEIVE(7/a/b: c)", b"receive:7:n\0here"),
        (b"OK:RECEIVE(7/n)", b"receive:*:n\0##TMPDIR##/any.n"),
    ]:
        assert machine.receive([reply]) == [command]
    assert machine.receive([b"OK:RECEIVE(12/n)"]) == []
    assert machine.outcome is Outcome.DONE
    assert got == ["##TMPDIR##/7.a_b__c", "##TMPDIR##/7.a_b__c.2", "here", (12, "##TMPDIR##/any.n")]


def test_replies_go_to_the_commands_that_they_name() -> None:
    async def task(w: Worker) -> None:
        await w.all(w.send(1, "x", "f"), w.receive(1, "x"), w.receive(2, "x"), w.receive_any("y"))
        w.extra = "all"

    machine, sent = begun(task)
    assert len(sent) == 4
    assert machine.receive([b"OK:RECEIVE(9/y)", b"OK:RECEIVE(2/x)", b"OK:RECEIVE(1/x)"]) == []
    assert machine.outcome is Outcome.RUNNING
    machine.receive([b"OK:SEND(1/x)"])
    assert machine.outcome is Outcome.DONE


class States(CommandListState):
    nextState = TerminalState
    commandlist = [(HELLO.decode(), "send:5:x\0##TMPDIR##/x"), "receive:5:x\0##TMPDIR##/y", None]


def test_states_have_the_same_commands() -> None:
    machine = Machine(States, 0, peering=peering())
    assert machine.receive([HELLO]) == [b"send:5:x\0##TMPDIR##/x"]
    assert machine.receive([b"OK:SEND(5/x)"]) == [b"receive:5:x\0##TMPDIR##/y"]
    assert machine.receive([b"OK:RECEIVE(5/x)"]) == []
    assert machine.outcome is Outcome.DONE
    machine = Machine(States, 0, peering=peering())
    machine.receive([HELLO])
    machine.receive([b"FAIL(no such file)"])
    assert machine.outcome is Outcome.FAILED


@pytest.mark.parametrize("as_states", [False, True])
@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("send:5:x\0f", None),
        ("send:7:y\0\0data", None),
        ("receive:5:x\0f", None),
        ("receive:*:y\0f", None),
        ("receive:*:y", None),
        ("send:6:x\0f", "task 6 is not declared to take messages of task 3"),
        ("send:5:y\0f", "task 5 is not declared to take 'y' of task 3, only ['x']"),
        ("receive:6:x\0f", "task 3 is not declared to take messages of task 6"),
        ("receive:5:y\0f", "task 3 is not declared to take 'y' of task 5, only ['x']"),
    ],
)
def test_what_is_written_out_must_be_declared_too(as_states: bool, command: str, why: str | None) -> None:
    async def task(w: Worker) -> None:
        await w.command(command)

    class Written(CommandListState):
        nextState = TerminalState
        commandlist = [(HELLO.decode(), command), None]

    takes: dict[int, Takes] = {3: {5: frozenset(["x"]), 7: None}, 5: {3: frozenset(["x"])}, 7: {3: None}}
    peers = Peering("[::1]:13337", "job-1", links=True, takes=lambda number: takes.get(number, {}))
    machine = Machine(Written if as_states else task, 3, peering=peers)
    assert machine.receive([HELLO]) == ([command.encode()] if why is None else [])
    assert (why or "") in (machine.error or "")
    assert machine.outcome is (Outcome.RUNNING if why is None else Outcome.FAILED)


def test_a_state_of_a_pipeline_that_declares_nothing_can_send_nothing() -> None:
    machine = Machine(States, 0)
    assert machine.receive([HELLO]) == []
    assert "this task has no peers" in (machine.error or "")


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda w: w.send(4, "x", "f"), "task 4 is not declared to take messages of task 3"),
        (lambda w: w.receive(4, "x"), "task 3 is not declared to take messages of task 4"),
        (lambda w: w.receive(1, "y"), r"task 3 is not declared to take 'y' of task 1, only \['x'\]"),
        (lambda w: w.receive_any("z"), "no task is declared to send 'z' to task 3"),
        (lambda w: w.send(3, "x", "f", data=b""), "one of both"),
        (lambda w: w.send(3, "x"), "one of both"),
        (lambda w: w.send(3, "x", "a\0b"), "without NUL"),
        (lambda w: w.send(3, "x", ""), "without NUL, and not empty, got ''"),
        (lambda w: w.send(3, "x", data="text"), "data is bytes"),
        (lambda w: w.send(3, "x", data=bytes(65537)), "65536 bytes at most, got 65537: send more as a file"),
        (lambda w: w.send(3, "", "f"), "1 to 200 bytes"),
        (lambda w: w.send(3, "é" * 101, "f"), "1 to 200 bytes"),
        (lambda w: w.send(3, "a\nb", "f"), "no control characters"),
        (lambda w: w.send(3, "\udcff", "f"), "a message's name is text"),
        (lambda w: w.send(3, b"x", "f"), "a message's name is text"),
        (lambda w: w.send("3", "x", "f"), "a task is a number"),
        (lambda w: w.receive(-1, "x"), "a task is a number"),
        (lambda w: w.receive(True, "x"), "a task is a number"),
        (lambda w: w.receive(1, "x", ""), "without NUL"),
    ],
)
def test_what_cannot_be_is_one_line(wrong: Any, why: str) -> None:
    async def task(w: Worker) -> None:
        await wrong(w)

    machine, sent = begun(task, takes={1: frozenset(["x"])} if "declared" in why else None)
    assert sent == []
    assert machine.outcome is Outcome.FAILED
    assert re.search(why, machine.error or ""), machine.error
    assert "\n" not in (machine.error or "")


def test_an_older_worker_is_found_out_by_the_first_message() -> None:
    async def task(w: Worker) -> None:
        await w.send(1, "x", data=b"")

    machine = Machine(task, 0, peering=Peering("h:1", "j", takes=lambda _: {0: None}))
    machine.receive([HELLO])
    assert "make the function again" in (machine.error or "")


# -- exchanges -----------------------------------------------------------------------------------------------------


class World:
    """Carries the messages of several machines, and counts them; files hold texts."""

    def __init__(self, script: Any, tasks: int) -> None:
        self.messages: dict[tuple[int, int, str], deque[str]] = defaultdict(deque)
        self.files: dict[int, dict[str, str]] = defaultdict(dict)
        self.sent = 0
        self.machines: dict[int, Machine] = {}
        self.waiting: dict[int, list[bytes]] = {}
        for task in range(tasks):
            machine = self.machines[task] = Machine(script, task, peering=peering())
            self.waiting[task] = machine.receive([HELLO])

    def run(self) -> None:
        moved = True
        while moved:
            moved = False
            for task, commands in self.waiting.items():
                self.waiting[task], pending = [], commands
                for command in pending:
                    reply = self._reply(task, command.decode())
                    if reply is None:
                        self.waiting[task].append(command)
                    else:
                        moved = True
                        self.waiting[task] += self.machines[task].receive([reply.encode()])

    def _reply(self, task: int, command: str) -> str | None:
        kind, _, rest = command.partition(":")
        files = self.files[task]
        if kind == "run":
            left, right, _, out = rest.split()
            files[out] = files[left] + files[right]
            return f"OK:RETVAL(0):OUTPUT():COMMAND({rest})"
        peer, _, rest = rest.partition(":")
        name, _, file = rest.partition("\0")
        if kind == "send":
            self.sent += 1
            self.messages[task, int(peer), name].append(files[file])
            return f"OK:SEND({peer}/{name})"
        assert kind == "receive"
        queue = self.messages[int(peer), task, name]
        if not queue:
            return None
        files[file] = queue.popleft()
        return f"OK:RECEIVE({peer}/{name})"


tasks = st.integers(1, 12).flatmap(lambda n: st.permutations(range(n)))


@given(tasks)
def test_all_to_all_gives_each_what_each_has_for_it(order: list[int]) -> None:
    got: dict[int, list[str]] = {}

    async def task(w: Worker) -> None:
        got[w.task] = await all_to_all(w, order, "x", [f"for-{to}" for to in order])

    world = World(task, len(order))
    for one in order:
        world.files[one] = {f"for-{to}": f"{one}->{to}" for to in order}
    world.run()
    assert world.sent == len(order) * (len(order) - 1)
    for one in order:
        assert [world.files[one][path] for path in got[one]] == [f"{frm}->{one}" for frm in order]


@given(tasks, st.data())
def test_gather_broadcast_and_reduce(order: list[int], data: st.DataObject) -> None:
    root = data.draw(st.sampled_from(order))
    got: dict[int, Any] = {}

    async def task(w: Worker) -> None:
        gathered = await gather(w, order, "g", "mine", root=root)
        every = await broadcast(w, order, "b", "mine" if w.task == root else None, root=root)
        joined = await reduce(w, order, "r", "mine", "{left} {right} > {out}", root=root)
        got[w.task] = gathered, every, joined

    world = World(task, len(order))
    for one in order:
        world.files[one]["mine"] = f"<{one}>"
    world.run()
    assert world.sent == 3 * (len(order) - 1)
    assert [world.files[root][path] for path in got[root][0]] == [f"<{one}>" for one in order]
    assert {world.files[one][got[one][1]] for one in order} == {f"<{root}>"}
    at = order.index(root)
    assert world.files[root][got[root][2]] == "".join(f"<{one}>" for one in order[at:] + order[:at])
    assert [one for one in order if got[one][2] is not None] == [root]


@pytest.mark.parametrize(
    ("exchange", "why"),
    [
        (lambda w: all_to_all(w, [1, 2], "x", ["a", "b"]), "task 0 among them"),
        (lambda w: all_to_all(w, [0, 1, 0], "x", ["a", "b", "c"]), "named once each"),
        (lambda w: all_to_all(w, [0, 1], "x", ["a"]), "1 files for 2 tasks"),
        (lambda w: gather(w, [0, 1], "x", "f", root=2), "task 2 is none of the tasks"),
        (lambda w: broadcast(w, [0, 1], "x"), "has given none"),
        (lambda w: reduce(w, [0, 1], "x", "f", "cat {left} > {out}"), "where {right} stands"),
    ],
)
def test_a_wrong_exchange_is_one_line(exchange: Any, why: str) -> None:
    async def task(w: Worker) -> None:
        await exchange(w)

    machine, _ = begun(task, task=0)
    assert machine.outcome is Outcome.FAILED
    assert why in (machine.error or "")


class Piped(CommandListState):
    """Uses one of the task's two pipes, or both."""

    commandlist = [("OK:HELLO", "run:sort < ##PIPE:in##"), None]
    nextState = TerminalState


class PipedTwice(Piped):
    commandlist = [("OK:HELLO", "run:sort < ##PIPE:in## > ##PIPE:out##"), None]


@pytest.mark.parametrize("as_states", [False, True])
@pytest.mark.parametrize("uses_both", [False, True])
def test_a_task_that_ends_without_having_used_its_pipe_has_failed(as_states: bool, uses_both: bool) -> None:
    async def task(w: Worker) -> None:
        await w.run("sort < {frm}" + uses_both * f" > {w.pipe_to(9, 'out')}", frm=w.pipe_from(7, "in"))

    states = PipedTwice if uses_both else Piped
    pipes = (TaskPipe("in", 7, 0, False), TaskPipe("out", 9, 2, True))
    machine, sent = begun(states if as_states else task, pipes=pipes)
    assert len(sent) == 1
    assert machine.receive([b"OK:RETVAL(0):OUTPUT():COMMAND(x)"]) == []
    assert machine.outcome is (Outcome.DONE if uses_both else Outcome.FAILED)
    wanted = ": it has ended, and no command of it has used pipe 'out' to task 9"
    assert (machine.error or wanted).endswith(wanted)

"""Tasks that wait for named messages: with fewer workers than tasks they take turns, and who waits in vain fails."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.jobs import (
    Assign,
    Dismiss,
    Interrupt,
    Job,
    JobPolicy,
    LaunchId,
    Ping,
    StartLaunches,
    TaskState,
    Warm,
)
from mu_twisted.jobs._lineage import Lineage

Step = tuple[Any, ...]
"""``("work", seconds)``, ``("send", to, name)``, ``("receive", frm, name)``; ``frm`` None: of any task."""


@dataclass
class Run:
    """One attempt, carried out by a worker."""

    task: int
    steps: list[Step]
    left: float = 0.0
    sent: dict[tuple[int, str], int] = field(default_factory=dict)
    taken: dict[tuple[int, str], int] = field(default_factory=dict)
    waits_since: float | None = None
    told: bool = False


class World:
    """Workers, and a rendezvous that keeps all that was sent."""

    def __init__(
        self, programs: Mapping[int, Sequence[Step]], workers: int | None, *, circles: bool = True, **policy: Any
    ) -> None:
        edges: dict[int, list[int]] = {task: [] for task in programs}
        for task, steps in programs.items():
            for step in steps:
                if step[0] == "send":
                    edges[step[1]].append(task)
        self.programs = programs
        self.now = 0.0
        self.job = Job(
            "j",
            sorted(programs),
            JobPolicy(max_workers=workers, **policy),
            **{"messages" if circles else "consumes": edges},
            random=lambda: 0.5,
        )
        self.kept: dict[tuple[int, int, str], int] = {}
        self.runs: dict[int, Run] = {}
        self.connected: dict[int, LaunchId] = {}
        self.attempts = 0
        self.numbers = iter(range(1, 1 << 30))
        self.act(self.job.start(0.0))

    def act(self, actions: Sequence[Any]) -> None:
        for action in actions:
            match action:
                case StartLaunches(ids):
                    for launch_id in ids:
                        number = next(self.numbers)
                        self.connected[number] = launch_id
                        self.act(self.job.worker_greeted(number, launch_id, self.now))
                case Assign():
                    self.attempts += 1
                    self.runs[action.worker] = Run(action.task, list(self.programs[action.task]))
                case Warm(worker) | Interrupt(worker):
                    self.runs.pop(worker, None)
                    self.act(self.job.worker_greeted(worker, self.connected[worker], self.now))
                case Ping(worker):
                    self.job.heard(worker)
                case Dismiss(worker):
                    self.runs.pop(worker, None)
                    self.act(self.job.worker_lost(worker, "it has quit", self.now))

    def play(self, seconds: float = 10_000.0, step: float = 0.5) -> None:
        end = self.now + seconds
        while not self.job.over and self.now < end:
            moved = True
            while moved:
                moved = False
                for worker, run in list(self.runs.items()):
                    moved = self.advance(worker, run) or moved
            self.now += step
            for run in self.runs.values():
                run.left = max(0.0, run.left - step)
            for worker, run in list(self.runs.items()):
                self.tell(worker, run)
            self.act(self.job.time_passed(self.now))

    def advance(self, worker: int, run: Run) -> bool:
        if run.left or self.runs.get(worker) is not run:
            return False
        if not run.steps:
            del self.runs[worker]
            self.act(self.job.task_done(worker, self.now))
            return True
        kind, *rest = run.steps[0]
        if kind == "work":
            run.left = rest[0]
        elif kind == "send":
            to, name = rest
            number = run.sent[to, name] = run.sent.get((to, name), 0) + 1
            key = run.task, to, name
            self.kept[key] = max(number, self.kept.get(key, 0))
        elif kind == "receive" and not self.receive(run, *rest):
            if run.waits_since is None:
                run.waits_since = self.now
            return False
        run.steps.pop(0)
        run.waits_since = None
        if run.told:
            run.told = False
            self.job.task_waits(worker, (), self.now)
        return True

    def receive(self, run: Run, frm: int | None, name: str) -> bool:
        for sender in self.programs if frm is None else (frm,):
            taken = run.taken.get((sender, name), 0)
            if self.kept.get((sender, run.task, name), 0) > taken:
                run.taken[sender, name] = taken + 1
                return True
        return False

    def tell(self, worker: int, run: Run) -> None:
        if run.waits_since is not None and not run.told and self.now - run.waits_since >= 0.5:
            run.told = True
            _, frm, name = run.steps[0]
            number = 1 + sum(
                count for (sender, one), count in run.taken.items() if one == name and frm in (None, sender)
            )
            self.job.task_waits(worker, ((frm, name, number),), self.now)

    @property
    def done(self) -> int:
        return self.job.counts().done


def shuffle(tasks: int, rounds: int = 1) -> dict[int, list[Step]]:
    """Each sends to all others, then receives of all; several times."""
    programs: dict[int, list[Step]] = {}
    for me in range(tasks):
        others = [task for task in range(tasks) if task != me]
        programs[me] = []
        for at in range(rounds):
            programs[me] += [("work", 1.0), *(("send", to, f"r{at}") for to in others)]
            programs[me] += [("receive", frm, f"r{at}") for frm in others]
    return programs


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("workers", [1, 2, 5, 16, None])
def test_a_shuffle_is_done_with_any_number_of_workers(workers: int | None, rounds: int) -> None:
    world = World(shuffle(16, rounds), workers)
    world.play()
    assert world.job.error is None
    assert world.done == 16
    if workers in (16, None):
        assert world.attempts == 16
    else:
        assert world.attempts <= 16 * (rounds + 2)


def test_a_ring_goes_round_with_one_worker() -> None:
    ring = {me: [("send", (me + 1) % 6, "x"), ("receive", (me - 1) % 6, "x")] for me in range(6)}
    world = World(ring, 1)
    world.play()
    assert (world.job.error, world.done) == (None, 6)


def test_a_worker_is_not_taken_from_a_task_whose_sender_is_at_work() -> None:
    world = World({0: [("receive", 1, "x")], 1: [("work", 300.0), ("send", 0, "x")], 2: [("work", 1.0)]}, 2)
    world.play()
    assert (world.done, world.attempts) == (3, 3)


def test_what_was_worked_for_is_not_given_away_while_others_may_soon_be_done() -> None:
    programs: dict[int, list[Step]] = {
        0: [("work", 150.0)],
        1: [("send", 2, "y"), ("work", 100.0), ("receive", 2, "x")],
        2: [("send", 1, "x"), ("receive", 1, "y")],
    }
    world = World(programs, 2)
    world.play()
    assert (world.done, world.attempts) == (3, 3)
    programs[0] = [("work", 1000.0)]
    world = World(programs, 2)
    world.play()
    assert (world.done, world.attempts) == (3, 4), "what has waited as long as it had worked gives way"


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        (
            {0: [("receive", 1, "x"), ("send", 1, "y")], 1: [("receive", 0, "y"), ("send", 0, "x")]},
            "it waits for 'x' of task 1, which ",
        ),
        ({0: [("receive", 1, "x")], 1: [("send", 0, "y")]}, "it waits for 'x' of task 1, which is done and has not"),
        ({0: [("receive", None, "x")], 1: [("send", 0, "y")]}, "it waits for 'x' of any task: none that may "),
        (
            {0: [("receive", 1, "x"), ("receive", 1, "x")], 1: [("send", 0, "x")]},
            "it waits for 'x' of task 1, which is done and has not sent it",
        ),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_who_waits_in_vain_fails_and_says_for_what(programs: dict[int, list[Step]], said: str, workers: int) -> None:
    world = World(programs, workers, retries=0)
    world.play(500.0)
    assert world.job.over
    assert any(error.startswith(said) for error in world.job.failures.values()), world.job.failures


def test_a_status_says_what_a_task_waits_for() -> None:
    world = World({0: [("receive", 1, "x")], 1: [("work", 50.0), ("send", 0, "x")]}, 2)
    world.play(10.0)
    assert [view.waits for view in world.job.tasks()] == ["waits for 'x' of task 1, which is at work", ""]
    world.play()
    assert [view.waits for view in world.job.tasks()] == ["", ""]


programs = st.integers(2, 7).flatmap(
    lambda tasks: st.tuples(
        st.just(tasks),
        st.lists(
            st.tuples(st.integers(0, tasks - 1), st.integers(0, tasks - 1), st.sampled_from("ab"), st.booleans()),
            max_size=25,
        ),
    )
)


@settings(max_examples=examples(150))
@given(programs, st.integers(1, 8), st.booleans())
def test_whatever_a_serial_order_can_do_is_done(
    drawn: tuple[int, list[tuple[int, int, str, bool]]], workers: int, circles: bool
) -> None:
    """Messages in a global order, each sent and then received: so in one schedule no task waits in vain."""
    tasks, messages = drawn
    steps: dict[int, list[Step]] = {task: [] for task in range(tasks)}
    for frm, to, name, work in messages:
        if not circles and frm > to:
            frm, to = to, frm  # noqa: PLW2901 - without circles only from low to high
        if frm != to:
            steps[frm] += [("work", 1.0)] * work + [("send", to, name)]
            steps[to].append(("receive", frm, name))
    world = World(steps, workers, circles=circles)
    world.play(20_000.0)
    assert world.job.over, [view for view in world.job.tasks() if view.state is not TaskState.DONE]
    assert (world.job.error, world.done) == (None, tasks)


@given(programs)
def test_the_order_puts_producers_first_and_circles_together(drawn: Any) -> None:
    tasks, edges = drawn
    consumes: dict[int, list[int]] = {}
    messages: dict[int, list[int]] = {}
    for frm, to, _, hard in edges:
        if frm < to and hard:
            consumes.setdefault(to, []).append(frm)
        elif frm != to:
            messages.setdefault(to, []).append(frm)
    lineage = Lineage(list(reversed(range(tasks))), consumes, messages)
    reach = {task: set(lineage.upstream([task], lambda _: True)) | {task} for task in range(tasks)}
    at = {task: slot for slot, task in enumerate(lineage.order)}
    assert sorted(at) == list(range(tasks))
    for task in range(tasks):
        for other in reach[task]:
            if task not in reach[other]:
                assert at[other] < at[task], "a producer comes before what needs it"
    for task, producers in consumes.items():
        circles = [producer for producer in producers if task in reach[producer]]
        assert all(at[producer] < at[task] for producer in circles), "within a circle what is consumed comes first"

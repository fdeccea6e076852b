"""A task moves as the table says, in every history, and the table holds no move that none makes."""

import ast
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.jobs import (
    TRANSITIONS,
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Job,
    JobPolicy,
    RecordError,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Submitted,
    TaskFailed,
    TaskState,
    record_from_dict,
)
from mu_twisted.jobs._ledger import Ledger
from mu_twisted.jobs._tasks import Task

ROOT = Path(__file__).parents[2]
DECISIONS = ("_chains", "_job", "_lifecycle", "_outcomes", "_scaling", "_stragglers", "_timeouts", "_view")
"""Modules that decide; what they decide about changes by its own methods."""
CHANGES = frozenset({"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem"})
CHANGES |= {"popleft", "remove", "setdefault", "sort", "update"}
"""Methods by which containers change."""
OWNERS = frozenset({"backlog", "holds", "launches", "pool", "timers"})
"""Parts of a job that are no containers: their methods of such names are theirs."""

Move = tuple[TaskState, TaskState]


class WatchedLedger(Ledger):
    """Keeps the moves of all tasks."""

    moves: set[Move]

    def move(self, task: Task, state: TaskState) -> None:
        self.moves.add((task.state, state))
        super().move(task, state)

    def move_all(self, tasks: Sequence[Task], state: TaskState) -> None:
        self.moves |= {(task.state, state) for task in tasks}
        super().move_all(tasks, state)


class WatchedJob(Job):
    """A job whose moves, those after restarts too, are kept for one test."""

    moves: set[Move]

    def _adopt(self, ledger: Ledger, *more: Any, **options: Any) -> None:
        ledger.__class__ = WatchedLedger
        ledger.moves = self.moves  # type: ignore[attr-defined]
        super()._adopt(ledger, *more, **options)


def moves_of(seed: int) -> set[Move]:
    """The moves of all tasks in one history of a world that breaks."""
    moves: set[Move] = set()
    kind = type("SeedJob", (WatchedJob,), {"moves": moves})
    chance = Random(seed)
    tasks = chance.randint(2, 12)
    consumes = {task: [task - 1] for task in range(1, tasks) if chance.random() < 0.6}
    policy = JobPolicy(
        max_workers=chance.choice([None, 2]),
        retries=chance.choice([0, 2, 25]),
        reruns=chance.choice([0, 1, 20]),
        retry_delay=chance.choice([0.5, 5.0]),
    )
    split = chance.randint(1, tasks)
    after = [(range(split), range(split, tasks))] if chance.random() < 0.4 and split < tasks else []
    if after:
        consumes = {task: before for task, before in consumes.items() if task != split}
    job = kind("j", range(tasks), policy, consumes=consumes, after=after, random=chance.random)
    faults = Faults(death=0.2, failure=0.1, lost=0.2, absent=0.05, doubled=0.02, redial=0.5, slow=0.05)
    world = SimulatedFleet(job, seed, faults)
    world.crashes = chance.randint(0, 2)

    def unless_over(event: Any) -> Any:
        return lambda: None if world.finished else event()

    for _ in range(chance.randint(1, 4)):
        at = chance.random() * 60
        world.always(at, unless_over(world.lose_store))
        world.always(at + 5, unless_over(lambda: world.carry_out(world.job.store_unreachable("away", world.now))))
        world.always(at + chance.choice([8, 25]), unless_over(world.name_store))
    if chance.random() < 0.3:
        end = unless_over(lambda: world.carry_out(world.job.cancel("enough", world.now)))
        world.always(10 + chance.random() * 60, end)
    world.start()
    world.play()
    if world.job.failures:
        world.finished = False
        world.carry_out(world.job.retry(world.now))
    records = [record_from_dict(plain) for plain in world.records]
    kind.restore(records[: chance.randint(1, len(records))]).cancel("it is not resumed", 0.0)
    return moves


@given(st.integers(100, 1 << 32))
@settings(max_examples=examples(60), deadline=None)
def test_a_simulation_makes_only_moves_of_the_table(seed: int) -> None:
    assert moves_of(seed) <= set(TRANSITIONS)


def test_every_move_of_the_table_is_made_in_some_history() -> None:
    missing = set(TRANSITIONS)
    for seed in itertools.count():
        missing -= moves_of(seed)
        if not missing or seed == 400:
            break
    assert missing == set()


def path_to(goal: TaskState) -> list[Move]:
    """Moves of the table that lead from a task's first state to another."""
    paths: list[list[Move]] = [[]]
    for path in paths:
        here = path[-1][1] if path else TaskState.WAITING
        if here is goal:
            return path
        paths += [[*path, move] for move in TRANSITIONS if move[0] is here and move not in path]
    raise AssertionError(goal)


@pytest.mark.parametrize("was", TaskState)
@pytest.mark.parametrize("state", TaskState)
def test_a_move_that_is_not_in_the_table_is_refused_and_changes_nothing(was: TaskState, state: TaskState) -> None:
    ledger = Ledger(SUBMITTED)
    task = ledger.tasks[0]
    for _, to in path_to(was):
        ledger.move(task, to)
    tally = dict(ledger.tally)
    if (was, state) in TRANSITIONS:
        ledger.move(task, state)
        assert task.state is state
        assert ledger.tally[state] == tally[state] + 1
    else:
        with pytest.raises(RecordError, match=f"^task 0 is {was.value}: it cannot become {state.value}"):
            ledger.move(task, state)
        assert (task.state, ledger.tally) == (was, tally)


SUBMITTED = Submitted("j", (0, 1), JobPolicy(), ((1, (0,)),), False)
BEGUN = Assigned(0, 0, "0-0", False)
DONE = [BEGUN, AttemptEnded(0, 0, AttemptOutcome.DONE, 1.0), ResultReached(0, 0)]


@pytest.mark.parametrize(
    "records",
    [
        pytest.param([*DONE, ResultStands((0,))], id="a result that stands of a task that is done"),
        pytest.param([*DONE, Reopened((0,), "lost"), ResultStands((0,)), ResultStands((0,))], id="twice"),
        pytest.param([BEGUN, Reopened((0,), "lost")], id="reopened while it is active"),
        pytest.param([TaskFailed(0, "bad"), TaskFailed(0, "bad")], id="failed twice"),
        pytest.param([TaskFailed(0, "bad"), Assigned(0, 0, None, False)], id="begun when it has failed"),
        pytest.param([*DONE, Retried((0,))], id="retried when it is done"),
        pytest.param([BEGUN, Assigned(0, 1, None, False)], id="begun twice"),
    ],
)
def test_a_journal_with_an_impossible_move_is_refused(records: list[Any]) -> None:
    with pytest.raises(RecordError):
        Ledger.fold([SUBMITTED, *records])


def test_the_diagram_in_the_docs_is_the_table() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = text.split("## A task's states", 1)[1].split("\n## ", 1)[0]
    drawn = re.findall(r"^\| (\w[\w ]*) \| (\w[\w ]*) \| (.+?) \|$", section, re.MULTILINE)
    assert [row for row in drawn if row[0] != "from"] == [
        (was.value, state.value, why) for (was, state), why in TRANSITIONS.items()
    ]


def root_of(node: ast.expr) -> str:
    """What an expression begins with: ``self._data.pool`` gives ``self._data``, ``worker.slot`` gives ``worker``."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute):
            parts.append(node.attr)
        node = node.value
    name = node.id if isinstance(node, ast.Name) else "?"
    return f"self.{parts[-1]}" if name == "self" and len(parts) > 1 else name


def writes(source: str) -> list[str]:
    """Where a module changes what is not its own objects' own: an attribute or item of another, or its containers."""
    found = []
    for node in ast.walk(ast.parse(source)):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in itertools.chain.from_iterable(t.elts if isinstance(t, ast.Tuple) else [t] for t in targets):
            if isinstance(target, ast.Attribute | ast.Subscript) and root_of(target) not in ("self", "?"):
                base = target.value
                if isinstance(target, ast.Attribute) or isinstance(base, ast.Attribute):
                    found.append(f"{node.lineno}: {ast.unparse(target)}")
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGES:
            base = node.func.value
            if isinstance(base, ast.Attribute) and base.attr not in OWNERS and root_of(base) not in ("self", "?"):
                found.append(f"{node.lineno}: {ast.unparse(node.func)}")
    return found


@pytest.mark.parametrize("module", DECISIONS)
def test_decisions_change_the_job_by_its_methods_only(module: str) -> None:
    assert writes((ROOT / "mu_twisted" / "jobs" / f"{module}.py").read_text("utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "self._data.now = 3",
        "self._scaling.paused = True",
        "worker.failed += 1",
        "del data.first_attempts[attempt]",
        "self._data.lost[launch_id] = attempt",
        "data.lost.pop(launch_id)",
        "first, task.error = 1, 2",
        "self._data.ledger.failures.clear()",
    ],
)
def test_what_changes_the_job_from_outside_is_found(line: str) -> None:
    assert len(writes(line)) == 1
    assert writes("self.paused = True; self._lives.append(1); data.pool.add(worker); found = []; found.append(1)") == []

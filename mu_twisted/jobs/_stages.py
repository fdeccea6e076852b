"""Stages are the parts of a job by name: which tasks each has, and how many of these stand where.

Knows names and numbers; why a task waits, the caller says.
"""

import re
from bisect import bisect_right
from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass

from mu_twisted.base.steps import STEP
from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._tasks import Task, TaskState

Runs = tuple[tuple[int, int], ...]
"""Task numbers, each time the first and the last of some that follow one another."""
StageRuns = tuple[tuple[str, Runs], ...]
"""The stages of a job, each with its tasks."""

MAX_STAGES = 1000
"""Of one job: each status lists them all."""
STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
"""What a stage can be called."""
STAGE_NAME_RULE = "a stage's name has 1 to 40 letters, digits, '.', '_' and '-'"


def stage_runs(stages: Iterable[tuple[str, Iterable[int]]]) -> StageRuns:
    """Stages by their tasks' numbers, which ascend in each."""
    return tuple((name, _runs(tasks)) for name, tasks in stages)


def _runs(tasks: Iterable[int]) -> Runs:
    runs: list[tuple[int, int]] = []
    first = last = -2
    for task in tasks:
        if task == last + 1:
            last = task
            continue
        if last >= 0:
            runs.append((first, last))
        first = last = task
    if last >= 0:
        runs.append((first, last))
    return tuple(runs)


class StageIndex:
    """Finds the stage of a task by its number, and keeps little more than the runs."""

    def __init__(self, stages: StageRuns) -> None:
        found = sorted((first, last, name) for name, runs in stages for first, last in runs)
        self._firsts = [first for first, _, _ in found]
        self._runs = found

    def name(self, task: int) -> str | None:
        """What the task's stage is called; None: it has none."""
        at = bisect_right(self._firsts, task) - 1
        return self._runs[at][2] if at >= 0 and task <= self._runs[at][1] else None


@dataclass(frozen=True)
class StageView:
    """One stage.

    :param state: as of a task: ``active`` if one of its tasks is, else ``done`` or ``failed`` if all are settled, else
        ``waiting`` if one can begin, or ``blocked``.
    :param waiting: tasks that wait for a worker; those that are blocked are counted apart.
    :param waits: what its tasks wait for if none is active and not all are settled, one line; else empty.
    """

    name: str
    state: str
    tasks: int
    waiting: int
    blocked: int
    active: int
    done: int
    failed: int
    waits: str = ""


class Stages:
    """The stages of a job.

    :ivar names: in the order of their first tasks.
    """

    def __init__(self, stages: StageRuns) -> None:
        self._runs = stages
        self.names = tuple(name for name, _ in stages)
        self._tallies: list[dict[TaskState, int]] = [dict.fromkeys(TaskState, 0) for _ in stages]
        self._tasks: list[list[Task]] = [[] for _ in stages]
        self._unblocked = [0] * len(stages)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def taking(self, tasks: dict[int, Task]) -> Generator[None, None, None]:
        """Take all tasks of the job as they stand, with pauses in which others may have their turn.

        :raises JobError: a stage has no task, or no name, or a task has no stage, or two.
        """
        if not self._runs:
            return
        if len(self._runs) > MAX_STAGES:
            raise JobError(f"a job has at most {MAX_STAGES} stages, not {len(self._runs)}")
        if len(set(self.names)) < len(self.names) or not all(map(STAGE_NAME.fullmatch, self.names)):
            raise JobError(f"each stage has a name of its own: {STAGE_NAME_RULE}")
        if sum(last - first + 1 for _, runs in self._runs for first, last in runs) != len(tasks):
            raise JobError("each task of the job must be in one of its stages")
        for at, (name, runs) in enumerate(self._runs):
            if not runs:
                raise JobError(f"stage {name} has no task")
            for first, last in runs:
                for number in range(first, last + 1):
                    task = tasks.get(number)
                    if task is None or task.stage >= 0:
                        raise JobError(f"task {number} of stage {name} is none of the job, or is in two stages")
                    task.stage = at
                    self._tallies[at][task.state] += 1
                    self._tasks[at].append(task)
                    if number % STEP == 0:
                        yield

    def moved(self, tasks: Iterable[Task], to: TaskState) -> None:
        """These tasks are about to stand there, each from where it stands."""
        for task in tasks:
            tally = self._tallies[task.stage]
            tally[task.state] -= 1
            tally[to] += 1

    def blocked_again(self) -> None:
        """Tasks that were not blocked may be from now on."""
        self._unblocked = [0] * len(self._runs)

    def first_blocked(self, stage: int) -> Task | None:
        """The first task of a stage that is blocked; all calls together take as long as the stage has tasks."""
        tasks, at = self._tasks[stage], self._unblocked[stage]
        while at < len(tasks) and tasks[at].state is not TaskState.BLOCKED:
            at += 1
        self._unblocked[stage] = at
        return tasks[at] if at < len(tasks) else None

    def tally(self, stage: int) -> Mapping[TaskState, int]:
        """How many tasks of a stage stand where."""
        return self._tallies[stage]

    def view(self, stage: int) -> StageView:
        """One stage as it stands, but for what it waits for."""
        tally = self._tallies[stage]
        active, blocked = tally[TaskState.ACTIVE], tally[TaskState.BLOCKED]
        done, failed = tally[TaskState.DONE], tally[TaskState.FAILED]
        waiting = sum(tally.values()) - active - blocked - done - failed
        if active:
            state = TaskState.ACTIVE
        elif waiting or blocked:
            state = TaskState.WAITING if waiting else TaskState.BLOCKED
        else:
            state = TaskState.FAILED if failed else TaskState.DONE
        tasks = len(self._tasks[stage])
        return StageView(self.names[stage], state.value, tasks, waiting, blocked, active, done, failed)

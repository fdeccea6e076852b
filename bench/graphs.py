"""What graphs cost a job's decisions is measured: tasks that come after very many others, in virtual time.

One worker does all tasks, so that nothing but the decisions takes time; the status of the stages is read as often as a
watcher does.
"""

import time
from collections.abc import Sequence

from bench._figure import Figure
from mu_twisted.jobs import Groups, Job, JobPolicy, LaunchId

FEW, MANY = 10_000, 100_000
"""Tasks of the first stage."""
ROUNDS = 2
LOOKS = 100
"""Looks at the stages while a job runs."""
LINEAR = 1.5
"""What a task of many may cost, over one of few: memory that does not fit the processor's caches included."""


def run() -> list[Figure]:
    """The figures; takes some ten seconds."""
    figures = []
    for name, groups in (("one", _one), ("as many", _as_many)):
        few, many = (min(_microseconds(tasks, groups(tasks)) for _ in range(ROUNDS)) for tasks in (FEW, MANY))
        what = f"graphs: {name} after {MANY} tasks, a task"
        figures.append(Figure(what, many, "us"))
        figures.append(Figure(f"{what}, over one of {FEW}", many / few, "x", LINEAR))
    return figures


def _one(tasks: int) -> Groups:
    return [(range(tasks), [tasks])]


def _as_many(tasks: int) -> Groups:
    return [(range(tasks), range(tasks, 2 * tasks))]


def _microseconds(tasks: int, groups: Groups) -> float:
    """Of this thread's CPU for each task, from the job's making to its end."""
    behind: Sequence[int] = groups[0][1]
    total = tasks + len(behind)
    begun = time.thread_time()
    stages = [("split", range(tasks)), ("join", behind)]
    job = Job("bench-00000000", range(total), JobPolicy(max_workers=1), after=groups, stages=stages)
    job.start(0.0)
    job.worker_greeted(1, launch_id := LaunchId("0-0"), 0.0)
    for task in range(total):
        if task % max(1, total // LOOKS) == 0:
            job.stages()
        job.task_done(1, 1.0)
        job.worker_greeted(1, launch_id, 1.0)
    assert job.over
    assert job.error is None
    return (time.thread_time() - begun) / total * 1e6


if __name__ == "__main__":
    for figure in run():
        print(f"{figure.name:64} {figure.value:8.2f} {figure.unit}{', MISSED' * figure.missed}")

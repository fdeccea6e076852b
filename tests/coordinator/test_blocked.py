"""A task whose code has to be interrupted fails, and a job that goes on so ends."""

from typing import Any

from job_bench import Bench
from worker_double import ours

from mu_twisted.fsm import Interrupted

WHY = "blocked 0.5 s at mine.py line 4, in task"


async def interrupted(_: Any) -> None:
    """As the guard has it."""
    try:
        raise Interrupted(WHY)
    except Exception:  # noqa: BLE001, S110 - no exception of its own
        pass


def test_an_interrupted_task_fails_with_its_place_and_is_not_tried_again() -> None:
    bench = Bench(1, interrupted, retries=3)
    bench.worker().says(ours("0-0"))
    assert bench.finished == [None]
    assert bench.run.job.failures[0].endswith(WHY)


def test_a_job_whose_code_is_interrupted_three_times_ends() -> None:
    bench = Bench(8, interrupted)
    for number in range(3):
        assert not bench.run.job.over
        bench.worker().says(ours(f"0-{number}"))
    bench.turn()
    assert bench.run.job.over
    assert bench.run.job.error == f"its code had to be interrupted 3 times; the last time it {WHY}"

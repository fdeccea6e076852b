"""A job whose code has ended the coordinator twice in a row is held, named, and goes on when its user says so."""

from pathlib import Path

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import Suspects
from mu_twisted.pipelines import LastEnd


def end(job: str, task: int | None = 3, *, certain: bool = True) -> LastEnd:
    return LastEnd(job, task, "it blocked and did not yield at mine.py line 4, in task", certain)


def started(path: Path, last: LastEnd | None) -> Suspects:
    """What a start knows that finds such an end of the process before."""
    suspects = Suspects(path / "suspects.json")
    suspects.count(last)
    return suspects


def test_two_ends_in_a_row_hold_a_job_over_all_starts_until_it_is_forgotten(tmp_path: Path) -> None:
    assert started(tmp_path, end("a")).why_held("a") is None
    why = started(tmp_path, end("a")).why_held("a")
    assert why == (
        "its code has ended the coordinator 2 times in a row, the last time in its task 3: "
        "it blocked and did not yield at mine.py line 4, in task"
    )
    for _ in range(2):
        assert started(tmp_path, None).why_held("a") == why
    started(tmp_path, None).forget("a")
    assert started(tmp_path, end("a")).why_held("a") is None


def test_an_end_that_was_none_of_its_doing_breaks_the_row(tmp_path: Path) -> None:
    started(tmp_path, end("a"))
    started(tmp_path, None)
    assert started(tmp_path, end("a")).why_held("a") is None


def test_jobs_that_take_turns_in_ending_it_are_held_both(tmp_path: Path) -> None:
    for job in ("a", "b", "a"):
        suspects = started(tmp_path, end(job))
    assert suspects.why_held("a") is not None
    assert suspects.why_held("b") is None
    assert started(tmp_path, end("b", None)).why_held("b") is not None


def test_kills_that_met_it_by_chance_count_for_the_same_task_only(tmp_path: Path) -> None:
    for task in (1, 2, 3, None):
        assert started(tmp_path, end("a", task, certain=False)).why_held("a") is None
    assert started(tmp_path, end("a", None, certain=False)).why_held("a") is not None


def test_an_end_that_is_of_no_job_is_held_against_none(tmp_path: Path) -> None:
    for _ in range(3):
        suspects = started(tmp_path, end(""))
    assert suspects.why_held("") is None


@pytest.mark.parametrize("text", [b"", b"{", b'{"a": 3}', b"[]"])
def test_a_file_that_cannot_be_read_holds_nothing(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "suspects.json").write_bytes(text)
    assert started(tmp_path, end("a")).why_held("a") is None
    assert started(tmp_path, end("a")).why_held("a") is not None


# -- the jobs --------------------------------------------------------------------------------------------------------


def again(world: MemoryCoordinator, suspects: Suspects | None = None, *, hold_all: bool = False) -> None:
    """The coordinator was killed, and starts with such knowledge."""
    world.suspects, world.hold_all = suspects, hold_all
    world.killed_and_started_again()


def test_a_suspect_is_held_without_running_its_code_and_the_others_go_on(
    world: MemoryCoordinator, tmp_path: Path
) -> None:
    job, other = world.submit("-n", "2"), world.submit()
    world.finish(job, "0-0")
    parsed: list[object] = []
    parse = world.parse
    world.parse = lambda request: parsed.append(request) or parse(request)  # type: ignore[method-assign,func-returns-value]
    started(tmp_path, end(job))
    again(world, started(tmp_path, end(job)))
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.waiting) == ("held", 1, 1)
    assert "its code has ended the coordinator 2 times in a row, the last time in its task 3" in (fact.error or "")
    assert "`mu retry` runs its code once more, `mu cancel` ends it" in (fact.error or "")
    assert len(parsed) == 1
    assert world.jobs.job(other).state == "running"
    again(world, started(tmp_path, None))
    assert world.jobs.job(job).state == "held"
    assert world.retry(job).state == "running"
    again(world, started(tmp_path, None))
    assert world.jobs.job(job).state == "running"


def test_a_suspect_that_is_cancelled_or_removed_is_forgotten(world: MemoryCoordinator, tmp_path: Path) -> None:
    job = world.submit()
    started(tmp_path, end(job))
    suspects = started(tmp_path, end(job))
    again(world, suspects)
    world.at_once(world.jobs.cancel(job))
    assert world.jobs.job(job).state == "cancelled"
    assert suspects.why_held(job) is None
    world.remove(job)
    assert Suspects(tmp_path / "suspects.json").why_held(job) is None


def test_with_hold_all_no_job_runs_until_it_is_retried_or_the_next_start(world: MemoryCoordinator) -> None:
    jobs = [world.submit(), world.submit()]
    again(world, hold_all=True)
    assert world.jobs.running == 0
    for job in jobs:
        fact = world.jobs.job(job)
        assert fact.state == "held"
        assert (fact.error or "").startswith("the coordinator was started with --hold-all (it is held as it stands: ")
    assert world.retry(jobs[0]).state == "running"
    again(world)
    assert [world.jobs.job(job).state for job in jobs] == ["running", "running"]

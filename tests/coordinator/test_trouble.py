"""What goes wrong around jobs: damaged records, pipelines that are gone, full disks; with workers in memory."""

from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator, fill_the_disk, make_room
from twisted.logger import capturedLogs, formatEvent
from worker_double import WorkerDouble

from mu_twisted.coordinator import Request
from mu_twisted.coordinator import _submission as submission
from mu_twisted.coordinator.observation import _log as log
from mu_twisted.pipelines import Pipeline, PipelineError
from mu_twisted.statuses import ServiceError


def rows(world: MemoryCoordinator, job: str) -> int:
    return len(list(world.journal.records(job)))


def fail_to_parse(world: MemoryCoordinator, error: Exception) -> None:
    def parse(request: Request) -> tuple[Pipeline, Any]:
        raise error

    world.parse = parse  # type: ignore[method-assign]


# -- what cannot be read ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [{"type": "from-the-future"}, {"type": "result", "task": 7, "attempt": 0}, 3, None])
def test_a_job_that_cannot_be_read_has_not_ended_and_only_its_user_deletes_it(
    world: MemoryCoordinator, record: Any
) -> None:
    job, sound = world.submit(), world.submit()
    world.journal.append(job, {"at": 1.0, "record": record})
    world.turn()
    world.killed_and_started_again()
    fact = world.jobs.job(job)
    assert (fact.state, fact.ended, fact.submitted, fact.pipeline) == ("failed", None, 1000.0, "p")
    assert "damaged" in (fact.error or "")
    assert "`mu rm` deletes them" in (fact.error or "")
    world.wall = 2e9
    world.forget_old(1.9e9)
    assert [fact.job for fact in world.jobs.jobs()] == [job, sound]
    with pytest.raises(ServiceError, match="damaged"):
        world.tasks(job)
    world.log(job)
    world.remove(job)
    assert world.journal.jobs() == [sound]


def test_rows_that_are_no_rows_keep_no_coordinator_from_starting(world: MemoryCoordinator) -> None:
    sound = world.submit()
    for row in ({}, {"fact": 3}, {"fact": None, "request": []}, {"at": "x", "request": {"pipeline": 1}}):
        world.journal.append(f"odd-{len(world.journal._waiting)}", row)
    world.turn()
    world.killed_and_started_again()
    assert world.jobs.job(sound).state == "running"
    odd = [fact for fact in world.jobs.jobs() if fact.job != sound]
    assert len(odd) == 4
    assert {fact.state for fact in odd} == {"failed"}
    for fact in odd:
        world.log(fact.job)
        world.remove(fact.job)


# -- what cannot go on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [PipelineError("no pipeline is called 'p'"), FileNotFoundError("list.txt"), OSError()]
)
def test_a_job_that_cannot_go_on_is_held_as_it_stands_until_it_can(world: MemoryCoordinator, error: Exception) -> None:
    job, parse = world.submit("-n", "3"), world.parse
    world.finish(job, "0-0")
    world.worker(job, "0-1")
    before = rows(world, job)
    fail_to_parse(world, error)
    for _ in range(2):
        world.killed_and_started_again()
        fact = world.jobs.job(job)
        assert (fact.state, fact.tasks, fact.done, fact.waiting, fact.failed, fact.ended) == ("held", 3, 1, 2, 0, None)
        assert (str(error) or "OSError") in (fact.error or "")
        assert "`mu retry` tries again" in (fact.error or "")
        assert [task.state for task in world.tasks(job)] == ["done", "waiting", "waiting"]
    assert rows(world, job) == before
    assert world.jobs.running == 0
    over: list[Any] = []
    world.jobs.wait(job).addCallback(over.append)
    assert over == [fact]
    world.wall = 2e9
    world.forget_old(1.9e9)
    world.parse = parse  # type: ignore[method-assign]
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "running"
    assert world.jobs.job(job).done == 1


def test_a_held_job_goes_on_at_once_if_it_is_retried(world: MemoryCoordinator) -> None:
    job, parse = world.submit("-n", "2"), world.parse
    world.finish(job, "0-0")
    fail_to_parse(world, PipelineError("no pipeline is called 'p'"))
    world.killed_and_started_again()
    with pytest.raises(ServiceError, match="no pipeline"):
        world.retry(job)
    assert world.jobs.job(job).state == "held"
    world.parse = parse  # type: ignore[method-assign]
    assert world.retry(job).state == "running"
    world.finish(job, "0-1")
    assert world.jobs.job(job).state == "done"


def test_a_held_job_can_be_cancelled_and_removed(world: MemoryCoordinator) -> None:
    job, other = world.submit("-n", "2"), world.submit()
    world.finish(job, "0-0")
    fail_to_parse(world, PipelineError("no pipeline is called 'p'"))
    world.killed_and_started_again()
    world.wall = 1234.0
    told: list[Any] = []
    world.jobs.cancel(job).addCallback(told.append)
    world.turn()
    (fact,) = told
    assert (fact.state, fact.done, fact.failed, fact.ended) == ("cancelled", 1, 1, 1234.0)
    world.turn()
    world.killed_and_started_again()
    assert world.jobs.job(job) == fact
    assert [task.state for task in world.tasks(job)] == ["done", "failed"]
    world.remove(other)
    assert [fact.job for fact in world.jobs.jobs()] == [job]


# -- files -----------------------------------------------------------------------------------------------------------


def test_times_go_on_after_a_restart_and_a_retry_and_cost_no_job_its_life(
    world: MemoryCoordinator, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    times = place / "times"
    job = world.submit("-n", "2", "--retries", "0", "-O", str(times))
    world.finish(job, "0-0")
    assert len(times.read_text().splitlines()) == 1
    world.killed_and_started_again()
    back = world.worker(job, "0-1")
    back.says(b"FAIL(no)")
    assert len(times.read_text().splitlines()) == 2
    assert world.jobs.job(job).failed == 1
    times.unlink()
    place.rmdir()
    world.retry(job)
    world.turn()
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "running"
    world.clock.pump([1.0] * 20)
    world.finish(job, world.launches.submission[-1])
    assert world.jobs.job(job).state == "done"


@pytest.mark.parametrize("name", ["nosuch/times", "a\0b"])
def test_times_that_cannot_be_written_are_said_before_the_job_is_taken(
    world: MemoryCoordinator, tmp_path: Path, name: str
) -> None:
    with pytest.raises(Exception, match="-O"):
        world.submit("-O", str(tmp_path / name))
    assert world.jobs.jobs() == []
    assert world.journal.jobs() == []


def test_what_is_left_of_removed_jobs_is_deleted_at_the_next_start(world: MemoryCoordinator) -> None:
    job = world.submit()
    world.finish(job, "0-0")
    left = world.directory / "jobs" / "p-00000000.removed"
    left.mkdir()
    (left / "attempts.jsonl.gz").write_bytes(b"x")
    world.killed_and_started_again()
    assert [path.name for path in (world.directory / "jobs").iterdir()] == [job]


def test_a_job_whose_removal_was_cut_off_before_its_records_were_deleted_is_whole(world: MemoryCoordinator) -> None:
    job = world.submit()
    world.finish(job, "0-0")
    kept = world.directory / "jobs" / job
    kept.rename(kept.with_name(f"{job}.removed"))
    world.killed_and_started_again()
    assert "attempt 0: done" in world.log(job, 0)
    world.remove(job)
    assert list((world.directory / "jobs").iterdir()) == []


@pytest.mark.parametrize("removed", ["journal.db*", "journal.*"])
def test_directories_of_jobs_that_the_journal_does_not_know_are_kept_and_named(
    world: MemoryCoordinator, removed: str
) -> None:
    jobs = [world.submit() for _ in range(3)]
    for job in jobs:
        world.finish(job, "0-0")
    world.journal.close()
    for path in world.directory.glob(removed):
        path.unlink()
    world.start()
    another = world.submit()
    world.finish(another, "0-0")
    with capturedLogs() as events:
        world.killed_and_started_again()
    assert {path.name for path in (world.directory / "jobs").iterdir()} == {*jobs, another}
    told = [formatEvent(event) for event in events]
    named = [line for line in told if "does not know" in line]
    assert [all(job in line for job in jobs) and another not in line for line in named] == [True]


def test_a_journal_that_was_moved_away_costs_no_states_of_attempts(world: MemoryCoordinator) -> None:
    job = world.submit()
    world.finish(job, "0-0")
    journal = world.directory / "journal.db"
    world.journal.close()
    kept = journal.rename(world.directory / "kept.db")
    world.start()
    assert world.jobs.jobs() == []
    world.journal.close()
    kept.rename(journal)
    world.start()
    assert "attempt 0: done" in world.log(job, 0)


# -- the disk --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skipped", [frozenset(), frozenset({0, 1})])
def test_a_job_that_cannot_be_journalled_is_refused_and_nothing_of_it_stays(
    world: MemoryCoordinator, skipped: frozenset[int]
) -> None:
    running = world.submit()
    world.launches.submission.clear()
    world.skipped = skipped
    fill_the_disk(world)
    for _ in range(2):
        with pytest.raises(ServiceError, match="no new job is taken: the journal .* disk is full"):
            world.submit("-n", "2")
    world.clock.pump([1.0] * 5)
    assert world.launches.submission == []
    assert [fact.job for fact in world.jobs.jobs()] == [running]
    make_room(world)
    world.clock.advance(1.0)
    assert world.jobs.trouble is None
    assert world.journal.jobs() == [running]
    world.submit("-n", "2")


def test_what_is_not_on_disk_yet_is_told_and_gone_on_with(world: MemoryCoordinator) -> None:
    job, parse = world.submit("-n", "2"), world.parse
    world.finish(job, "0-0")
    fail_to_parse(world, PipelineError("no pipeline is called 'p'"))
    world.killed_and_started_again()
    world.parse = parse  # type: ignore[method-assign]
    world.at_once(world.jobs.cancel(job))
    fill_the_disk(world)
    assert world.retry(job).state == "running"
    world.turn()
    assert world.jobs.trouble is not None
    assert "retried" in world.log(job)
    (launch,) = world.launches.submission
    world.finish(job, launch)
    assert world.jobs.job(job).state == "done"
    assert [task.state for task in world.tasks(job)] == ["done", "done"]
    assert world.log(job, 1).count("result") == 1
    make_room(world)
    world.clock.advance(1.0)
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "done"
    assert world.log(job, 1).count("result") == 1


def test_records_that_cannot_be_deleted_now_are_kept_and_the_others_go(world: MemoryCoordinator) -> None:
    first, second = world.submit(), world.submit()
    world.finish(first, "0-0")
    world.finish(second, "0-0")
    world.wall = 5000.0
    fill_the_disk(world)
    world.forget_old(4000.0)
    assert [fact.job for fact in world.jobs.jobs()] == [first, second]
    make_room(world)
    world.clock.advance(1.0)
    assert world.jobs.trouble is None
    world.forget_old(4000.0)
    assert world.jobs.jobs() == []


def test_a_job_whose_words_are_no_text_is_refused_and_nothing_of_it_stays(world: MemoryCoordinator) -> None:
    with pytest.raises(ServiceError, match="not UTF-8"):
        world.submit("--times", "/b\udcff")
    assert world.jobs.jobs() == []
    assert world.launches.submission == []
    world.clock.pump([1.0] * 3)
    assert world.journal.jobs() == []


def test_no_two_jobs_have_one_name(world: MemoryCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(["00", "00", "00", "01"])
    monkeypatch.setattr(submission.secrets, "token_hex", lambda _: next(made))
    assert [world.submit(), world.submit()] == ["p-00", "p-01"]


# -- what is said ----------------------------------------------------------------------------------------------------


def test_how_a_job_ended_is_worked_out_once(world: MemoryCoordinator) -> None:
    job = world.submit()
    times = iter(range(2000, 3000))
    world.jobs._active_jobs._wall = lambda: next(times)
    world.finish(job, "0-0")
    fact = world.jobs.job(job)
    world.killed_and_started_again()
    assert world.jobs.job(job) == fact


def test_a_log_has_one_line_an_event_whatever_is_in_it(world: MemoryCoordinator) -> None:
    job = world.submit("--times", "/a\nb\x1b[2J\u2028", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(one\r\ntwo)")
    text = world.log(job)
    assert len(text.splitlines()) == rows(world, job)
    assert all(line.startswith("1970-01-01 ") for line in text.splitlines())
    assert r"a\nb\x1b[2J\u2028" in text


def test_a_long_log_keeps_its_end_and_says_so(world: MemoryCoordinator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_LINES", 5)
    job = world.submit("-n", "10")
    workers: list[WorkerDouble] = [world.worker(job, f"0-{number}") for number in range(10)]
    for worker in workers:
        worker.says(b"OK:ECHO(hi)")
    lines = world.log(job).splitlines()
    assert len(lines) == 5
    assert lines[0] == f"({rows(world, job) - 4} earlier lines are left out; --task shows those of one task)"
    assert "finished" in lines[-1]


def test_others_have_their_turn_while_a_log_is_read(world: MemoryCoordinator) -> None:
    job = world.submit()
    for number in range(3000):
        world.journal.append(job, {"at": 1.0, "record": {"type": "result", "task": number, "attempt": 0}})
    assert world.log(job, 7) == "1970-01-01 00:00:01.000Z task 7, attempt 0: result\n"
    told: list[str] = []
    turns: list[int] = []

    def turn() -> None:
        turns.append(len(told))
        if not told:
            world.clock.callLater(0, turn)

    world.clock.takes = 0.001
    world.jobs.log(job, None).addCallback(told.append)
    turn()
    world.turn()
    assert len(turns) > 3
    assert len(told[0].splitlines()) == 3004


def test_the_log_of_a_task_names_its_moves_up_to_the_end_of_its_job(world: MemoryCoordinator) -> None:
    job = world.submit()
    world.jobs._active_jobs.run(job).abort("enough")
    world.turn()
    lines = world.log(job, 0).splitlines()
    assert lines[-1].endswith("finished: enough [waiting -> failed]")


def test_an_error_that_quotes_strange_bytes_is_kept_spelt_out(world: MemoryCoordinator) -> None:
    job = world.submit()
    world.jobs._active_jobs.run(job).abort("no such file: b\udcff")
    world.turn()
    world.killed_and_started_again()
    fact = world.jobs.job(job)
    assert (fact.state, fact.error) == ("failed", "no such file: b\\udcff")

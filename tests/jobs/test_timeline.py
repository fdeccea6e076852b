"""A timeline says of a job what its records say: in any course of things its counts are the job's."""

import random
from dataclasses import replace

import pytest
from job_driver import Play

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs import (
    OUTCOMES,
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Extended,
    Failure,
    Finished,
    Job,
    JobPolicy,
    JobRecord,
    JobTimeline,
    ResultReached,
    Retried,
    Submitted,
    slowest,
)
from mu_twisted.jobs._records import Closed, KeptOpen
from mu_twisted.jobs._timeline import BINS, FIRST_STEP, MAX_STAGES, Stage

Edges = tuple[tuple[int, tuple[int, ...]], ...]


def submitted(
    tasks: int,
    consumes: Edges = (),
    messages: Edges = (),
    after: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (),
) -> Submitted:
    return Submitted("j", tuple(range(tasks)), JobPolicy(), consumes, False, messages, after)


def done(task: int, attempt: int = 0) -> list[JobRecord]:
    return [AttemptEnded(task, attempt, AttemptOutcome.DONE, 1.0), ResultReached(task, attempt)]


def run(line: JobTimeline, *steps: tuple[float, list[JobRecord]]) -> None:
    for at, records in steps:
        for record in records:
            line.apply(record, line.begun + at)


def begun(*tasks: int) -> list[JobRecord]:
    return [Assigned(task, 0, None, False) for task in tasks]


def test_an_attempt_has_moved_what_its_worker_has_counted() -> None:
    line = JobTimeline(submitted(3), 50.0)
    run(line, (1.0, begun(0, 1, 2)))
    counts = {"retrieved": 1 << 40, "uploaded": 7, "sent": 0, "received": 0}
    line.apply(done(1)[0], 52.0, None, counts)
    line.apply(done(2)[0], 53.0, None, None)
    assert [line.attempts.bytes_of(place) for place in range(3)] == [None, counts, None]


def total(line: JobTimeline) -> list[int]:
    """Tasks done and failed, attempts under way, launches."""
    return [sum(column) for column in zip(*line.series.spans.values(), strict=True)]


@pytest.mark.parametrize("seed", range(20))
def test_its_counts_are_the_job_s(seed: int) -> None:
    dice = random.Random(seed)
    tasks = dice.randrange(1, 12)
    play = Play(Job("j", range(tasks), JobPolicy(retries=dice.randrange(3)), random=dice.random))
    line = JobTimeline(play.records[0], 100.0)  # type: ignore[arg-type]
    known = 1
    workers = 0
    for _ in range(60):
        play.now += dice.random()
        happens = dice.randrange(5)
        if play.job.over:
            if not play.job.failures:
                break
            play.take(play.job.retry(play.now))
        elif happens <= 1:
            workers += 1
            play.take(play.job.worker_greeted(workers, None, play.now, reusable=True))
        elif workers:
            worker = dice.randrange(1, workers + 1)
            if play.job.task_of(worker) is not None:
                if happens == 2:
                    play.take(play.job.task_done(worker, play.now))
                elif happens == 3:
                    play.take(play.job.task_failed(worker, "no", play.now, kind=Failure.REPLY))
                else:
                    play.take(play.job.worker_lost(worker, "gone", play.now))
        play.take(play.job.time_passed(play.now))
        for record in play.records[known:]:
            line.apply(record, 100.0 + play.now)
        known = len(play.records)
        counts = play.job.counts()
        running = sum(len(task.running) for task in play.job._data.ledger.tasks.values())
        assert total(line)[:3] == [counts.done, counts.failed, running]
        assert sum(outcome == 0 for outcome in line.attempts.outcome) == running


def test_attempts_have_their_times_and_ends() -> None:
    line = JobTimeline(submitted(3), 50.0)
    run(line, (1.0, begun(0, 1, 2)), (3.0, done(1)), (4.0, [AttemptEnded(0, 0, AttemptOutcome.FAILED, 3.0, True)]))
    assert line.attempts.task.tolist() == [0, 1, 2]
    assert line.attempts.end.tolist() == [4.0, 3.0, -1.0]
    assert [OUTCOMES[index] for index in line.attempts.outcome] == ["failed", "done", "running"]
    assert slowest(line.attempts, 10.0, 2) == [2, 0]
    run(line, (5.0, [Finished("halted: enough")]))
    assert [OUTCOMES[index] for index in line.attempts.outcome] == ["failed", "done", "withdrawn"]
    assert total(line)[:3] == [1, 2, 0]
    run(line, (6.0, [Retried((0, 2))]))
    assert total(line)[:3] == [1, 0, 0]


def test_a_clock_that_is_set_back_does_not_turn_time_round() -> None:
    line = JobTimeline(submitted(1), 50.0)
    run(line, (5.0, begun(0)), (2.0, done(0)))
    assert (line.attempts.begin[0], line.attempts.end[0]) == (5.0, 5.0)


@pytest.mark.parametrize("seconds", [1.0, FIRST_STEP * BINS, 86_400.0, 1e7])
def test_a_long_job_has_no_more_spans_than_a_short_one(seconds: float) -> None:
    line = JobTimeline(submitted(400), 0.0)
    for task in range(400):
        run(line, (seconds * task / 400, begun(task)), (seconds * (task + 1) / 400, done(task)))
        line.series.use(line.last, task)
    assert max(line.series.spans) < BINS
    assert max(line.series.used) < BINS
    assert total(line)[:3] == [400, 0, 0]


def path(line: JobTimeline) -> list[int]:
    return [step.task for step in exhaust(line.critical_path())]


def test_the_critical_path_follows_what_was_waited_for() -> None:
    # 0 and 1 send to 2, which sends to 3; 4 is alone
    line = JobTimeline(submitted(5, consumes=((2, (0, 1)), (3, (2,)))), 0.0)
    assert path(line) == []
    run(line, (0.0, begun(0, 1, 4)), (2.0, done(0)), (5.0, done(1)), (5.0, begun(2)), (6.0, done(2)), (6.0, begun(3)))
    run(line, (6.5, done(4)))
    assert path(line) == [4]
    run(line, (9.0, done(3)))
    assert path(line) == [1, 2, 3]


def test_the_critical_path_of_stages_and_the_stages() -> None:
    line = JobTimeline(submitted(6, after=(((0, 1), (2, 3)), ((2, 3), (4, 5)))), 0.0)
    assert [list(stage.tasks) for stage in exhaust(line.stages())] == [[0, 1], [2, 3], [4, 5]]
    run(line, (0.0, begun(0, 1)), (1.0, done(1)), (4.0, done(0)), (4.0, begun(2, 3)), (5.0, done(2)), (7.0, done(3)))
    run(line, (7.0, begun(4, 5)), (8.0, done(5)), (9.0, done(4)))
    assert path(line) == [0, 3, 4]


def test_circles_of_messages_end_the_path_and_a_job_without_a_graph_has_none() -> None:
    circle = JobTimeline(submitted(2, messages=((0, (1,)), (1, (0,)))), 0.0)
    run(circle, (0.0, begun(0, 1)), (1.0, done(0)), (2.0, done(1)))
    assert path(circle) == [0, 1]
    assert exhaust(circle.links(1)) == ([(1, 0)], 2)
    plain = JobTimeline(submitted(2), 0.0)
    run(plain, (0.0, begun(0, 1)), (1.0, done(0)), (2.0, done(1)))
    assert path(plain) == []
    assert len(exhaust(plain.stages())) == 1


def test_a_chain_of_many_stages_is_told_apart_up_to_a_limit() -> None:
    length = 2 * MAX_STAGES
    line = JobTimeline(submitted(length, after=tuple(((task,), (task + 1,)) for task in range(length - 1))), 0.0)
    stages = exhaust(line.stages())
    assert len(stages) == MAX_STAGES
    assert sum(len(stage.tasks) for stage in stages) == length


def test_stages_that_the_pipeline_names_are_told_by_their_names() -> None:
    one = submitted(5, after=(((0, 1), (2, 3)),))
    line = JobTimeline(replace(one, stages=(("read", ((0, 1),)), ("write", ((2, 3),)))), 0.0)
    stages = exhaust(line.stages())
    assert [(stage.name, list(stage.tasks)) for stage in stages] == [("read", [0, 1]), ("write", [2, 3]), (None, [4])]


def test_a_stage_is_behind_those_that_its_tasks_come_after_or_take_messages_of() -> None:
    one = submitted(6, after=(((0,), (2,)), ((0, 1), (3,)), ((2,), (4,))), consumes=((4, (1,)), (5, (4,))))
    names = ("read", (0, 0)), ("list", (1, 1)), ("cut", (2, 2)), ("pair", (3, 3)), ("join", (4, 5))
    line = JobTimeline(replace(one, stages=tuple((name, (span,)) for name, span in names)), 0.0)
    stages = exhaust(line.stages())
    assert exhaust(line.stages_before(stages)) == [[], [], [0], [0, 1], [1, 2]]
    circle = JobTimeline(submitted(2, messages=((0, (1,)), (1, (0,)))), 0.0)
    assert exhaust(circle.stages_before([Stage([0]), Stage([1])])) == [[1], [0]]


@pytest.mark.parametrize("named", [False, True])
def test_tasks_that_were_added_are_of_the_job(named: bool) -> None:
    one = submitted(2)
    line = JobTimeline(replace(one, stages=(("read", ((0, 0),)),)) if named else one, 0.0)
    assert sum(len(stage.tasks) for stage in exhaust(line.stages())) == 2
    run(line, (0.0, [KeptOpen(), *begun(0, 1)]), (1.0, [*done(0), *done(1), Extended(2, 3, "")]), (2.0, begun(3)))
    stages = [(stage.name, list(stage.tasks)) for stage in exhaust(line.stages())]
    assert stages == ([("read", [0]), (None, [1, 2, 3, 4])] if named else [(None, [0, 1, 2, 3, 4])])
    run(line, (3.0, [*done(3), Extended(5, 1, ""), Closed()]), (4.0, [Finished("cancelled")]))
    assert line.order == list(range(6))
    assert total(line)[:3] == [3, 3, 0]
    assert path(line) == []

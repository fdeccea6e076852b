"""Traces follow the journal: nothing is lost while the collector is away, nothing comes twice after a restart."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator
from twisted.internet.defer import Deferred
from twisted.logger import LogLevel, formatEvent, globalLogPublisher

from mu_twisted.base.steps import STEP
from mu_twisted.coordinator import SpanDelivery, Traces
from mu_twisted.coordinator.observation._traces import BATCH, PARTING, PERIOD
from mu_twisted.fsm import CommandListState, TerminalState
from mu_twisted.jobs import Span
from mu_twisted.pipelines import Pipeline


class Sink:
    """Takes spans, unless the test has it give another answer; where it is slow, answers wait."""

    def __init__(self) -> None:
        self.answer = SpanDelivery()
        self.taken: list[Span] = []
        self.requests = 0
        self.slow = False
        self.waiting: list[Deferred[None]] = []

    async def send(self, spans: Sequence[Span]) -> SpanDelivery:
        self.requests += 1
        assert 0 < len(spans) <= BATCH
        if self.slow:
            one: Deferred[None] = Deferred()
            self.waiting.append(one)
            await one
        if not self.answer.again:
            self.taken += spans
        return self.answer

    @property
    def names(self) -> Counter[str]:
        return Counter(span.name for span in self.taken)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged at a level that is shown."""
    lines: list[str] = []

    def observe(event: Any) -> None:
        if event["log_level"] >= LogLevel.info:
            lines.append(str(formatEvent(event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def begun(world: MemoryCoordinator, sink: Sink) -> Traces:
    traces = made(world, sink)
    traces.start()
    return traces


def made(world: MemoryCoordinator, sink: Sink) -> Traces:
    jobs = world.jobs
    return Traces(world.clock, world.journal, sink, world.directory / "traces.json", jobs.labels, jobs.attempt_file)


def pass_time(world: MemoryCoordinator, seconds: float = 3 * PERIOD) -> None:
    for _ in range(round(20 * seconds)):
        world.wall += 0.05
        world.clock.advance(0.05)


def run_job(world: MemoryCoordinator, tasks: int = 2) -> str:
    job = world.submit("-n", str(tasks), "--retries", "0")
    for number in range(tasks):
        world.finish(job, f"0-{number}")
    world.clock.pump([1.0] * 3)
    return job


def test_a_job_that_was_done_is_delivered_once(world: MemoryCoordinator) -> None:
    sink = Sink()
    traces = begun(world, sink)
    run_job(world)
    pass_time(world)
    assert sink.names == {"attempt": 2, "task": 2, "job": 1}
    assert traces.counts == {"sent": 5, "refused": 0}
    pass_time(world, 10.0)
    assert sink.requests == 1


def states(sink: Sink) -> list[tuple[object, object, str, float]]:
    """Task, attempt, name and length of the states that were delivered."""
    return [
        (
            span.attributes["mu.task.number"],
            span.attributes["mu.attempt.number"],
            span.name,
            round(span.end - span.begin, 2),
        )
        for span in sink.taken
        if "mu.state.name" in span.attributes
    ]


class Fetch(CommandListState):
    extra = "(fetching)"
    commandlist = [("OK:HELLO", "echo:hi"), ("OK:ECHO(hi)", "echo:ho"), ("OK:ECHO(ho)", None)]
    nextState = TerminalState


def test_the_states_of_attempts_are_delivered_with_them(world: MemoryCoordinator) -> None:
    world.pipeline = Pipeline(name="p", summary="", first=Fetch)
    sink = Sink()
    begun(world, sink)
    job = world.submit("-n", "2", "--retries", "1")
    first, second = world.worker(job, "0-0"), world.worker(job, "0-1")
    pass_time(world, 1.0)
    first.says(b"OK:ECHO(hi)")
    pass_time(world, 2.5)
    second.says(b"FAIL(no)")
    first.says(b"OK:ECHO(ho)")
    pass_time(world)
    steps = ["fetching, step 1", "fetching, step 2"]
    assert states(sink) == [(1, 0, steps[0], 3.5), (0, 0, steps[0], 1.0), (0, 0, steps[1], 2.5)]
    attempts = {span.span: span for span in sink.taken if span.name == "attempt"}
    parents = [attempts[span.parent or b""] for span in sink.taken if "mu.state.name" in span.attributes]
    assert [span.attributes["mu.task.number"] for span in parents] == [1, 0, 0]


def test_so_are_those_of_attempts_that_a_cancelled_job_ends(world: MemoryCoordinator) -> None:
    sink = Sink()
    begun(world, sink)
    job = world.submit("-n", "300")
    for number in range(300):
        world.worker(job, f"0-{(7 * number) % 300}")
    pass_time(world, 2.0)
    world.at_once(world.jobs.cancel(job))
    pass_time(world)
    assert sorted((task, long) for task, _, _, long in states(sink)) == [(task, 2.0) for task in range(300)]


def test_they_are_found_by_one_that_begins_later_and_may_be_damaged(world: MemoryCoordinator) -> None:
    sink = Sink()
    sink.answer = SpanDelivery("away", again=True)
    begun(world, sink)
    job = world.submit("-n", "2", "--retries", "0")
    workers = [world.worker(job, f"0-{number}") for number in range(2)]
    pass_time(world, 1.0)
    for worker in workers:
        worker.says(b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 3)
    path = world.directory / "jobs" / job / "attempts.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-20])
    world.killed_and_started_again()
    sink.answer = SpanDelivery()
    begun(world, sink)
    pass_time(world)
    assert [(task, long) for task, _, _, long in states(sink)] == [(0, 1.0)]
    assert sink.names["attempt"] == 2


def test_what_was_before_is_not_delivered_but_counts(world: MemoryCoordinator) -> None:
    run_job(world)
    job = world.submit("-n", "2")
    world.wall += 100.0
    world.finish(job, "0-0")
    sink = Sink()
    begun(world, sink)
    world.wall += 50.0
    world.finish(job, "0-1")
    pass_time(world)
    assert sink.names == {"attempt": 1, "task": 1, "job": 1}
    assert sink.taken[-1].begin == 1000.0
    assert sink.taken[-1].attributes["mu.job.done_count"] == 2


def test_while_the_collector_is_away_spans_wait_on_record_and_one_line_says_so(
    world: MemoryCoordinator, logged: list[str]
) -> None:
    sink = Sink()
    sink.answer = SpanDelivery("the collector is not there", again=True)
    traces = begun(world, sink)
    for _ in range(3):
        run_job(world)
        pass_time(world, 100.0)
    assert traces.counts["sent"] == 0
    assert sink.requests < 12  # it is asked less and less often
    assert [line for line in logged if "not there" in line] == [
        "traces are not delivered for now, and wait in the journal: the collector is not there"
    ]
    sink.answer = SpanDelivery()
    pass_time(world, 70.0)
    assert sink.names == {"attempt": 6, "task": 6, "job": 3}
    assert len({span.span for span in sink.taken}) == 15
    assert logged[-1].startswith("the collector takes traces again")


def test_what_is_refused_is_counted_and_not_sent_again(world: MemoryCoordinator, logged: list[str]) -> None:
    sink = Sink()
    sink.answer = SpanDelivery("it answers HTTP 400", refused=3)
    traces = begun(world, sink)
    run_job(world)
    pass_time(world, 5.0)
    run_job(world)
    pass_time(world, 5.0)
    assert (sink.requests, traces.counts) == (2, {"sent": 4, "refused": 6})
    assert len([line for line in logged if "HTTP 400" in line]) == 1


@pytest.mark.parametrize("away", [False, True])
def test_a_coordinator_that_is_killed_goes_on_where_delivery_was(world: MemoryCoordinator, *, away: bool) -> None:
    sink = Sink()
    begun(world, sink)
    job = world.submit("-n", "2")
    world.finish(job, "0-0")
    pass_time(world)
    assert sink.names == {"attempt": 1, "task": 1}
    if away:
        sink.answer = SpanDelivery("away", again=True)
        world.finish(job, "0-1")
        pass_time(world)
    world.killed_and_started_again()
    sink.answer = SpanDelivery()
    begun(world, sink)
    if not away:
        world.finish(job, "0-1")
    pass_time(world, 40.0)
    assert sink.names == {"attempt": 2, "task": 2, "job": 1}
    assert len({(span.trace, span.span) for span in sink.taken}) == 5
    assert len({span.trace for span in sink.taken}) == 1


def test_a_slow_collector_is_sent_one_batch_at_a_time_and_no_job_waits(world: MemoryCoordinator) -> None:
    sink = Sink()
    sink.slow = True
    begun(world, sink)
    tasks = BATCH
    for _ in range(2):
        job = run_job(world, tasks)
        assert world.jobs.job(job).state == "done"
        pass_time(world)
    assert sink.requests == len(sink.waiting) == 1
    while sink.waiting:
        sink.waiting.pop().callback(None)
        pass_time(world)
    assert sink.names == {"attempt": 2 * tasks, "task": 2 * tasks, "job": 2}


def test_records_that_end_no_span_are_read_with_pauses(world: MemoryCoordinator) -> None:
    tasks = 50 * STEP

    def after(_: object, task: int) -> range:
        return range(tasks - 1) if task == tasks - 1 else range(0)

    world.pipeline = Pipeline(name="p", summary="", first=world.pipeline.first, after=after)
    traces = made(world, Sink())
    world.submit("-n", str(tasks), "--max-workers", "1")
    assert sum(1 for _ in traces._reading()) >= tasks // STEP


def test_the_end_delivers_what_is_left_and_waits_no_longer_than_that(world: MemoryCoordinator) -> None:
    sink = Sink()
    traces = begun(world, sink)
    run_job(world)
    ended = Deferred.fromCoroutine(traces.finish())
    pass_time(world, 0.5)
    assert ended.called
    assert sink.names["job"] == 1
    sink.slow = True
    traces = begun(world, sink)
    run_job(world)
    stuck = Deferred.fromCoroutine(traces.finish())
    pass_time(world, PARTING + 0.1)
    assert stuck.called
    sink.slow = False
    begun(world, sink)
    pass_time(world)
    assert sink.names["job"] == 2


def test_tasks_are_named_and_a_job_that_is_gone_or_broken_costs_nothing(world: MemoryCoordinator) -> None:
    first = world.pipeline.first
    world.pipeline = Pipeline(name="p", summary="", first=first, label=lambda _, task: f"in/{task}")
    sink = Sink()
    sink.answer = SpanDelivery("away", again=True)
    begun(world, sink)
    gone = run_job(world)
    world.journal.append("broken", {"at": "never", "record": {"type": "finished", "error": None}})
    world.remove(gone)
    job = run_job(world, 1)
    sink.answer = SpanDelivery()
    pass_time(world, 100.0)
    labels = [span.attributes.get("mu.task.label") for span in sink.taken if span.name == "task"]
    assert labels[-1] == "in/0"
    assert sink.taken[-1].attributes["mu.job.name"] == job


def test_a_retry_is_delivered_behind_what_was(world: MemoryCoordinator) -> None:
    sink = Sink()
    begun(world, sink)
    job = world.submit("-n", "1", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    world.clock.pump([1.0] * 3)
    pass_time(world)
    world.retry(job)
    pass_time(world)
    world.finish(job, "1-0")
    pass_time(world)
    assert sink.names == {"attempt": 2, "task": 2, "job": 2}
    assert len({span.span for span in sink.taken}) == 6
    assert [span.error is None for span in sink.taken if span.name == "job"] == [False, True]


def test_a_file_that_is_damaged_or_of_another_journal_begins_anew(world: MemoryCoordinator, tmp_path: Path) -> None:
    for content in (b"{", b'{"after": 1000000}', b"", b'{"x":' + b"[" * 100_000):
        (tmp_path / "traces.json").write_bytes(content)
        sink = Sink()
        traces = begun(world, sink)
        run_job(world)
        pass_time(world)
        assert sink.names["job"] == 1
        world.at_once(Deferred.fromCoroutine(traces.finish()))

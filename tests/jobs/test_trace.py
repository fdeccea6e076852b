"""A trace has a span for a job, each of its tasks, attempts and their states, and says the same whenever it is made."""

from collections import Counter
from random import Random

import pytest
from simulated_fleet import Faults, SimulatedFleet

from mu_twisted.jobs import (
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    AttemptStates,
    Failure,
    Finished,
    Job,
    JobPolicy,
    JobRecord,
    JobTrace,
    LaunchId,
    ResultReached,
    Retried,
    Span,
    Submitted,
    TaskFailed,
    TasksFailed,
    record_from_dict,
)
from mu_twisted.jobs._trace import MAX_LINKS, MAX_STATES

AT = 1_800_000_000.0
Step = tuple[float, JobRecord]
Groups = tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]


def submitted(tasks: int, after: Groups = (), consumes: tuple[tuple[int, tuple[int, ...]], ...] = ()) -> Submitted:
    return Submitted("j", tuple(range(tasks)), JobPolicy(), consumes, False, after=after)


def spans(*steps: Step, name: str = "j", labels: dict[int, str] | None = None) -> list[Span]:
    trace = JobTrace(name, "p", AT, (labels or {}).get)
    return [span for at, record in steps for span in trace.apply(record, AT + at) if span is not None]


def begun(task: int, attempt: int = 0, *, speculative: bool = False) -> Assigned:
    return Assigned(task, attempt, LaunchId(f"0-{task}"), speculative)


def ended(task: int, attempt: int = 0, outcome: AttemptOutcome = AttemptOutcome.DONE) -> AttemptEnded:
    return AttemptEnded(task, attempt, outcome, 1.0)


def failed(task: int, attempt: int, error: str = "exit status 3", status: int | None = 3) -> AttemptEnded:
    return AttemptEnded(task, attempt, AttemptOutcome.FAILED, 1.0, True, Failure.EXIT, status, error)


def test_times_and_parents_are_those_of_the_records() -> None:
    steps: list[Step] = [(0, submitted(1)), (2, begun(0)), (5, failed(0, 0)), (6, begun(0, 1)), (9, ended(0, 1))]
    first, second, task, job = spans(*steps, (9.5, ResultReached(0, 1)), (10, Finished(None)), labels={0: "a.png"})
    assert [span.name for span in (first, second, task, job)] == ["attempt", "attempt", "task", "job"]
    times = [(span.begin - AT, span.end - AT) for span in (first, second, task, job)]
    assert times == [(2, 5), (6, 9), (0, 9.5), (0, 10)]
    assert (job.parent, task.parent, first.parent, second.parent) == (None, job.span, task.span, task.span)
    assert {len(span.trace) for span in (first, task, job)} == {16}
    assert len({span.span for span in (first, second, task, job)}) == 4
    assert (first.error, second.error, task.error, job.error) == ("exit status 3", None, None, None)
    assert (first.attributes["error.type"], first.attributes["process.exit.code"]) == ("exit status", 3)
    assert (first.attributes["mu.attempt.outcome"], second.attributes["mu.attempt.number"]) == ("failed", 1)
    assert (task.attributes["mu.task.label"], task.attributes["mu.task.attempt_count"]) == ("a.png", 2)
    assert (job.attributes["mu.job.done_count"], job.attributes["mu.job.failed_count"]) == (1, 0)


def test_a_task_behind_others_begins_when_they_are_done_and_names_them() -> None:
    after = (((0, 1), (2,)),)
    steps: list[Step] = [(0, submitted(4, after, ((3, (2,)),))), (1, begun(0)), (1, begun(1))]
    for at, task in ((3, 0), (7, 1)):
        steps += [(at, ended(task)), (at, ResultReached(task, 0))]
    steps += [(8, begun(2)), (9, ended(2)), (9, ResultReached(2, 0)), (9, begun(3)), (11, ended(3))]
    found = {
        span.attributes["mu.task.number"]: span
        for span in spans(*steps, (11, ResultReached(3, 0)))
        if span.name == "task"
    }
    assert found[2].begin == AT + 7
    assert list(found[2].links) == [found[0].span, found[1].span]
    assert (found[3].begin, list(found[3].links)) == (AT, [found[2].span])


def test_links_are_no_more_than_a_span_may_have() -> None:
    many = 1000
    found = spans((0, submitted(many + 1, (((*range(many),), (many,)),))), (1, TasksFailed((many,), "task 7 failed")))
    assert len(found[0].links) == MAX_LINKS


def states_of(states: AttemptStates, *, end: float = 9.0, outcome: JobRecord | None = None) -> list[Span]:
    """The spans that the end of an attempt at task 3 brings, which began one second into the job."""
    trace = JobTrace("j", "p", AT)
    for at, record in ((0, submitted(4)), (1, begun(3))):
        assert not [span for span in trace.apply(record, AT + at) if span is not None]
    record = outcome or ended(3)
    return [span for span in trace.apply(record, AT + end, {}, states) if span is not None]


def test_an_attempts_states_are_its_children_one_after_the_other() -> None:
    known = AttemptStates([(0.0, 2.0, "fetching"), (2.0, 6.5, "encoding"), (6.5, 8.0, "fetching")])
    attempt, *states = states_of(known)
    assert [span.name for span in states] == ["fetching", "encoding", "fetching"]
    assert [(span.begin - AT, span.end - AT) for span in states] == [(1, 3), (3, 7.5), (7.5, 9)]
    assert {span.parent for span in states} == {attempt.span}
    assert {span.trace for span in states} == {attempt.trace}
    assert len({span.span for span in [attempt, *states]}) == 4
    assert states == states_of(known)[1:]
    assert states[1].attributes == {
        "mu.job.name": "j",
        "mu.task.number": 3,
        "mu.attempt.number": 0,
        "mu.state.name": "encoding",
    }
    assert "mu.attempt.dropped_state_count" not in attempt.attributes


def test_the_state_that_an_attempt_failed_in_says_so_and_no_other() -> None:
    known = AttemptStates([(0.0, 2.0, "fetching"), (2.0, 4.0, "encoding")])
    attempt, first, last = states_of(known, outcome=failed(3, 0))
    assert (attempt.error, first.error, last.error) == ("exit status 3", None, "exit status 3")
    assert (first.attributes.get("error.type"), last.attributes["error.type"]) == (None, "exit status")


def test_of_many_states_the_last_are_spans_and_the_others_are_counted() -> None:
    many = [(float(at), at + 1.0, f"state {at}") for at in range(MAX_STATES + 40)]
    attempt, *states = states_of(AttemptStates(many, 1000), end=5000.0)
    assert [span.name for span in states] == [name for _, _, name in many[-MAX_STATES:]]
    assert attempt.attributes["mu.attempt.dropped_state_count"] == 1040
    fewer = states_of(AttemptStates(many[1:], 1001), end=5000.0)
    assert [span.span for span in fewer[1:]] == [span.span for span in states]


def test_states_lie_within_their_attempt_though_the_clock_is_set_back() -> None:
    attempt, *states = states_of(AttemptStates([(0.0, 2.0, "a"), (2.0, 700.0, "b")]), end=-50.0)
    assert all(attempt.begin <= span.begin <= span.end <= attempt.end for span in states)


def test_a_states_name_says_nothing_secret() -> None:
    name = "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\n" + "x" * 5000
    state = states_of(AttemptStates([(0.0, 1.0, name)]))[1]
    assert "wJalr" not in f"{state.name} {state.attributes}"
    assert len(state.name) < 600


def test_what_failed_says_why_without_what_is_secret() -> None:
    secret = "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"  # noqa: S105 - AWS's example
    steps: list[Step] = [(0, submitted(2)), (1, begun(0)), (2, failed(0, 0, f"it said\n{secret}", None))]
    steps += [(2, TaskFailed(0, f"it said {secret}")), (3, Finished("1 of 2 tasks failed"))]
    found = spans(*steps)
    assert all(span.error is not None and "wJalr" not in span.error and "\n" not in span.error for span in found)
    tasks = {span.attributes["mu.task.number"]: span for span in found if span.name == "task"}
    assert tasks[0].attributes["error.type"] == "exit status"
    assert tasks[1].attributes["error.type"] == "not run"
    assert found[-1].attributes["mu.job.failed_count"] == 2


def test_a_task_that_is_retried_is_another_span_of_the_same_trace() -> None:
    steps: list[Step] = [(0, submitted(2)), (1, begun(0)), (2, failed(0, 0)), (2, TaskFailed(0, "exit status 3"))]
    steps += [(3, Finished("2 of 2 tasks failed")), (50, Retried((0,))), (51, begun(0, 1)), (53, ended(0, 1))]
    found = spans(*steps, (53, ResultReached(0, 1)), (54, Finished("1 of 2 tasks failed")))
    jobs = [span for span in found if span.name == "job"]
    tasks = [span for span in found if span.attributes.get("mu.task.number") == 0 and span.name == "task"]
    assert len({span.span for span in found}) == len(found)
    assert len({span.trace for span in found}) == 1
    assert [(span.begin - AT, span.end - AT, span.parent) for span in jobs] == [(0, 3, None), (50, 54, jobs[0].span)]
    assert [(span.begin - AT, span.parent) for span in tasks] == [(0, jobs[0].span), (50, jobs[1].span)]
    assert jobs[1].attributes["mu.job.done_count"] == jobs[1].attributes["mu.job.failed_count"] == 1


def test_a_clock_that_is_set_back_makes_no_span_that_ends_before_it_begins() -> None:
    found = spans((0, submitted(1)), (5, begun(0)), (-100, ended(0)), (-99, ResultReached(0, 0)), (1, Finished(None)))
    assert all(span.end >= span.begin >= AT for span in found)


@pytest.mark.parametrize("seed", range(3))
def test_in_any_course_of_things_each_attempt_and_each_end_of_a_task_has_its_span(seed: int) -> None:
    consumes = {task: (task - 1,) for task in range(16) if task % 4}
    policy = JobPolicy(max_workers=8, retries=50, reruns=50, retry_delay=0.5, retry_longest=4.0)
    job = Job("j", range(16), policy, consumes=consumes, random=Random(seed).random)
    world = SimulatedFleet(job, seed, Faults(death=0.2, failure=0.1, lost=0.1, doubled=0.02), life=50_000.0)
    world.start()
    world.play()
    records = [record_from_dict(record) for record in world.records]
    steps = [(float(at), record) for at, record in enumerate(records)]
    found = spans(*steps)
    assert found == spans(*steps)
    assert len({span.span for span in found}) == len(found)
    kinds = Counter(span.name for span in found)
    assert kinds["attempt"] == sum(isinstance(record, Assigned) for record in records) > 16
    assert kinds["task"] >= 16
    known = {span.span for span in found}
    assert all(span.parent in known for span in found if span.name != "job")
    assert all(link in known for span in found for link in span.links)
    assert found[-1].attributes["mu.job.done_count"] == 16

"""What happens in a job can be followed, page by page, across restarts."""

from typing import Any

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import EventPage, EventQuery, Journal
from mu_twisted.coordinator.records._journal import PAGE
from mu_twisted.statuses import ServiceError, UnknownJob


def events(world: MemoryCoordinator, job: str, **query: Any) -> EventPage:
    page: EventPage = world.at_once(world.jobs.events(job, EventQuery(**query)))
    return page


def test_each_event_comes_once_also_across_a_restart(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "0")
    first = events(world, job)
    assert [_text(line) for line in first.events[:2]] == ["submitted: p -n 2 --retries 0", "2 tasks"]
    assert (first.more, first.over) == (False, False)
    nothing = events(world, job, after=first.next)
    assert (list(nothing.events), nothing.next) == ([], first.next)
    world.finish(job, "0-0")
    second = events(world, job, after=first.next)
    assert any("task 0, attempt 0: attempt-ended" in line for line in second.events)
    world.killed_and_started_again()
    third = events(world, job, after=second.next)
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 5)
    last = events(world, job, after=third.next)
    assert last.over
    assert "finished" in last.events[-1]
    lines = [*first.events, *second.events, *third.events, *last.events]
    assert lines == world.log(job).splitlines()


def test_only_those_of_a_task_or_of_failures(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "12", "--retries", "0")
    world.worker(job, "0-1").says(b"FAIL(no)")
    world.finish(job, "0-0")
    failures = events(world, job, failed=True).events
    assert len(failures) == 2
    assert all(_text(line).startswith(("task 0, attempt 0: ", "task 0: ")) for line in failures), failures
    of_one = [_text(line) for line in events(world, job, task=0).events]
    assert len(of_one) > len(failures)
    assert all(text.startswith(("task 0, ", "task 0:")) for text in of_one), of_one
    assert not events(world, job, task=1, failed=True).events
    assert not events(world, job, task=11).events
    with pytest.raises(UnknownJob, match="no task 12"):
        events(world, job, task=12)


@pytest.mark.parametrize("structured", [False, True])
def test_what_was_submitted_is_read_again_only_for_lines_that_may_name_a_stage(
    world: MemoryCoordinator, structured: bool
) -> None:
    job = world.submit("-n", "2")
    end = world.journal.end(job)
    world.journal._database.execute("UPDATE events SET record = '{' WHERE record LIKE '%\"type\":\"submitted\"%'")
    query = EventQuery(after=end, structured=structured)
    assert world.at_once(world.jobs.events(job, query)).events == []
    world.worker(job, "0-0")
    if structured:
        assert [event["type"] for event in world.at_once(world.jobs.events(job, query)).events] == ["assigned"]
    else:
        with pytest.raises(ServiceError, match="damaged"):
            world.at_once(world.jobs.events(job, query))


def _text(line: str) -> str:
    """Without its time."""
    return line.partition("Z ")[2]


def test_a_page_says_where_it_ends_whatever_it_leaves_out(world: MemoryCoordinator) -> None:
    journal: Journal = world.journal
    for number in range(2 * PAGE + 5):
        journal.append("j", {"n": number, "text": "odd" if number % 2 else "even"})
        journal.append("other", {})
    rows, after, more = journal.page("j", 0)
    assert ([row["n"] for _, row in rows], more) == (list(range(PAGE)), True)
    rows, after, more = journal.page("j", after)
    rows, after, more = journal.page("j", after)
    assert ([row["n"] for _, row in rows], more) == (list(range(2 * PAGE, 2 * PAGE + 5)), False)
    assert journal.page("j", after) == ([], after, False)
    odd, end, more = journal.page("j", 0, "odd")
    assert len(odd) == PAGE
    odd, end, more = journal.page("j", end, "odd")
    assert ([row["n"] for _, row in odd], end, more) == ([2 * PAGE + 1, 2 * PAGE + 3], after, False)
    assert journal.page("j", 0, "nosuch") == ([], after, False)

"""What programs have printed is kept within a budget, on disk, and read page by page."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from mu_twisted.coordinator.output._store import DELAY, MAX_OUTPUT, MAX_SUCCESS, MAX_WAITING, ROW, OutputStore
from mu_twisted.statuses import OutputPage, OutputQuery, RunOutput, ServiceError, parse_cursor
from mu_twisted.storage._output_page import MAX_PAGE_BYTES, MAX_PAGE_RUNS, reading_page


class Kept:
    """A store, opened anew at each restart."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.path = path
        self.clock = Clock()
        self.more = {"tasks": 3, **more}
        self.begin()

    def begin(self) -> None:
        self.store = OutputStore(self.path, self.clock, **self.more)

    def page(self, **query: Any) -> OutputPage:
        steps = reading_page(self.path, OutputQuery(**query))
        while True:
            try:
                next(steps)
            except StopIteration as end:
                page: OutputPage = end.value
                return page

    def runs(self, **query: Any) -> list[RunOutput]:
        """Of all pages, without a break."""
        self.store.flush()
        page = self.page(**query)
        found = list(page.runs)
        while page.next is not None:
            page = self.page(after=parse_cursor(page.next), **query)
            found += page.runs
        return found

    def outputs(self, **query: Any) -> list[tuple[int, int, int, bytes | None]]:
        return [(run.task, run.attempt, run.run, run.output) for run in self.runs(**query)]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path / "job" / "output.db")
    yield kept
    kept.store.close()


def test_what_was_taken_is_on_disk_a_moment_later_and_after_a_restart(kept: Kept) -> None:
    one = kept.store.attempt(1, 0)
    one.take(b"OK:RETVAL(0):OUTPUT(a \xff:b):COMMAND(true)")
    one.take(b"OK:RETVAL(-9):OUTPUT():COMMAND(x)")
    assert not kept.page().runs
    kept.clock.advance(DELAY)
    wanted = [RunOutput(1, 0, 0, 0, False, 5, b"a \xff:b"), RunOutput(1, 0, 1, -9, False, 0, b"")]
    assert list(kept.page().runs) == wanted
    kept.store.attempt(0, 2).add(1, b"late")
    kept.store.close()
    kept.begin()
    assert kept.runs() == [RunOutput(0, 2, 0, 1, False, 4, b"late"), *wanted]


def test_a_reply_that_is_none_is_not_kept(kept: Kept) -> None:
    kept.store.attempt(0, 0).take(b"OK:RETVAL(x)")
    assert kept.runs() == []
    assert not kept.path.exists()


@pytest.mark.parametrize(
    ("tasks", "status", "failed", "limit"),
    [
        (100, 0, False, MAX_OUTPUT),
        (101, 0, False, MAX_SUCCESS),
        (101, 3, False, MAX_OUTPUT),
        (101, 0, True, MAX_OUTPUT),
    ],
)
def test_the_end_of_an_output_is_kept(tmp_path: Path, tasks: int, status: int, failed: bool, limit: int) -> None:
    kept = Kept(tmp_path / "output.db", tasks=tasks)
    one = kept.store.attempt(0, 0)
    if failed:
        one.failed()
    output = b"x" * 70_000 + b"end"
    one.add(status, output)
    assert kept.runs() == [RunOutput(0, 0, 0, status, failed, len(output), output[-limit:])]
    kept.store.close()


@pytest.mark.parametrize("written", [False, True])
def test_the_attempt_is_shown_that_has_ended_well_else_the_last(kept: Kept, written: bool) -> None:
    attempts = [kept.store.attempt(5, number) for number in range(3)]
    for number, one in enumerate(attempts):
        one.add(0, b"%d" % number)
    if written:
        kept.store.flush()
    assert kept.outputs() == [(5, 2, 0, b"2")]
    attempts[2].failed()
    attempts[2].add(-9, b"killed")
    attempts[0].failed()
    assert kept.outputs() == [(5, 1, 0, b"1")]
    assert kept.outputs(failed=True) == []
    attempts[1].failed()
    killed = [(5, 2, 0, b"2"), (5, 2, 1, b"killed")]
    assert kept.outputs() == kept.outputs(failed=True) == killed
    assert kept.outputs(which=0) == [(5, 0, 0, b"0")]
    assert kept.outputs(which="all") == [(5, 0, 0, b"0"), (5, 1, 0, b"1"), *killed]
    assert kept.outputs(task=4) == kept.outputs(which=7) == []


def test_only_failed_tasks_can_be_asked_for(kept: Kept) -> None:
    for task in range(6):
        kept.store.attempt(task, 0).add(0, b"")
        if task in (2, 3, 5):
            kept.store.attempt(task, 0)
            bad = kept.store.attempt(task, 0)
            bad.add(1, b"bad")
            bad.failed()
    kept.store.attempt(3, 1).add(0, b"good")
    assert kept.outputs(failed=True) == [(2, 0, 0, b"bad"), (5, 0, 0, b"bad")]


def test_pages_hold_every_run_once(kept: Kept) -> None:
    kept.store.attempt(0, 0).add(0, b"")
    many = kept.store.attempt(1, 0)
    for run in range(MAX_PAGE_RUNS + 7):
        many.add(0, b"%d" % run)
    large = kept.store.attempt(2, 0)
    for _ in range(MAX_PAGE_BYTES // MAX_OUTPUT + 3):
        large.add(1, bytes(MAX_OUTPUT))
    runs = kept.runs()
    assert len(kept.page().runs) == MAX_PAGE_RUNS
    assert [(run.task, run.run) for run in runs] == [
        (0, 0),
        *((1, run) for run in range(MAX_PAGE_RUNS + 7)),
        *((2, run) for run in range(MAX_PAGE_BYTES // MAX_OUTPUT + 3)),
    ]


@pytest.mark.parametrize("text", ["", "1.2", "1.2.x", "-1.0.0", "1.2.3.4", "٣.0.0", "9999999999.0.0"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cursor"):
        parse_cursor(text)


RUNS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([0, 1]), st.integers(0, 400), st.booleans(), st.booleans()),
    max_size=60,
)


@given(RUNS)
def test_where_the_budget_is_reached_the_oldest_successes_go_first(
    runs: list[tuple[int, int, int, bool, bool]],
) -> None:
    """Against a store that is a list."""
    from tempfile import TemporaryDirectory

    budget = 1500
    model: list[list[Any]] = []

    def make_room() -> None:
        def used() -> int:
            return sum(ROW + len(run[3] or b"") for run in model)

        while used() > budget:
            left = [run for run in model if run[3]]
            if left:
                min(left, key=lambda run: run[4] or run[2] != 0)[3] = None
            else:
                del model[0]

    with TemporaryDirectory() as directory:
        kept = Kept(Path(directory) / "output.db", budget=budget)
        for attempt, (task, status, size, fails, restarts) in enumerate(runs):
            output = bytes([attempt]) * size
            one = kept.store.attempt(task, attempt)
            one.add(status, output)
            if fails:
                one.failed()
            model.append([task, attempt, status, output, fails])
            kept.store.flush()
            make_room()
            if restarts:
                kept.store.close()
                kept.begin()
        found = [[run.task, run.attempt, run.status, run.output, run.failed] for run in kept.runs(which="all")]
        assert found == sorted(model)
        kept.store.close()


def test_much_at_once_is_written_at_once_and_not_held(kept: Kept) -> None:
    one = kept.store.attempt(0, 0)
    for _ in range(MAX_WAITING // MAX_OUTPUT + 1):
        one.add(1, bytes(MAX_OUTPUT))
    assert len(kept.page().runs) >= MAX_WAITING // MAX_OUTPUT


def test_a_damaged_file_costs_what_was_in_it_and_no_more(tmp_path: Path) -> None:
    path = tmp_path / "output.db"
    path.write_bytes(b"no database" * 1000)
    kept = Kept(path)
    with pytest.raises(ServiceError, match="cannot be read"):
        kept.page()
    kept.store.attempt(0, 0).add(0, b"new")
    assert kept.outputs() == [(0, 0, 0, b"new")]
    kept.store.close()


def test_where_it_cannot_be_written_the_job_goes_on_and_later_outputs_are_kept(tmp_path: Path) -> None:
    (tmp_path / "job").write_text("in the way")
    kept = Kept(tmp_path / "job" / "output.db")
    kept.store.attempt(0, 0).add(0, b"lost")
    kept.store.flush()
    (tmp_path / "job").unlink()
    kept.store.attempt(0, 1).add(0, b"kept")
    assert kept.outputs() == [(0, 1, 0, b"kept")]
    kept.store._database.close()  # type: ignore[union-attr]
    kept.store.attempt(0, 2).add(0, b"lost")
    kept.store.flush()
    kept.store.attempt(0, 3).add(0, b"too")
    assert kept.outputs(which="all") == [(0, 1, 0, b"kept"), (0, 3, 0, b"too")]
    kept.store.close()


def test_a_closed_store_takes_nothing(kept: Kept) -> None:
    one = kept.store.attempt(0, 0)
    kept.store.close()
    one.add(0, b"late")
    one.failed()
    kept.store.flush()
    assert not kept.path.exists()
    assert kept.clock.getDelayedCalls() == []


def test_the_file_is_for_its_owner_only(kept: Kept) -> None:
    kept.store.attempt(0, 0).add(0, b"x")
    kept.store.flush()
    assert kept.path.stat().st_mode & 0o77 == 0
    with sqlite3.connect(kept.path) as database:
        assert database.execute("SELECT bytes FROM total").fetchall() == [(ROW + 1,)]

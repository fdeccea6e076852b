"""What a pipeline has to say of a job, as ``mu wait`` and ``mu status`` show it."""

from typing import Any

import pytest

from mu_twisted.cli import _format
from mu_twisted.cli._wait import wait_and_report

JOB: dict[str, Any] = {
    "job": "count-1",
    "pipeline": "count",
    "state": "failed",
    "submitted": 100.0,
    "ended": 102.0,
    "tasks": 2,
    "waiting": 0,
    "active": 0,
    "done": 2,
    "failed": 0,
    "workers": 0,
    "launches": 0,
    "error": "too few",
    "report": "3 lines\nin all",
}


def test_wait_prints_the_report_before_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert wait_and_report(None, JOB, as_json=False) == 1  # type: ignore[arg-type]
    said = capsys.readouterr()
    assert said.out == "3 lines\nin all\ncount-1: failed, 2 of 2 tasks done in 2.0 s\n"
    assert said.err == "error: too few\n"


def test_where_json_is_wanted_the_report_is_in_it_only(capsys: pytest.CaptureFixture[str]) -> None:
    wait_and_report(None, JOB, as_json=True)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert '"report": "3 lines\\nin all"' in out


def test_status_shows_the_report(capsys: pytest.CaptureFixture[str]) -> None:
    lines = _format.details(JOB).splitlines()
    at = next(number for number, line in enumerate(lines) if "report" in line)
    assert lines[at].endswith("3 lines")
    assert lines[at + 1].strip() == "in all"


def test_status_shows_a_table_of_stages() -> None:
    counts = {"waiting": 0, "blocked": 0, "active": 0, "done": 0, "failed": 0, "waits": None}
    split = {**counts, "name": "split", "state": "active", "tasks": 12, "done": 11, "active": 1}
    waits = "task 12 comes\x1b after task 11"
    join = {**counts, "name": "join", "state": "blocked", "tasks": 1, "blocked": 1, "waits": waits}
    assert _format.stages({**JOB, "stages": [split, join]}) == [
        "  STAGE  STATE    TASKS  DONE  ACTIVE  WAITING  BLOCKED  FAILED",
        "  split  active      12    11       1        0        0       0",
        "  join   blocked      1     0       0        0        1       0  task 12 comes\\x1b after task 11",
    ]
    ended = [{**split, "state": "failed", "active": 0, "failed": 1}]
    assert _format.stages({**JOB, "state": "cancelled", "stages": ended}) == [
        "  STAGE  STATE     TASKS  DONE  ACTIVE  WAITING  BLOCKED  NOT DONE",
        "  split  not done     12    11       0        0        0         1",
    ]
    assert _format.stages(JOB) == []
    assert "split 11/12" in _format.progress({**JOB, "stages": [split, join]})


@pytest.mark.parametrize("state", ["cancelled", "interrupted"])
@pytest.mark.parametrize(
    ("unfinished", "shown", "counts"), [(None, "-", "5 not done"), (3, "2", "2 failed, 3 not done")]
)
def test_what_failed_is_told_from_what_was_not_done_when_the_job_was_ended(
    state: str, unfinished: int | None, shown: str, counts: str
) -> None:
    job = {**JOB, "state": state, "tasks": 7, "failed": 5, "unfinished": unfinished}
    assert str(_format.failed_count(job)) == shown
    assert f"7: 2 done, {counts}" in _format.details(job)

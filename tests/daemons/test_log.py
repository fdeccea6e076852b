"""The log of a daemon: readable lines, or with --log-format json an object on each, which says what it is about."""

import json
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.logger import LogLevel, eventAsText
from twisted.python.failure import Failure
from warm_processes import TWISTD, run

from mu_twisted.daemons._json_log import json_line
from mu_twisted.daemons._log import labelled

AT = 1_800_000_000.25


def event(text: str, **fields: object) -> dict[str, Any]:
    return {"log_time": AT, "log_level": LogLevel.warn, "log_namespace": "a.b", "log_format": text, **fields}


@given(st.text() | st.just("\udcff\n\x1b[31m"), st.integers(), st.none() | st.integers(0))
def test_any_event_is_an_object_on_one_line(text: str, task: int, attempt: int | None) -> None:
    line = json_line(event("{task}: {what}", what=text, job="j", task=task, attempt=attempt, other=object()))
    assert line.isascii()
    assert line.isprintable()
    found = json.loads(line)
    assert found.pop("text") == f"{task}: {text}"
    assert found.pop("attempt", None) == attempt
    expected = {"time": "2027-01-15T08:00:00.250Z", "level": "warn", "namespace": "a.b", "job": "j", "task": task}
    assert found == expected


@pytest.mark.parametrize(
    ("text", "labels", "said"),
    [
        ("task {task}, attempt {attempt} failed", {"job": "j", "task": 14, "attempt": 0, "worker": 3}, "job j: "),
        ("task 14 failed", {"job": "j", "task": 1, "attempt": 0}, "job j, task 1, attempt 0: "),
        ("worker {worker} is given up", {"job": "j", "task": None, "worker": 2}, "job j: "),
        ("job {job} ended", {"job": "j{x}"}, ""),
        ("it listens", {}, ""),
    ],
)
def test_a_readable_line_begins_with_what_it_does_not_say_that_it_is_about(
    text: str, labels: dict[str, Any], said: str
) -> None:
    before, after = (
        eventAsText(one, includeTimestamp=False, includeSystem=False)
        for one in (event(text, **labels), labelled(event(text, **labels)))
    )
    assert after == said + before


def test_a_failure_has_its_traceback_in_the_text() -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        line = json_line(event("it failed", log_failure=Failure()))
    assert "\n" not in line
    assert "ValueError: odd" in json.loads(line)["text"]
    assert "Traceback" in json.loads(line)["text"]


def objects(lines: Sequence[str]) -> list[dict[str, Any]]:
    """The objects of a log, of which each has a time in ISO 8601, level, namespace and text."""
    found = [json.loads(line) for line in lines]
    for one in found:
        assert datetime.fromisoformat(one["time"]).utcoffset() is not None
        assert {"level", "namespace", "text"} <= one.keys()
    return found


@pytest.mark.process
def test_what_is_about_a_worker_has_its_job_task_and_attempt(coordinate: Any, local: Any) -> None:
    words = [*local.words("exec"), "--log-format", "json", "-D", "-n", "2", "--retries", "1", "--retry-exit", "3"]
    ended = coordinate(*words, "--", "[ {n} = 0 ] || exit 3")
    assert ended.status == 1
    lines = objects([line for line in ended.err.splitlines() if line.startswith("{")])
    failed = [line for line in lines if line["text"].startswith("task 1, attempt ") and line["level"] == "warn"]
    assert [(line["task"], line["attempt"]) for line in failed] == [(1, 0), (1, 1)]
    # The end of the job is the command's output, as the page says: its log is not all that is printed.
    assert re.fullmatch(r"exec-\w+: 1 of 2 tasks done in [0-9.]+ s\n", ended.out)
    assert any(line.startswith("error: ") for line in ended.err.splitlines())
    left = [line for line in lines if line["text"].startswith("worker ")]
    assert left
    assert all({"job", "worker"} <= line.keys() for line in [*failed, *left])
    assert {line["job"] for line in failed} == {line["job"] for line in left}


@pytest.mark.process
@pytest.mark.parametrize("daemon", [["mu-rendezvous", "-t", "tcp:0"], ["mu-coordinator", "-t", "tcp:0"]])
def test_a_log_file_of_json_has_objects_alone(tmp_path: Path, daemon: list[str]) -> None:
    (tmp_path / "state").write_text("no directory", encoding="utf-8")
    words = [*TWISTD, "--logfile", "log", *daemon, "--log-format", "json", "--state-dir", "state"]
    done = run(*words, cwd=tmp_path)
    assert done.returncode == 1
    lines = objects((tmp_path / "log").read_text(encoding="utf-8").splitlines())
    assert [line["level"] for line in lines if "state" in line["text"]] == ["error"]


@pytest.mark.parametrize("daemon", ["mu-coordinator", "mu-rendezvous", "mu-local"])
def test_another_format_is_a_usage_error(tmp_path: Path, daemon: str) -> None:
    for words, said in [
        (["-n", "--pidfile=", daemon, "--log-format", "xml"], "error: --log-format: expected text or json, got 'xml'"),
        (["-n", "--pidfile=", "--syslog", daemon, "--log-format", "json"], "error: --log-format: syslog has lines of"),
    ]:
        done = run(TWISTD[0], *words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(said)

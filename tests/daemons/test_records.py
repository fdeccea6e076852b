"""Records asked without a coordinator: the control API's answers, from a journal alone."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from warm_processes import LIMIT

from mu_twisted.base import MuError
from mu_twisted.client import ConnectionLost, Coordinator, RequestRefused, UnixTransport
from mu_twisted.coordinator import Journal
from mu_twisted.coordinator.output import OutputStore
from mu_twisted.daemons import InUse
from mu_twisted.daemons._state_dir import StateDirectory
from mu_twisted.daemons.records import Records, opened
from mu_twisted.jobs import Job, JobPolicy, record_to_dict
from mu_twisted.jobs import Record as RecordAction


def job_rows(name: str, *, end: bool, daemon: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The rows of a job of two tasks, which is cancelled or goes on."""
    job = Job(name, [0, 1], JobPolicy())
    actions = job.start(0.0)
    if end:
        actions += job.cancel("interrupted", 1.0)
    records = [action.record for action in actions if isinstance(action, RecordAction)]
    rows = [{"at": 5.0, "record": record_to_dict(record)} for record in records]
    if end:
        state = {"job": name, "pipeline": "exec", "state": "interrupted", "submitted": 5.0, "tasks": 2, "failed": 2}
        rows[-1]["fact"] = {**state, "error": "interrupted", "ended": 6.0}
    request = {"pipeline": "exec", "words": ["-n", "2", "true"], "source": None, "daemon": list(daemon)}
    return [{"at": 5.0, "request": request}, *rows]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    clock = Clock()
    journal = Journal(tmp_path / "journal.db", clock, lambda _: None)
    for row in job_rows("over", end=True, daemon=("--local", "--port=0")):
        journal.append("over", row)
    old = job_rows("open", end=False)
    del old[0]["request"]["daemon"]  # as journals of before have it
    for row in old:
        journal.append("open", row)
    journal.flush()
    journal.close()
    return tmp_path


def ask(records: Records, method: str, *path: str) -> tuple[int, Any]:
    status, body = records.answer(method, ("v1", *path), {}, b"")
    return status, json.loads(body) if body else None


def test_what_is_over_and_what_was_left_are_told(state: Path) -> None:
    with opened(state, lambda: 9.0) as records:
        status, found = ask(records, "GET", "jobs")
        assert status == 200
        states = {job["job"]: (job["state"], job["error"]) for job in found["jobs"]}
        assert states["over"] == ("interrupted", "interrupted")
        assert states["open"][0] == "held"
        assert "the coordinator that ran it has ended" in states["open"][1]
        assert "`mu retry` lets it go on" in states["open"][1]
        assert [task["error"] for task in ask(records, "GET", "jobs", "over", "tasks")[1]["tasks"]] == [
            "interrupted"
        ] * 2
        assert ask(records, "GET", "jobs", "none")[0] == 404


def test_a_question_changes_nothing_and_removing_does(state: Path) -> None:
    for _ in range(2):
        with opened(state, lambda: 9.0) as records:
            assert len(ask(records, "GET", "jobs")[1]["jobs"]) == 2
    with opened(state, lambda: 9.0) as records:
        assert ask(records, "DELETE", "jobs", "over")[0] == 204
        assert ask(records, "POST", "jobs", "open", "cancel")[1]["state"] == "cancelled"
    with opened(state, lambda: 9.0) as records:
        assert [(job["job"], job["state"]) for job in ask(records, "GET", "jobs")[1]["jobs"]] == [("open", "cancelled")]


def test_the_options_of_its_coordinator_are_part_of_a_record_since_they_are_noted(state: Path) -> None:
    with opened(state, lambda: 9.0) as records:
        assert records.daemon_words("over") == ("--local", "--port=0")
        assert records.daemon_words("open") == ()
        with pytest.raises(MuError, match="there is no job"):
            records.daemon_words("none")


def test_a_directory_in_use_is_not_read(state: Path) -> None:
    held = StateDirectory(state)
    try:
        with pytest.raises(InUse), opened(state, lambda: 9.0):
            pass
    finally:
        held.close()
    with opened(state, lambda: 9.0):
        pass


def test_all_pages_are_read_where_a_page_holds_a_part(state: Path) -> None:
    store = OutputStore(state / "jobs" / "over" / "output.db", Clock(), tasks=2)
    task = store.attempt(1, 0)
    for number in range(20_500):  # more pages than are read at once
        task.add(0, b"%d" % number)
    store.close()
    coordinator = Coordinator(UnixTransport(state))
    pages = list(coordinator.pages("jobs", "over", "output", cursor="after"))
    assert [run["run"] for page in pages for run in page["runs"]] == list(range(20_500))
    assert [task["task"] for task in coordinator.tasks("over")] == [0, 1]
    with pytest.raises(RequestRefused, match="no job"):
        next(coordinator.pages("jobs", "none", "output", cursor="after"))
    StateDirectory(state).close()  # it is free again


@pytest.fixture
def ending(state: Path) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Has a coordinator hang up on the first that asks, and then do something else."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(state / "control.sock"))
    listening.listen()
    listening.settimeout(LIMIT)
    threads: list[threading.Thread] = []

    def serve(afterwards: Callable[[], None]) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(10_000)
            listening.close()
        afterwards()

    def begin(afterwards: Callable[[], None]) -> None:
        threads.append(threading.Thread(target=serve, args=(afterwards,)))
        threads[0].start()

    yield begin
    for thread in threads:
        thread.join()
    listening.close()


@pytest.mark.parametrize("pages", [False, True])
def test_a_question_that_is_lost_with_the_coordinator_is_answered_from_its_records(
    state: Path, ending: Callable[[Callable[[], None]], None], pages: bool
) -> None:
    held = StateDirectory(state)

    def end() -> None:
        (state / "control.sock").unlink()
        held.close()

    ending(end)
    coordinator = Coordinator(UnixTransport(state))
    if pages:
        assert [task["task"] for task in coordinator.tasks("over")] == [0, 1]
    else:
        assert coordinator.get("jobs", "over")["state"] == "interrupted"


def test_a_change_that_is_lost_with_the_coordinator_is_not_made_again(
    state: Path, ending: Callable[[Callable[[], None]], None]
) -> None:
    ending((state / "control.sock").unlink)
    with pytest.raises(ConnectionLost, match="went away"):
        Coordinator(UnixTransport(state)).post("jobs", "open", "cancel")
    with opened(state, lambda: 9.0) as records:
        assert ask(records, "GET", "jobs", "open")[1]["state"] == "held"

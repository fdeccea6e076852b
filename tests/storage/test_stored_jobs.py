"""Jobs that do not run are told of from their files alone, as the whole records tell of them, or not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from map_jobs import MapCoordinator

from mu_twisted.base import MuError
from mu_twisted.client import Coordinator, UnixTransport
from mu_twisted.daemons.records import opened
from mu_twisted.pipelines import combinations
from mu_twisted.storage import StoredJobs

INPUTS = [f"in/{number:04}.png" for number in range(1200)]
BAD = frozenset({3, 700, 1199})
"""Inputs whose command fails."""


class Left:
    """What a coordinator has left: the state directory, and the names of its jobs."""

    def __init__(self, directory: Path, many: str, few: str) -> None:
        self.directory = directory
        self.many = many
        self.few = few

    def stored(self, *path: str, **query: object) -> Any:
        """What the files answer, if they do."""
        body = StoredJobs(self.directory).answer(path, query)
        return None if body is None else json.loads(body)

    def whole(self, *path: str, **query: object) -> Any:
        """What all records answer."""
        with opened(self.directory, lambda: 9.0) as records:
            texts = {key: str(value) for key, value in query.items()}
            status, body = records.answer("GET", ("v1", *path), texts, b"")
            return json.loads(body) if status == 200 else None


def work(world: MapCoordinator, job: str) -> None:
    """Have one worker do all tasks of a job; the commands of some inputs fail."""
    worker = world.worker(job, "0-0")
    bad = [f"'{INPUTS[number]}'".encode() for number in BAD]
    while world.jobs.job(job).ended is None:
        world.answer_all(worker, f"{job}/0-0", lambda command: any(name in command for name in bad))
    world.clock.pump([0.2] * 20)


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    directory = tmp_path_factory.mktemp("left")
    world = MapCoordinator(directory)
    many = world.map(combinations([INPUTS]), "--max-workers=1", "--retries=0", "--", "convert {}")
    work(world, many)
    few = world.map(combinations([["7", "a b.png", "1", "0"]]), "--max-workers=1", "--batch=2", "--", "convert {}")
    work(world, few)
    world.jobs.stop()
    world.journal.close()
    return Left(directory, many, few)


ANSWERED: list[tuple[list[str], dict[str, object]]] = [
    (["jobs"], {}),
    (["jobs", "many"], {}),
    (["jobs", "few", "wait"], {"timeout": 3}),
    (["jobs", "many", "tasks"], {}),
    (["jobs", "many", "tasks"], {"cursor": 1000}),
    (["jobs", "many", "tasks"], {"cursor": 699, "limit": 2}),
    (["jobs", "many", "tasks"], {"cursor": 1200}),
    (["jobs", "many", "tasks"], {"state": "failed"}),
    (["jobs", "many", "tasks"], {"state": "failed", "limit": 1, "cursor": 4}),
    (["jobs", "many", "tasks"], {"state": "done", "limit": 7}),
    (["jobs", "many", "settled"], {}),
    (["jobs", "many", "settled"], {"after": 999, "results": 1, "timeout": 0.5}),
    (["jobs", "few", "settled"], {"after": 2}),
    (["jobs", "many", "output"], {}),
    (["jobs", "many", "output"], {"after": "999.0.0"}),
    (["jobs", "many", "output"], {"failed": 1}),
    (["jobs", "many", "output"], {"task": 700, "which": "all"}),
    (["jobs", "many", "output"], {"called": "in/0003.png"}),
    (["jobs", "few", "output"], {"called": "7 and 1 more", "which": 0}),
]
UNANSWERED: list[tuple[list[str], dict[str, object]]] = [
    (["jobs"], {"state": "running"}),
    (["jobs", "none"], {}),
    (["jobs", "../jobs"], {}),
    (["jobs", "many", "log"], {}),
    (["jobs", "many", "timeline"], {}),
    (["jobs", "many", "tasks"], {"limit": 0}),
    (["jobs", "many", "tasks"], {"cursor": "x"}),
    (["jobs", "many", "tasks"], {"state": "unknown"}),
    (["jobs", "many", "tasks"], {"unknown": 1}),
    (["jobs", "many", "output"], {"after": "1.2"}),
    (["jobs", "many", "output"], {"task": 1200}),
    (["jobs", "many", "output"], {"task": 3, "which": 4}),
    (["jobs", "many", "output"], {"called": "0003.png"}),
    (["jobs", "few", "output"], {"called": "a b.png"}),
    (["jobs", "few", "output"], {"called": "1"}),
    (["daemon"], {}),
]


def named(left: Left, path: list[str]) -> list[str]:
    return [{"many": left.many, "few": left.few}.get(word, word) for word in path]


@pytest.mark.parametrize(("path", "query"), ANSWERED)
def test_the_files_answer_as_the_whole_records_do(left: Left, path: list[str], query: dict[str, object]) -> None:
    path = named(left, path)
    whole = left.whole(*path, **query)  # which is closed in good order
    assert left.stored(*path, **query) == whole
    assert whole is not None


@pytest.mark.parametrize(("path", "query"), UNANSWERED)
def test_what_the_files_do_not_tell_by_themselves_is_left_to_the_whole_records(
    left: Left, path: list[str], query: dict[str, object]
) -> None:
    assert left.stored("jobs", left.many) is not None
    assert left.stored(*named(left, path), **query) is None


def test_the_client_tells_of_both_in_one_go(left: Left) -> None:
    coordinator = Coordinator(UnixTransport(left.directory))
    assert len(coordinator.tasks(left.many)) == len(INPUTS)
    assert [task["label"] for task in coordinator.tasks(left.many, "failed")] == [
        INPUTS[number] for number in sorted(BAD)
    ]
    pages = coordinator.pages("jobs", left.few, "output", cursor="after", called="a b.png")
    assert [run["run"] for page in pages for run in page["runs"]] == [0, 1]
    assert "submitted: map" in coordinator.text("jobs", left.few, "log")


def copied(left: Left, directory: Path) -> Path:
    """Another state directory with the same records, as it was closed by a process."""
    subprocess.run(["cp", "-a", f"{left.directory}/.", directory], check=True)
    with opened(directory, lambda: 9.0):
        pass
    assert StoredJobs(directory).answer(("jobs",), {}) is not None
    return directory


def overwrite(path: Path, at: int, text: bytes) -> None:
    """Change a file, and leave it as old as it was."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text)
    leave_old(path, before)


def leave_old(path: Path, before: os.stat_result) -> None:
    """A file that was changed is as old as before, and the system knows when it was changed: its clock has ticks."""
    while True:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        if path.stat().st_ctime_ns != before.st_ctime_ns:
            return


def test_a_journal_that_was_changed_in_any_place_is_looked_through_and_refused(left: Left, tmp_path: Path) -> None:
    directory = copied(left, tmp_path)
    journal = directory / "journal.db"
    pages = journal.stat().st_size // 4096
    before = journal.read_bytes()
    overwrite(journal, (pages // 2) * 4096, b"\xff" * 4096)
    assert StoredJobs(directory).answer(("jobs", left.many), {}) is None
    with pytest.raises(MuError, match=r"journal\.db cannot be used: it is damaged.*move it away") as refused:
        Coordinator(UnixTransport(directory)).get("jobs", left.many)
    assert "\n" not in str(refused.value)
    assert len(journal.read_bytes()) == len(before)
    journal.write_bytes(before)
    assert Coordinator(UnixTransport(directory)).get("jobs", left.many)["job"] == left.many
    assert StoredJobs(directory).answer(("jobs", left.many), {}) is not None


def as_it_was_not_closed(directory: Path, case: str) -> None:
    count, journal = directory / "journal.count", directory / "journal.db"
    text = count.read_text()
    match case:
        case "log":
            (directory / "journal.db-wal").write_bytes(b"something")
        case "gone":
            journal.rename(directory / "elsewhere")
        case "uncounted":
            count.unlink()
        case "other boot":
            count.write_text(text.replace(text.split("boot ")[1][:8], "01234567"))
        case "open":
            count.write_text(text.partition("\n")[0] + "\n")
        case "another":
            before = journal.stat()
            subprocess.run(["cp", "-p", journal, directory / "copy"], check=True)
            (directory / "copy").rename(journal)
            leave_old(journal, before)
        case "short":
            last = text.split("last ")[1][:20]
            count.write_text(text.partition("\n")[0].replace(f"last {last}", f"last {int(last) + 1:020}") + "\n")
        case "of another":
            count.write_text("journal " + "0" * 32 + text.partition("\n")[0][40:] + "\n")


@pytest.mark.parametrize("case", ["gone", "uncounted", "short", "of another"])
def test_a_journal_that_may_not_be_whole_is_not_told_of(left: Left, tmp_path: Path, case: str) -> None:
    directory = copied(left, tmp_path)
    as_it_was_not_closed(directory, case)
    assert StoredJobs(directory).answer(("jobs", left.many), {}) is None


@pytest.mark.parametrize("case", ["log", "other boot", "another"])
def test_a_journal_that_was_not_closed_as_it_is_is_looked_through(left: Left, tmp_path: Path, case: str) -> None:
    directory = copied(left, tmp_path)
    expected = StoredJobs(directory).answer(("jobs", left.many), {})
    as_it_was_not_closed(directory, case)
    assert expected is not None
    assert StoredJobs(directory).answer(("jobs", left.many), {}) == expected
    journal = directory / "journal.db"
    overwrite(journal, (journal.stat().st_size // 8192) * 4096, b"\xff" * 4096)
    assert StoredJobs(directory).answer(("jobs", left.many), {}) is None


@pytest.mark.parametrize("filling", [b"\xff", b"\0"])
def test_damage_to_what_is_read_of_a_journal_that_was_not_closed_is_found(
    left: Left, tmp_path: Path, filling: bytes
) -> None:
    directory = copied(left, tmp_path)
    expected = StoredJobs(directory).answer(("jobs", left.many), {})
    as_it_was_not_closed(directory, "open")
    assert expected is not None
    assert StoredJobs(directory).answer(("jobs", left.many), {}) == expected
    journal = directory / "journal.db"
    before, found = journal.read_bytes(), set()
    for at in range(0, len(before), 4096):
        overwrite(journal, at, filling * 4096)
        found.add(StoredJobs(directory).answer(("jobs", left.many), {}))
        journal.write_bytes(before)
    assert found == {None, expected}


def test_what_one_question_has_found_serves_the_next_until_the_records_change(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:3]]), "--max-workers=3", "--", "convert {}")
    world.clock.pump([0.1] * 5)
    world.do_next(job, "0-0")
    stored = StoredJobs(tmp_path)

    def done() -> object:
        answer = stored.answer(("jobs", job), {})
        return None if answer is None else json.loads(answer)["done"]

    assert done() == done() == 1
    world.do_next(job, "0-1")
    assert done() == 2
    world.jobs.stop()
    world.journal.close()
    Coordinator(UnixTransport(tmp_path)).post("jobs", job, "cancel")
    assert json.loads(stored.answer(("jobs", job), {}) or b"")["state"] == "cancelled"


def test_a_file_of_tasks_that_is_damaged_is_not_told_of(left: Left, tmp_path: Path) -> None:
    directory = copied(left, tmp_path)
    file = directory / "jobs" / left.many / "tasks.jsonl"
    text = file.read_bytes()
    too_long = text.replace(b'"lines":[[0,0,', b'"lines":[[0,0,99999999999999')
    assert too_long != text
    for damaged in (text.replace(b'"done"', b"done", 1), text[:-30], b"", too_long):
        file.write_bytes(damaged)
        assert StoredJobs(directory).answer(("jobs", left.many, "tasks"), {}) is None
        assert len(Coordinator(UnixTransport(directory)).tasks(left.many)) == len(INPUTS)
        assert file.read_bytes() == text


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_was_to_go_on_is_told_of_once_its_records_were_read(tmp_path: Path, begun: bool) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:5]]), "--max-workers=1", "--retries=0", "--", "convert {}")
    if begun:
        world.do_next(job, "0-0", status=3)
        world.worker(job, "0-0")
    world.jobs.stop()
    world.journal.close()
    left = Left(tmp_path, job, job)
    questions: list[tuple[list[str], dict[str, object]]] = [
        (["jobs"], {}),
        (["jobs", job], {}),
        (["jobs", job, "wait"], {}),
        (["jobs", job, "tasks"], {}),
        (["jobs", job, "tasks"], {"state": "failed"}),
        (["jobs", job, "tasks"], {"state": "waiting", "limit": 2}),
        (["jobs", job, "settled"], {"results": 1}),
        (["jobs", job, "output"], {}),
        *([(["jobs", job, "output"], {"called": INPUTS[0]})] if begun else []),
    ]
    assert left.stored("jobs") is None
    for path, query in questions:
        whole = left.whole(*path, **query)
        assert left.stored(*path, **query) == whole
        assert whole is not None
    assert left.stored("jobs", job)["state"] == "held"
    assert left.stored("jobs", job, "tasks", state="waiting")["tasks"][-1]["label"] == INPUTS[4]
    Coordinator(UnixTransport(tmp_path)).post("jobs", job, "cancel")
    assert left.stored("jobs", job)["state"] == "cancelled"
    world.start()
    assert world.jobs.job(job).state == "cancelled"
    world.journal.close()


def test_a_job_that_goes_on_again_is_not_told_of_as_it_was_left(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:3]]), "--max-workers=1", "--", "convert {}")
    world.do_next(job, "0-0")
    world.jobs.stop()
    world.journal.close()
    left = Left(tmp_path, job, job)
    assert left.whole("jobs", job)["done"] == left.stored("jobs", job)["done"] == 1
    world.start()
    world.do_next(job, "0-1")
    world.jobs.stop()
    world.journal.close()
    assert left.stored("jobs", job) is None
    assert left.whole("jobs", job)["done"] == left.stored("jobs", job)["done"] == 2


def test_the_file_of_a_job_that_was_to_go_on_is_written_once(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:3]]), "--max-workers=1", "--", "convert {}")
    world.do_next(job, "0-0")
    world.jobs.stop()
    world.journal.close()
    left, file = Left(tmp_path, job, job), tmp_path / "jobs" / job / "tasks.jsonl"
    tasks = left.whole("jobs", job, "tasks")
    made = file.stat().st_ino, file.stat().st_mtime_ns
    assert left.whole("jobs", job, "tasks") == left.stored("jobs", job, "tasks") == tasks
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == made
    file.write_bytes(file.read_bytes().replace(b'"done"', b"done"))
    assert left.stored("jobs", job, "tasks") is None
    assert left.whole("jobs", job, "tasks") == tasks
    file.unlink()
    assert left.whole("jobs", job, "tasks") == left.stored("jobs", job, "tasks") == tasks


PROGRAM = """
import sys
from mu_twisted.cli import main
state, job = sys.argv[1:]
for words in (["jobs"], ["status", job], ["output", job, "in/0003.png"], ["output", job, "--failed"]):
    assert main([words[0], "--state-dir", state, *words[1:]]) == 0
heavy = ["twisted", "OpenSSL", "cryptography", "boto3", "botocore", "asyncio"]
heavy += [f"mu_twisted.{name}" for name in ("coordinator", "jobs", "fsm", "pipelines", "transport", "web")]
print([name for name in heavy if name in sys.modules])
"""


def test_commands_that_are_answered_from_files_import_neither_services_nor_twisted(left: Left, tmp_path: Path) -> None:
    directory = copied(left, tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory), left.many], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "oh _mu1='in/0003.png'; " in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"

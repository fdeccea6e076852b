"""The journal, on a real file; a small tmpfs stands for a full disk."""

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from mu_twisted.base.steps import exhaust
from mu_twisted.coordinator import Journal, JournalError
from mu_twisted.coordinator.records._journal import SETTLE


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.fixture
def journal(tmp_path: Path, clock: Clock, faults: list[str]) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.db", clock, faults.append)
    yield journal
    journal.close()


def test_records_come_back_in_order_each_under_its_job(journal: Journal, clock: Clock, tmp_path: Path) -> None:
    for number in range(5):
        journal.append("b", {"n": number})
        journal.append("a", {"n": -number})
    clock.advance(0)
    other = Journal(tmp_path / "journal.db", clock, print)
    assert other.jobs() == ["b", "a"]
    assert [record["n"] for record in other.records("b")] == [0, 1, 2, 3, 4]
    exhaust(other.removing("b"))
    assert other.jobs() == ["a"]
    assert list(other.records("b")) == []
    other.close()


def test_the_file_is_its_owners_only(journal: Journal, tmp_path: Path) -> None:
    assert (tmp_path / "journal.db").stat().st_mode & 0o777 == 0o600


def test_what_was_committed_outlives_a_kill(tmp_path: Path) -> None:
    program = """
import sys, os, pathlib
from twisted.internet.task import Clock
from mu_twisted.coordinator import Journal
clock = Clock()
journal = Journal(pathlib.Path(sys.argv[1]), clock, print)
for n in range(100):
    journal.append("j", {"n": n})
    clock.advance(0)
journal.append("j", {"n": "not committed"})
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "j.db"], timeout=180, check=False)
    assert done.returncode == -signal.SIGKILL
    journal = Journal(tmp_path / "j.db", Clock(), print)
    assert [record["n"] for record in journal.records("j")] == list(range(100))
    journal.close()


@pytest.mark.parametrize(
    "damage", [b"no database at all, only text that is long enough", b"SQLite format 3\0" + b"x" * 5000]
)
def test_a_damaged_journal_is_one_line(tmp_path: Path, clock: Clock, damage: bytes) -> None:
    path = tmp_path / "journal.db"
    path.write_bytes(damage)
    with pytest.raises(JournalError, match="move it away") as refused:
        Journal(path, clock, print)
    assert "\n" not in str(refused.value)


def test_pages_that_were_overwritten_are_noticed(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "journal.db"
    journal = Journal(path, clock, print)
    for number in range(2000):
        journal.append("job", {"n": number, "text": "x" * 50})
    journal.close()
    with path.open("r+b") as file:
        file.seek(4096 * 6)
        file.write(b"\xff" * 4096 * 3)
    with pytest.raises(JournalError, match="move it away"):
        Journal(path, clock, print)


def test_a_newer_programs_journal_is_left_alone(tmp_path: Path, clock: Clock) -> None:
    with sqlite3.connect(tmp_path / "journal.db") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalError, match="newer mu"):
        Journal(tmp_path / "journal.db", clock, print)


def test_on_a_full_disk_records_wait_until_there_is_room(tmp_path: Path, clock: Clock, faults: list[str]) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    try:
        ballast = tmp_path / "ballast"
        journal = Journal(tmp_path / "journal.db", clock, faults.append)
        with pytest.raises(OSError, match="No space"):
            ballast.write_bytes(b"x" * (1 << 20))
        for number in range(1000):
            journal.append("j", {"n": number, "text": "x" * 100})
        clock.advance(0)
        clock.advance(1)
        assert len(faults) == 1
        assert "full" in faults[0]
        assert journal.fault == faults[0]
        ballast.unlink()
        clock.advance(1)
        assert journal.fault is None
        assert len(list(journal.records("j"))) == 1000
        journal.close()
    finally:
        subprocess.run(["umount", tmp_path], check=True)


class Counting:
    """A database that counts the rows it is given, and takes none while its disk is full."""

    def __init__(self, database: Any) -> None:
        self.database = database
        self.full = True
        self.given = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.database, name)

    def executemany(self, query: str, rows: Sequence[Any]) -> None:
        self.given += len(rows)
        self.database.executemany(query, rows)

    def execute(self, query: str, *values: Any) -> Any:
        if self.full and query.startswith("COMMIT"):
            raise sqlite3.OperationalError("database or disk is full")
        return self.database.execute(query, *values)


def test_the_age_of_what_is_not_on_disk_is_known(journal: Journal, clock: Clock) -> None:
    assert (journal.waiting, journal.lag) == (0, 0.0)
    journal._database = disk = Counting(journal._database)  # type: ignore[assignment]
    disk.full = True
    journal.append("j", {"n": 0})
    clock.advance(2.0)
    journal.append("j", {"n": 1})
    clock.pump([1.0] * 3)
    assert (journal.waiting, journal.lag) == (2, 5.0)
    disk.full = False
    clock.pump([1.0] * 2)
    assert (journal.waiting, journal.lag) == (0, 0.0)


def test_while_nothing_can_be_written_a_long_backlog_is_not_tried_at_each_turn(
    journal: Journal, clock: Clock, faults: list[str]
) -> None:
    journal._database = disk = Counting(journal._database)  # type: ignore[assignment]
    for number in range(5000):
        journal.append("j", {"n": number})
        if number % 10 == 0:
            journal.flush()
            clock.advance(0)
    assert disk.given < 5  # type: ignore[attr-defined]
    clock.pump([1.0] * 3)
    assert disk.given < 5 + 3 * 1000  # type: ignore[attr-defined]
    assert len(faults) == 1
    disk.full = False  # type: ignore[attr-defined]
    clock.advance(1.0)
    assert journal.fault is None
    assert [record["n"] for record in journal.records("j")] == list(range(5000))


def test_what_is_taken_back_is_never_written_and_the_fault_ends_with_its_cause(journal: Journal, clock: Clock) -> None:
    journal._database = disk = Counting(journal._database)  # type: ignore[assignment]
    journal.append("a", {})
    journal.flush()
    journal.withdraw("a")
    clock.advance(1.0)
    assert journal.fault is not None
    disk.full = False  # type: ignore[attr-defined]
    clock.advance(1.0)
    assert journal.fault is None
    assert journal.jobs() == []


def test_a_journal_is_closed_and_its_last_records_tried_although_it_fails(journal: Journal, clock: Clock) -> None:
    journal._database = Counting(journal._database)  # type: ignore[assignment]
    journal.append("a", {})
    clock.advance(0)
    journal.close()
    assert clock.getDelayedCalls() == []


def test_records_are_read_in_pages_and_by_what_is_in_them(journal: Journal) -> None:
    for number in range(2500):
        journal.append("j", {"task": number % 100, "text": '"task":3'})
    assert len(list(journal.records("j"))) == 2500
    found = list(journal.records("j", '"task":3'))
    assert {record["task"] for record in found} == {3, *range(30, 40)}
    assert len(found) == 25 * 11
    assert list(journal.records("k")) == []


# -- what is lost without a trace ------------------------------------------------------------------------------------


def started_and_killed(directory: Path, records: int = 300, settled: int = 0) -> dict[str, bytes]:
    """A journal as a process that was killed leaves it: the files by name.

    :param settled: of the records, how many are in the database itself.
    """
    clock = Clock()
    journal = Journal(directory / "journal.db", clock, print)
    for number in range(records):
        journal.append(f"job-{number % 3}", {"n": number, "text": "x" * 100})
        journal.flush()
        if number + 1 == settled:
            journal.settle()
            clock.advance(SETTLE)
    left = files(directory)
    journal.close()
    for path in directory.iterdir():
        path.unlink()
    for name, content in left.items():
        if not name.endswith("-shm"):  # it dies with the process, or the machine
            (directory / name).write_bytes(content)
    return files(directory)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def flipped(at: float) -> Callable[[bytes], bytes]:
    def flip(content: bytes) -> bytes:
        place = int(at * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]

    return flip


DAMAGE: dict[str, tuple[str, Callable[[bytes], bytes] | None]] = {
    "log deleted": ("journal.db-wal", None),
    "log empty": ("journal.db-wal", lambda _: b""),
    "log cut in half": ("journal.db-wal", lambda content: content[: len(content) // 2]),
    "log cut by its last commit": ("journal.db-wal", lambda content: content[:-1]),
    "log overwritten": ("journal.db-wal", lambda content: b"x" * len(content)),
    "log of zeros": ("journal.db-wal", lambda content: bytes(len(content))),
    "a bit of the log's header": ("journal.db-wal", flipped(0.00001)),
    "a bit in the middle of the log": ("journal.db-wal", flipped(0.5)),
    "a bit near the end of the log": ("journal.db-wal", flipped(0.999)),
    "database empty": ("journal.db", lambda _: b""),
    "database deleted": ("journal.db", None),
}
# Once a log is written from its beginning again, what stands at its end is old.
LAST = ("log cut by its last commit", "a bit near the end of the log")


@pytest.mark.parametrize(
    ("damage", "settled"),
    [(damage, settled) for damage in DAMAGE for settled in (0, 200) if not settled or damage not in LAST],
)
def test_a_journal_that_lacks_records_is_one_line_and_is_left_as_it_is(
    tmp_path: Path, clock: Clock, damage: str, settled: int
) -> None:
    left = started_and_killed(tmp_path, settled=settled)
    name, change = DAMAGE[damage]
    if change is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(change(left[name]))
    damaged = files(tmp_path)
    for _ in range(2):
        with pytest.raises(JournalError, match="move|bring back") as refused:
            Journal(tmp_path / "journal.db", clock, print)
        assert "\n" not in str(refused.value)
    assert {name: content for name, content in files(tmp_path).items() if not name.endswith("-shm")} == damaged


def test_what_a_damaged_journal_still_holds_can_be_had_by_removing_the_count(tmp_path: Path, clock: Clock) -> None:
    left = started_and_killed(tmp_path)
    (tmp_path / "journal.db-wal").write_bytes(left["journal.db-wal"][:-1])
    with pytest.raises(JournalError, match=r"lacks 1 of the 300 records .*remove journal\.count to go on"):
        Journal(tmp_path / "journal.db", clock, print)
    (tmp_path / "journal.count").unlink()
    journal = Journal(tmp_path / "journal.db", clock, print)
    assert sum(len(list(journal.records(job))) for job in journal.jobs()) == 299
    journal.close()
    Journal(tmp_path / "journal.db", clock, print).close()


def test_a_job_that_was_settled_is_in_the_database_itself(tmp_path: Path, clock: Clock) -> None:
    started_and_killed(tmp_path, records=200, settled=200)
    (tmp_path / "journal.db-wal").unlink()
    journal = Journal(tmp_path / "journal.db", clock, print)
    assert sum(len(list(journal.records(job))) for job in journal.jobs()) == 200
    journal.close()


@pytest.mark.parametrize("records", [0, 1, 2500])
def test_nothing_is_missed_after_a_kill_a_close_or_a_removal(tmp_path: Path, clock: Clock, records: int) -> None:
    started_and_killed(tmp_path, records)
    for _ in range(2):
        journal = Journal(tmp_path / "journal.db", clock, print)
        assert sum(len(list(journal.records(job))) for job in journal.jobs()) == records
        journal.close()
    journal = Journal(tmp_path / "journal.db", clock, print)
    for job in journal.jobs():
        exhaust(journal.removing(job))
    journal.close()
    Journal(tmp_path / "journal.db", clock, print).close()


def test_what_a_machine_lost_that_went_down_is_told_and_done_again(tmp_path: Path, clock: Clock) -> None:
    left = started_and_killed(tmp_path, settled=200)
    count = left["journal.count"].decode()
    (tmp_path / "journal.count").write_text(re.sub("boot .*", "boot 00000000-0000-0000-0000-000000000000", count))
    (tmp_path / "journal.db-wal").unlink()
    with capturedLogs() as events:
        journal = Journal(tmp_path / "journal.db", clock, print)
    assert sum(len(list(journal.records(job))) for job in journal.jobs()) == 200
    assert ["last 100 records" in formatEvent(event) for event in events] == [True]
    journal.close()


@pytest.mark.parametrize("count", [b"", b"x", bytes(200), b"journal \xff", b"journal 1 last 2 synced 3 boot 4\n"])
def test_a_count_that_cannot_be_read_counts_nothing(tmp_path: Path, clock: Clock, count: bytes) -> None:
    started_and_killed(tmp_path)
    (tmp_path / "journal.count").write_bytes(count)
    journal = Journal(tmp_path / "journal.db", clock, print)
    assert len(journal.jobs()) == 3
    journal.close()


def test_a_journal_of_version_0_1_0_is_taken_on_and_may_be_brought_back_later(tmp_path: Path, clock: Clock) -> None:
    made = tmp_path / "journal.db"
    with closing(sqlite3.connect(made)) as database:
        database.executescript(
            """PRAGMA journal_mode = WAL; PRAGMA user_version = 1;
            CREATE TABLE events (number INTEGER PRIMARY KEY AUTOINCREMENT, job TEXT NOT NULL, record TEXT NOT NULL);
            CREATE INDEX events_of_a_job ON events (job, number);
            INSERT INTO events (job, record) VALUES ('old', '{"n":1}');"""
        )
    copy = made.read_bytes()
    journal = Journal(made, clock, print)
    assert [record["n"] for record in journal.records("old")] == [1]
    for number in range(5):
        journal.append("new", {"n": number})
    journal.close()
    made.write_bytes(copy)
    journal = Journal(made, clock, print)
    assert journal.jobs() == ["old"]
    journal.close()


def test_another_journal_is_taken_but_not_with_the_log_of_the_one_before(tmp_path: Path, clock: Clock) -> None:
    other = tmp_path / "other"
    other.mkdir()
    journal = Journal(other / "journal.db", clock, print)
    journal.append("other", {})
    journal.close()
    here = tmp_path / "here"
    here.mkdir()
    started_and_killed(here)
    (here / "journal.db").write_bytes((other / "journal.db").read_bytes())
    with pytest.raises(JournalError, match=r"journal\.db-wal may be that one's: move that away"):
        Journal(here / "journal.db", clock, print)
    (here / "journal.db-wal").unlink()
    journal = Journal(here / "journal.db", clock, print)
    assert journal.jobs() == ["other"]
    journal.close()

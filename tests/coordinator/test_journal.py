"""The journal, on a real file; a small tmpfs stands for a full disk."""

import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from mu_twisted.coordinator import Journal, JournalError


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
    other.remove("b")
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
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "j.db"], timeout=60, check=False)
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


def test_what_is_withdrawn_is_never_written_and_the_fault_ends_with_its_cause(journal: Journal, clock: Clock) -> None:
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

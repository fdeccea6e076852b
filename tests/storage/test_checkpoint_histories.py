"""Whatever has become of jobs, a killed coordinator's checkpoints say of them what all records say, or nothing."""

import random
import shutil
import sqlite3
from contextlib import closing, suppress
from functools import cache
from pathlib import Path

import pytest
from map_jobs import MapCoordinator
from memory_jobs import Launches, draw_names, fill_the_disk, make_room
from stored_answers import Question, stored, whole, without_task_files
from worker_double import WorkerDouble, ours

from mu_twisted.base import MuError
from mu_twisted.coordinator._slices import PAUSE, SLICE
from mu_twisted.coordinator.records import _journal, _task_files, _unkept_changes
from mu_twisted.daemons import records
from mu_twisted.jobs import _ledger
from mu_twisted.pipelines import combinations, load_pipeline

STATES = ("done", "failed", "waiting", "blocked")
LIVES = 5
"""Coordinators that one history has, each of which goes on with the jobs of the one before."""
CUTS = 2
LOAD = cache(load_pipeline)


class LaunchesOfTwoSizes(Launches):
    def use_larger(self) -> None:
        pass


class History:
    """What users, workers, the disk and the coordinator do, at random. Checkpoints take many turns."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        directory.mkdir()
        self.world = MapCoordinator(directory)
        self.world.launches = LaunchesOfTwoSizes()
        self.workers: list[tuple[str, str, WorkerDouble]] = []
        self.gone: list[tuple[str, str]] = []
        """Workers whose connections have broken: their jobs and launch ids."""
        self.copies: dict[str, list[bytes]] = {}
        """Files of tasks, as they came to be, by their jobs."""
        self.is_full = False
        self.submit()

    def submit(self) -> None:
        draw = self.random.choice
        words = [f"--retries={draw([0, 1, 2])}", f"--batch={draw([1, 1, 3])}", f"--max-workers={draw([2, 4, 6])}"]
        words += draw([[], ["--speculate=1.5"], ["--speculate=1"], ["--speculate=1"]])
        words += draw([[], [], [], ["--halt=soon,fail=9"], ["--halt=now,fail=9"]])
        words += draw([[], ["--retry-memory=big"]])
        words += draw([[], [], ["--max-cost=0.00005"], ["--max-cost=0.001"]])
        inputs = [f"{number}.png" for number in range(draw([1, 3, 9, 24, 40]))]
        with suppress(MuError):  # the disk is full
            self.world.map(combinations([inputs]), *words, "--", "convert {}")

    def step(self) -> None:
        whats = {"answer": 50, "leave": 5, "back": 3, "time": 20, "submit": 2, "retry": 4, "part": 3, "disk": 1}
        whats |= {"cancel": 0.7, "interrupt": 0.3, "remove": 0.3, "no file": 1}
        (what,) = self.random.choices(list(whats), list(whats.values()))
        self.world.wall += 0.7
        self.come()
        if what == "answer":
            for job, launch_id, worker in list(self.workers):
                if self.random.random() < (0.1 if launch_id.endswith(("1", "3")) else 0.8):  # some are slow
                    self.answer(job, launch_id, worker)
        elif what == "leave" and self.workers:
            job, launch_id, worker = self.random.choice(self.workers)
            worker.abort()
            self.gone.append((job, launch_id))
        elif what == "back" and self.gone:
            self.greet(*self.gone.pop(self.random.randrange(len(self.gone))))
        elif what == "submit" and len(self.world.jobs.jobs()) < 4:
            self.submit()
        elif what == "disk":
            (make_room if self.is_full else fill_the_disk)(self.world)
            self.is_full = not self.is_full
        elif what == "no file":
            self.hinder_files()
        elif what in ("retry", "part", "cancel", "interrupt", "remove"):
            self.change(what)
        self.turns([self.random.choice([PAUSE, 0.5, 2.0, 20.0])] if what == "time" else [0.0, 0.0])
        self.turns([PAUSE] * self.random.choice([0, 1, 1, 3]))

    def turns(self, seconds: list[float]) -> None:
        for one in seconds:
            self.world.clock.takes = SLICE if self.random.random() < 0.8 else 0.0  # most turns have one step
            self.world.clock.advance(one)
            self.world.clock.takes = 0.0
            self.note_files()

    def come(self) -> None:
        """Workers that were launched dial in."""
        for job in self.world.jobs._active_jobs:
            for launch_id in list(self.world.jobs._active_jobs.run(job).job._data.launches._expected):
                if self.random.random() < 0.5:
                    self.greet(job, str(launch_id))

    def greet(self, job: str, launch_id: str) -> None:
        self.workers.append((job, launch_id, self.world.worker(job, launch_id)))
        self.workers = [one for one in self.workers if not one[2].closed]

    def answer(self, job: str, launch_id: str, worker: WorkerDouble) -> None:
        for command in worker.takes():
            if command.startswith(b"run:") and not worker.closed:
                status = self.random.choices([0, 1, 137], [85, 10, 5])[0]
                text = b"oh %b" % command[4:30] * self.random.choice([1, 1, 3])
                worker.says(b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(x)" % (status, text))
            elif command.startswith(b"reset") and not worker.closed:
                worker.says(ours(f"{job}/{launch_id}"))

    def change(self, what: str) -> None:
        job = self.random.choice([job.job for job in self.world.jobs.jobs()] or ["none"])
        with suppress(MuError):  # it is not over yet, or was never failed
            if what == "part":
                changing = self.world.jobs.retry(job, {self.random.randrange(8) for _ in range(3)})
            else:
                changing = getattr(self.world.jobs, what)(job)
            if changing is not None:
                changing.addErrback(lambda failure: failure.trap(MuError))

    def hinder_files(self) -> None:
        """The files of tasks of some job cannot be written for a while, while what is appended to others can."""
        for directory in sorted(self.directory.glob("jobs/*")):
            new = directory / "tasks.jsonl.new"
            if new.is_dir():
                new.rmdir()
            elif self.random.random() < 0.5 and not new.exists():
                new.mkdir()

    def note_files(self) -> None:
        for file in sorted(self.directory.glob("jobs/*/tasks.jsonl")):
            copies = self.copies.setdefault(file.parent.name, [])
            if (text := file.read_bytes()) not in copies[-1:]:
                copies.append(text)

    def end(self) -> list[str]:
        """The coordinator is killed, or stopped; the names of its jobs."""
        jobs = [job.job for job in self.world.jobs.jobs()]
        is_stopped = self.random.random() < 0.15
        if is_stopped:
            self.world.jobs.stop()
        if self.is_full:
            make_room(self.world)
            self.is_full = False
        if is_stopped:
            self.world.journal.close()
        self.note_files()
        for call in list(self.world.clock.getDelayedCalls()):
            call.cancel()
        self.world.journal._database.close()
        self.world.journal._count.close()
        return jobs

    def put_back(self) -> None:
        """The journal is one from a backup, or has lost its last records with the machine's power."""
        numbers = self.numbers()[-30:]
        last = self.random.choice(numbers or [0])
        with closing(sqlite3.connect(self.directory / "journal.db")) as database, database:
            database.execute("DELETE FROM events WHERE number > ?", (last,))
            database.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'events'", (last,))
        (self.directory / "journal.count").unlink()

    def begin(self) -> None:
        """Another is started."""
        self.gone += [(job, launch_id) for job, launch_id, _ in self.workers]
        self.workers = []
        self.world.launches = LaunchesOfTwoSizes()
        self.world.hold_all = self.random.random() < 0.1
        self.world.missing = "its code is gone" if self.random.random() < 0.1 else None
        self.world.start()
        self.world.missing = None
        self.turns([0.0] * self.random.choice([0, 1, 5]))

    def numbers(self) -> list[int]:
        with closing(sqlite3.connect(self.directory / "journal.db")) as database:
            return [number for (number,) in database.execute("SELECT number FROM events ORDER BY number")]

    def cut(self, directory: Path) -> Path:
        """A state directory as it was left, or not quite: with fewer records and earlier files of tasks."""
        shutil.copytree(self.directory, directory)
        for job, copies in self.copies.items():
            file = directory / "jobs" / job / "tasks.jsonl"
            if file.parent.exists() and self.random.random() < 0.7:
                file.write_bytes(self.random.choice(copies))
        numbers = self.numbers()
        last = self.random.choice(numbers[len(numbers) // 3 :])
        with closing(sqlite3.connect(directory / "journal.db")) as database, database:
            database.execute("DELETE FROM events WHERE number > ?", (last,))
        return directory


def questions(jobs: list[str]) -> list[Question]:
    found: list[Question] = [(("jobs",), {})]
    for job in jobs:
        wanted: list[tuple[tuple[str, ...], dict[str, object]]] = [((), {}), (("tasks",), {"cursor": 3, "limit": 2})]
        wanted += [(("tasks",), {}), *((("tasks",), {"state": state}) for state in STATES)]
        wanted += [(("settled",), {}), (("settled",), {"after": 3, "results": 1})]
        wanted += [(("output",), {"failed": 1}), (("output",), {"called": "3.png"})]
        found += [(("jobs", job, *what), query) for what, query in wanted]
    return found


def told_rightly(directory: Path, jobs: list[str]) -> int:
    """How many questions its files answer, all as its records do. It is deleted."""
    queries = questions(jobs)
    answers = stored(directory, queries)
    for query, answer, right in zip(queries, answers, whole(without_task_files(directory), queries), strict=True):
        assert answer in (None, right), query
    shutil.rmtree(directory)
    return len(queries) - answers.count(None)


def happens(directory: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> int:
    """One history; how many questions were answered."""
    draw_names(monkeypatch, seed)
    monkeypatch.setattr(records, "load_pipeline", LOAD)
    sizes = random.Random(seed)
    monkeypatch.setattr(_unkept_changes, "MIN_SPAN", sizes.choice([2, 10, 40]))
    monkeypatch.setattr(_task_files, "LINE", sizes.choice([2, 4]))
    monkeypatch.setattr(_journal, "PROBE", 3)
    if sizes.random() < 0.3:
        monkeypatch.setattr(_ledger, "MAX_TEXTS", sizes.choice([100, 400]))
        monkeypatch.setattr(_ledger, "SHORT_TEXT", 10)
    history = History(directory / "state", seed)
    told = 0
    for _ in range(LIVES):
        for _ in range(history.random.choice([2, 5, 20, 50])):
            history.step()
        jobs = history.end()
        if history.numbers():
            told += told_rightly(shutil.copytree(history.directory, directory / "left"), jobs)
            told += sum(told_rightly(history.cut(directory / "cut"), jobs) for _ in range(CUTS))
        if history.random.random() < 0.2:
            history.put_back()
        history.begin()
    history.end()
    monkeypatch.undo()
    return told


@pytest.mark.parametrize("seed", range(6))
def test_checkpoints_say_what_the_records_say_whatever_has_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    assert happens(tmp_path, monkeypatch, seed) > 10


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1000, 1400, 20))
def test_so_they_do_in_many_more_histories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    told = 0
    for number in range(seed, seed + 20):
        (directory := tmp_path / str(number)).mkdir()
        told += happens(directory, monkeypatch, number)
        shutil.rmtree(directory)
    assert told > 200

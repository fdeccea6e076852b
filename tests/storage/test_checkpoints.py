"""A killed coordinator's jobs are told of from a checkpoint and the records behind it, as from all records."""

import json
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from map_jobs import MapCoordinator
from worker_double import WorkerDouble, ours

from mu_twisted.coordinator._slices import PAUSE, SLICE
from mu_twisted.daemons.records import opened
from mu_twisted.pipelines import combinations
from mu_twisted.storage import StoredJobs

Query = dict[str, object]
INPUTS = [f"in {number}.png" for number in range(1100)]
"""Three lines of the file of tasks."""
CUTS = 14


class Run:
    """A job that is run by a few workers, some of which go away; some of its tasks fail. Checkpoints are made all the
    while, one step at a time.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        directory.mkdir(exist_ok=True)
        self.world = MapCoordinator(directory)
        words = ["--max-workers=3", f"--retries={seed % 3}", f"--batch={self.random.choice([1, 2])}"]
        self.job = self.world.map(combinations([INPUTS]), *words, "--", "convert {}")
        self.workers: list[tuple[str, WorkerDouble]] = []
        self.seen = 0
        self.copies: list[bytes] = []
        """Files of tasks, as they came to be."""

    @property
    def task_file(self) -> Path:
        return self.directory / "jobs" / self.job / "tasks.jsonl"

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            if self.world.jobs.job(self.job).state == "running":
                self.step()
            self.note_file()

    def step(self) -> None:
        what = self.random.choices(["answer", "leave", "checkpoint", "time"], [40, 1, 2, 20])[0]
        for launch_id in self.world.launches.submission[self.seen :]:
            self.workers.append((launch_id, self.world.worker(self.job, launch_id)))
        self.seen = len(self.world.launches.submission)
        self.workers = [one for one in self.workers if not one[1].closed]
        if what == "answer":
            for launch_id, worker in list(self.workers):
                self.answer(launch_id, worker)
        elif what == "leave" and self.workers:
            self.random.choice(self.workers)[1].abort()
        elif what == "checkpoint":
            self.world.jobs._checkpoint(self.job)
        self.world.clock.takes = SLICE  # so that each turn has one step
        self.world.clock.advance(self.random.choice([PAUSE, 0.5]) if what == "time" else PAUSE / 4)
        self.world.clock.takes = 0.0

    def answer(self, launch_id: str, worker: WorkerDouble) -> None:
        for command in worker.takes():
            if command.startswith(b"run:"):
                bad = self.random.random() < 0.2
                worker.says(b"OK:RETVAL(%d):OUTPUT(oh %b):COMMAND(x)" % (bad, command[4:30]))
            elif command.startswith(b"reset"):
                worker.says(ours(f"{self.job}/{launch_id}"))

    def note_file(self) -> None:
        if self.task_file.exists() and (text := self.task_file.read_bytes()) not in self.copies[-1:]:
            self.copies.append(text)

    def kill(self) -> None:
        for call in list(self.world.clock.getDelayedCalls()):
            call.cancel()
        self.world.journal._database.close()
        self.world.journal._count.close()

    def numbers(self) -> list[int]:
        with closing(sqlite3.connect(self.directory / "journal.db")) as database:
            return [number for (number,) in database.execute("SELECT number FROM events ORDER BY number")]

    def cut(self, directory: Path, last: int, tasks: bytes) -> None:
        """A state directory whose journal ends with this record, and with this file of tasks."""
        shutil.copytree(self.directory, directory)
        (directory / "jobs" / self.job / "tasks.jsonl").write_bytes(tasks)
        with closing(sqlite3.connect(directory / "journal.db")) as database, database:
            database.execute("DELETE FROM events WHERE number > ?", (last,))

    def questions(self) -> list[tuple[tuple[str, ...], Query]]:
        wanted: list[tuple[str, Query]] = [("", {}), ("tasks", {}), ("tasks", {"cursor": 990})]
        wanted += [("tasks", {"state": state}) for state in ("done", "failed", "waiting")]
        wanted += [("settled", {}), ("settled", {"after": 7, "results": 1})]
        wanted += [("output", {}), ("output", {"failed": 1}), ("output", {"called": INPUTS[0]})]
        return [(("jobs",), {}), *((("jobs", self.job, *filter(None, [what])), query) for what, query in wanted)]


def stored(directory: Path, queries: list[tuple[tuple[str, ...], Query]]) -> list[Any]:
    jobs = StoredJobs(directory)
    answers = [jobs.answer(path, query) for path, query in queries]
    return [None if answer is None else json.loads(answer) for answer in answers]


def whole(directory: Path, queries: list[tuple[tuple[str, ...], Query]]) -> list[Any]:
    (file,) = directory.glob("jobs/*/tasks.jsonl")
    file.unlink()
    found = []
    with opened(directory, lambda: 9.0) as records:
        for path, query in queries:
            texts = {key: str(value) for key, value in query.items()}
            status, body = records.answer("GET", ("v1", *path), texts, b"")
            found.append(json.loads(body) if status == 200 else None)
    return found


def index_of(tasks: bytes) -> Any:
    return json.loads(tasks.splitlines()[-2])


def end_of(tasks: bytes) -> int:
    """The last record that a file of tasks may have seen."""
    return int(index_of(tasks)["last"])


@pytest.mark.parametrize("seed", range(4))
def test_any_cut_of_the_records_is_told_of_as_by_all_of_them(tmp_path: Path, seed: int) -> None:
    run = Run(tmp_path / "run", seed)
    run.go_on(260)
    assert run.world.jobs.job(run.job).state == "running"
    run.kill()
    numbers, queries, told = run.numbers(), run.questions(), 0
    assert len(run.copies) > 2
    for at in range(CUTS):
        tasks = run.random.choice(run.copies)
        last = run.random.choice([number for number in numbers if number >= end_of(tasks) - 3])
        directory = tmp_path / str(at)
        run.cut(directory, last, tasks)
        answers = stored(directory, queries)
        if last < end_of(tasks):
            assert answers == [None] * len(queries)
        right = whole(directory, queries)
        for question, answer, expected in zip(queries, answers, right, strict=True):
            assert answer in (None, expected), (question, last, end_of(tasks))
            told += answer is not None
    assert told > CUTS * 5


def test_a_checkpoint_that_may_be_ahead_of_the_records_is_not_used(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 5)
    run.go_on(260)
    run.kill()
    made_meanwhile = [(begin, tasks) for tasks in run.copies if (begin := index_of(tasks)["end"]) < end_of(tasks)]
    assert made_meanwhile
    for at, (begin, tasks) in enumerate(made_meanwhile[:3]):
        run.cut(tmp_path / str(at), begin, tasks)
        assert stored(tmp_path / str(at), [(("jobs", run.job), {}), (("jobs", run.job, "tasks"), {})]) == [None, None]


def test_a_running_job_has_a_checkpoint_from_its_beginning_on(tmp_path: Path) -> None:
    run = Run(tmp_path, 0)
    run.world.clock.pump([PAUSE] * 3)
    run.kill()
    (status,) = stored(tmp_path, [(("jobs", run.job), {})])
    assert (status["state"], status["waiting"]) == ("held", status["tasks"])
    assert [status] == whole(tmp_path, [(("jobs", run.job), {})])


def test_half_a_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 1)
    run.go_on(120)
    run.kill()
    first, later = run.copies[0], run.copies[-1]
    last = run.numbers()[-1]
    for at, tasks in enumerate([first[: len(first) // 2], first[:-1], later[:-30], b"", later[:100] + first[100:]]):
        run.cut(tmp_path / str(at), last, tasks)
        answers = stored(tmp_path / str(at), [(("jobs", run.job, "tasks"), {"state": "waiting"})])
        assert answers in ([None], whole(tmp_path / str(at), [(("jobs", run.job, "tasks"), {"state": "waiting"})]))


def test_records_whose_meaning_is_not_known_are_left_to_the_whole(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 2)
    run.go_on(120)
    run.kill()
    question: list[tuple[tuple[str, ...], Query]] = [(("jobs", run.job), {})]
    for at, record in enumerate(
        ['{"type":"unknown"}', '{"type":"kept-open"}', '{"task":1}', "7", '{"type":"finished"}']
    ):
        run.cut(tmp_path / str(at), run.numbers()[-1], run.copies[-1])
        with closing(sqlite3.connect(tmp_path / str(at) / "journal.db")) as database, database:
            row = f'{{"at":1.0,"record":{record}}}'
            database.execute("INSERT INTO events (job, record) VALUES (?, ?)", (run.job, row))
        assert stored(tmp_path / str(at), question) == [None]


def test_a_job_that_ends_has_no_checkpoint_that_comes_after_its_end(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:2]]), "--max-workers=1", "--", "convert {}")
    world.clock.pump([PAUSE] * 3)
    world.do_next(job, "0-0")
    world.jobs._checkpoint(job)
    world.do_next(job, "0-1") if world.jobs.job(job).state == "running" else None
    world.at_once(world.jobs.cancel(job))
    world.clock.pump([PAUSE] * 10)
    assert not list(tmp_path.glob("jobs/*/*.new"))
    world.jobs.stop()
    world.journal.close()
    (status,) = stored(tmp_path, [(("jobs", job), {})])
    (page,) = stored(tmp_path, [(("jobs", job, "tasks"), {})])
    assert status["state"] == "cancelled"
    assert len(page["tasks"]) == 2

"""A killed coordinator's jobs are told of from a checkpoint and the records behind it, as from all records."""

import json
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from map_jobs import MapCoordinator
from memory_jobs import PIPELINE, MemoryCoordinator, fill_the_disk
from stored_answers import Question, stored, whole, without_task_files
from worker_double import WorkerDouble, ours

from mu_twisted.base.steps import exhaust
from mu_twisted.coordinator._slices import PAUSE, SLICE
from mu_twisted.coordinator.records import _task_files
from mu_twisted.pipelines import combinations, guard
from mu_twisted.statuses import TaskStatus
from mu_twisted.storage import TaskList, writing_tasks

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
                self.world.answer_all(worker, f"{self.job}/{launch_id}", lambda _: self.random.random() < 0.2)
        elif what == "leave" and self.workers:
            self.random.choice(self.workers)[1].abort()
        elif what == "checkpoint":
            self.world.jobs._checkpoints.write(self.job)
        self.world.clock.takes = SLICE  # so that each turn has one step
        self.world.clock.advance(self.random.choice([PAUSE, 0.5]) if what == "time" else PAUSE / 4)
        self.world.clock.takes = 0.0

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

    def questions(self) -> list[Question]:
        wanted: list[tuple[str, dict[str, object]]] = [("", {}), ("tasks", {}), ("tasks", {"cursor": 990})]
        wanted += [("tasks", {"state": state}) for state in ("done", "failed", "waiting")]
        wanted += [("settled", {}), ("settled", {"after": 7, "results": 1})]
        wanted += [("output", {}), ("output", {"failed": 1}), ("output", {"called": INPUTS[0]})]
        return [(("jobs",), {}), *((("jobs", self.job, *filter(None, [what])), query) for what, query in wanted)]


def index_of(tasks: bytes) -> Any:
    return json.loads(tasks.splitlines()[-2])


def end_of(tasks: bytes) -> int:
    """The last record that a file of tasks may have seen."""
    return int(index_of(tasks)["checkpoint"]["last"])


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
        right = whole(without_task_files(directory), queries)
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
    assert [status] == whole(without_task_files(tmp_path), [(("jobs", run.job), {})])


def test_a_checkpoint_of_records_that_the_journal_has_lost_is_not_used(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 3)
    run.go_on(120)
    run.kill()
    tasks, question = run.copies[-1], [(("jobs", run.job), {})]
    run.cut(tmp_path / "same", run.numbers()[-1], tasks)
    assert stored(tmp_path / "same", question) != [None]
    for at, other in enumerate(["""replace(record, '"at":', '"at":1')""", "x'ff00'", "''"]):
        run.cut(tmp_path / str(at), run.numbers()[-1], tasks)
        with closing(sqlite3.connect(tmp_path / str(at) / "journal.db")) as database, database:
            database.execute(f"UPDATE events SET record = {other} WHERE number = ?", (end_of(tasks),))
        assert stored(tmp_path / str(at), question) == [None]


def test_what_is_not_on_record_is_in_no_file(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:1]]), "--retries=0", "--", "convert {}")
    world.do_next(job, "0-0", 1)
    world.clock.pump([PAUSE] * 5)
    fill_the_disk(world)
    world.retry(job)
    world.do_next(job, "1-0")
    world.clock.pump([PAUSE] * 5)
    assert world.jobs.job(job).state == "done"
    world.journal._database.close()
    question: list[Question] = [(("jobs", job, "tasks"), {})]
    answer = stored(tmp_path, question)
    assert answer in ([None], whole(without_task_files(tmp_path), question))


def test_a_result_that_waits_for_a_superseded_worker_is_left_to_the_whole(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:5]]), "--max-workers=3", "--speculate=1", "--", "convert {}")
    workers = {launch_id: world.worker(job, launch_id) for launch_id in ("0-0", "0-1", "0-2")}

    def does_next(launch_id: str) -> None:
        (command,) = [one for one in workers[launch_id].takes() if one.startswith(b"run:")]
        workers[launch_id].says(b"OK:RETVAL(0):OUTPUT(oh):COMMAND(%b)" % command[4:])
        workers[launch_id].says(ours(f"{job}/{launch_id}"))

    for launch_id in ("0-1", "0-2", "0-1"):
        world.clock.advance(0.5)
        does_next(launch_id)
    world.clock.pump([1.0] * 20)
    does_next("0-2")
    does_next("0-2")  # the task of 0-0, which is superseded and may be at it still
    questions: list[Question] = [(("jobs", job), {}), (("jobs", job, "tasks"), {}), (("jobs", job, "settled"), {})]
    world.killed_and_started_again()
    world.clock.pump([PAUSE] * 5)
    assert world.journal.last(job)["record"]["outcome"] == "beaten"
    world.journal.append(job, {"at": 1.0, "record": {"type": "started", "generation": 2}})
    world.journal.flush()
    world.journal._database.close()
    answers = stored(tmp_path, questions)
    for answer, right in zip(answers, whole(without_task_files(tmp_path), questions), strict=True):
        assert answer in (None, right)


def test_labels_of_a_checkpoint_are_asked_for_on_behalf_of_its_job(tmp_path: Path) -> None:
    calls: set[tuple[int, bytes]] = set()
    world = MemoryCoordinator(tmp_path)
    world.pipeline = replace(PIPELINE, label=lambda _, task: calls.add((task, guard._job)))
    job = world.submit("-n", "3")
    world.clock.pump([PAUSE] * 3)
    assert calls == {(task, job.encode()) for task in range(3)}


def test_of_a_job_that_has_no_checkpoints_no_changes_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_task_files, "MAX_KEPT", 2)
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS[:3]]), "--max-workers=3", "--", "convert {}")
    world.clock.pump([PAUSE] * 3)
    world.do_next(job, "0-0")
    active = world.jobs._active_jobs.active(job)
    assert active is not None
    assert not active.changes.is_due
    assert active.changes.take() == (None, set())
    assert not list(tmp_path.glob("jobs/*/tasks.jsonl*"))


def test_a_coordinator_that_stops_amid_a_checkpoint_leaves_the_one_before(tmp_path: Path) -> None:
    world = MapCoordinator(tmp_path)
    job = world.map(combinations([INPUTS]), "--max-workers=3", "--", "convert {}")
    world.clock.pump([PAUSE] * 3)
    before = (tmp_path / "jobs" / job / "tasks.jsonl").read_bytes()
    world.jobs._checkpoints.write(job)
    world.clock.takes = SLICE
    world.clock.pump([PAUSE])
    assert list(tmp_path.glob("jobs/*/tasks.jsonl.new"))
    world.jobs.stop()
    assert not list(tmp_path.glob("jobs/*/tasks.jsonl.new"))
    assert (tmp_path / "jobs" / job / "tasks.jsonl").read_bytes() == before


def test_a_checkpoint_that_was_left_half_written_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "tasks.jsonl"
    found = [TaskList([TaskStatus(0, state, 1)], [0], frozenset(), True) for state in ("done", "failed")]
    left = writing_tasks(path, 1, found[0])
    next(left)
    exhaust(writing_tasks(path, 2, found[1]))
    text = path.read_bytes()
    left.close()
    assert path.read_bytes() == text
    assert b'"failed"' in text


def test_half_a_checkpoint_is_no_checkpoint(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 1)
    run.go_on(120)
    run.kill()
    first, later = run.copies[0], run.copies[-1]
    last = run.numbers()[-1]
    for at, tasks in enumerate([first[: len(first) // 2], first[:-1], later[:-30], b"", later[:100] + first[100:]]):
        run.cut(tmp_path / str(at), last, tasks)
        question: list[Question] = [(("jobs", run.job, "tasks"), {"state": "waiting"})]
        assert stored(tmp_path / str(at), question) in ([None], whole(without_task_files(tmp_path / str(at)), question))


def test_records_whose_meaning_is_not_known_are_left_to_the_whole(tmp_path: Path) -> None:
    run = Run(tmp_path / "run", 2)
    run.go_on(120)
    run.kill()
    question: list[Question] = [(("jobs", run.job), {})]
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
    world.jobs._checkpoints.write(job)
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

"""What changes in jobs is sent to those who watch, so that what they see is what is."""

import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import PIPELINE, MemoryCoordinator, draw_names
from worker_double import WorkerDouble

from mu_twisted.base import MuError
from mu_twisted.coordinator.observation._watchers import CELLS, KEEP_ALIVE, MAX_LISTED, PERIOD
from mu_twisted.pipelines import InputList, pack_inputs
from mu_twisted.statuses import UnknownJob


def takes(settings: Any, inputs: InputList) -> int:
    settings["tasks"] += len(inputs)
    return len(inputs)


OPEN = replace(PIPELINE, extends=takes)


def added(count: int) -> str:
    return pack_inputs(InputList((["x"] * count,)))


class Picture:
    """A watcher that draws what it is sent."""

    def __init__(self) -> None:
        self.ready = True
        self.events: list[tuple[str, Any]] = []
        self.number = 0
        self.cells: dict[int, str] = {}
        self.status: dict[str, Any] = {}
        self.jobs: dict[str, Any] = {}

    def send(self, kind: str, data: bytes, number: int | None = None) -> None:
        assert self.ready
        content = json.loads(data)
        self.events.append((kind, content))
        if number is not None:
            assert number >= self.number
            self.number = number
        if kind == "snapshot":
            self.cells = dict(zip(numbers(content["tasks"]), content["cells"], strict=True))
        if kind == "delta":
            for letter, tasks in content["cells"].items():
                self.cells.update(dict.fromkeys(numbers(tasks), letter))
        if kind in ("snapshot", "delta"):
            self.status = content["status"]
        if kind == "jobs":
            if content["whole"]:
                self.jobs = {}
            self.jobs.update({job["job"]: job for job in content["jobs"]})
            for name in content["gone"]:
                del self.jobs[name]

    def takes(self) -> list[str]:
        """The kinds of the events since it was last asked."""
        kinds = [kind for kind, _ in self.events]
        self.events.clear()
        return kinds


def numbers(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(",") if text else []:
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def watch(world: MemoryCoordinator, job: str, picture: Picture | None = None) -> tuple[Picture, Callable[[], None]]:
    picture = picture or Picture()
    stop = world.jobs.observation.watches.watch_job(job, picture, picture.number)
    world.turn()
    return picture, stop


def period(world: MemoryCoordinator) -> None:
    world.clock.pump([PERIOD] * 2)


def as_it_is(world: MemoryCoordinator, job: str) -> dict[int, str]:
    letters = {task.task: (CELLS[task.state], task.attempts) for task in world.tasks(job)}
    return {task: letter.upper() if attempts > 1 else letter for task, (letter, attempts) in letters.items()}


def test_a_job_comes_whole_and_then_what_changes(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "5", "--retries", "0")
    picture, stop = watch(world, job)
    assert picture.takes() == ["snapshot"]
    assert picture.cells == dict.fromkeys(range(5), "w")
    world.worker(job, "0-3")
    period(world)
    assert picture.cells[0] == "a"
    assert picture.events[0][1]["cells"] == {"a": "0"}
    assert picture.status["workers"] == 1
    stop()
    world.finish(job, "0-1")
    period(world)
    assert picture.cells[1] == "w"


def test_what_is_not_watched_notes_nothing_and_costs_no_look(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2")
    _, stop = watch(world, job)
    ledger = world.jobs._active_jobs.run(job).job._data.ledger
    assert ledger._changed is not None
    stop()
    assert ledger._changed is None
    assert not world.jobs.observation.watches._loop.running
    stop()


def test_at_most_four_events_a_second_however_much_changes(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "200")
    picture, _ = watch(world, job)
    picture.takes()
    for number in range(100):
        world.finish(job, f"0-{number}")
        world.clock.advance(0.01)
    assert len(picture.takes()) <= 4
    period(world)
    assert picture.cells == as_it_is(world, job)


def test_a_watcher_that_takes_nothing_misses_nothing_and_holds_no_more_than_the_job(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "3", "--retries", "9")
    picture, _ = watch(world, job)
    period(world)
    picture.ready = False
    for launch in range(3):
        worker = world.worker(job, f"0-{launch}")
        worker.says(b"FAIL(no)")
        period(world)
    (watcher,) = world.jobs.observation.watches._feeds[job].watchers
    assert watcher.changed <= {0, 1, 2}
    picture.ready = True
    period(world)
    assert picture.cells == as_it_is(world, job)


def test_a_watcher_that_comes_back_is_sent_only_what_it_has_missed(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "4", "--retries", "0")
    picture, stop = watch(world, job)
    world.finish(job, "0-0")
    period(world)
    stop()
    world.finish(job, "0-1")
    picture.takes()
    watch(world, job, picture)
    period(world)
    assert picture.takes() == ["delta"]
    assert picture.cells == as_it_is(world, job)
    world.killed_and_started_again()
    watch(world, job, picture)
    period(world)
    assert "snapshot" in picture.takes()
    assert picture.cells == as_it_is(world, job)


def test_tasks_that_are_added_are_sent_to_those_that_watch_or_come_back(
    world: MemoryCoordinator,
) -> None:
    world.pipeline = OPEN
    job = world.submit("-n", "1", "--max-workers", "2")
    picture, _ = watch(world, job)
    away, stop = watch(world, job)
    stop()
    picture.takes()
    for count in (1, 3):
        world.jobs.extend(job, added(count))
        period(world)
        assert "snapshot" in picture.takes()
        assert picture.cells == as_it_is(world, job)
        assert len(picture.cells) == picture.status["tasks"]
    world.finish(job, "0-0")
    world.finish(job, "0-1")
    period(world)
    assert picture.takes() == ["delta"]
    assert picture.cells == as_it_is(world, job)
    watch(world, job, away)
    period(world)
    assert away.cells == picture.cells


def test_its_end_and_its_going_on_are_sent(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "0")
    picture, _ = watch(world, job)
    world.worker(job, "0-0").says(b"FAIL(no)")
    world.finish(job, "0-1")
    period(world)
    period(world)
    assert picture.status["state"] == "failed"
    assert picture.cells == {0: "f", 1: "d"}
    world.retry(job)
    period(world)
    assert picture.status["state"] == "running"
    assert picture.cells[0].lower() == "w"
    world.jobs.cancel(job)
    period(world)
    period(world)
    world.remove(job)
    period(world)
    assert picture.events[-1][0] == "gone"


def test_a_job_that_is_not_there_is_not_watched(world: MemoryCoordinator) -> None:
    with pytest.raises(UnknownJob):
        watch(world, "nosuch")
    assert not world.jobs.observation.watches._feeds


def test_where_nothing_changes_a_sign_of_life_is_sent(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1", "--retries", "0")
    world.jobs.cancel(job)
    world.clock.pump([1.0] * 3)
    picture, _ = watch(world, job)
    jobs = Picture()
    world.jobs.observation.watches.watch_jobs(jobs)
    world.clock.pump([PERIOD] * 2)
    picture.takes()
    jobs.takes()
    world.clock.pump([PERIOD] * (KEEP_ALIVE + 4))
    assert picture.takes() == ["alive"]
    assert jobs.takes() == ["alive"]


def test_all_jobs_are_listed_and_those_that_change_are_sent_again(world: MemoryCoordinator) -> None:
    first, second = world.submit("-n", "1"), world.submit("-n", "2", "--retries", "0")
    picture = Picture()
    stop = world.jobs.observation.watches.watch_jobs(picture)
    assert picture.jobs.keys() == {first, second}
    picture.takes()
    world.finish(second, "0-0")
    world.clock.pump([PERIOD] * 4)
    assert picture.jobs[second]["done"] == 1
    assert [job["job"] for kind, content in picture.events for job in content["jobs"]] == [second]
    world.jobs.cancel(first)
    world.clock.pump([1.0] * 4)
    world.remove(first)
    world.clock.pump([PERIOD] * 4)
    assert picture.jobs.keys() == {second}
    stop()
    assert not len(world.jobs.observation.watches)
    assert MAX_LISTED >= 100


class RandomJob:
    """Dice decide what becomes of a job that is watched."""

    def __init__(self, world: MemoryCoordinator, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.job = world.submit("-n", str(dice.randrange(1, 9)), "--retries", "1")
        self.picture, self.stop = watch(world, self.job)
        self.live: list[WorkerDouble] = []
        self.came = 0

    def step(self) -> None:
        what = self.dice.choice(
            [self.comes, self.comes, self.done, self.fails, self.goes, self.leaves, self.sleeps, self.ends, self.dies]
            + [self.grows] * (self.world.pipeline is OPEN)
        )
        with suppress(MuError):
            what()
        self.live = [worker for worker in self.live if not worker.closed]

    def comes(self) -> None:
        if self.world.jobs.job(self.job).state == "running" and self.world.launches.submission:
            name = self.world.launches.submission.pop(0)
            self.live.append(self.world.worker(self.job, name.rpartition("/")[2]))

    def says(self, word: bytes) -> None:
        if self.live:
            self.dice.choice(self.live).says(word)

    def done(self) -> None:
        self.says(b"OK:ECHO(hi)")

    def fails(self) -> None:
        self.says(b"FAIL(no)")

    def goes(self) -> None:
        if self.live:
            self.live.pop().drop("gone")

    def leaves(self) -> None:
        self.stop()
        self.picture, self.stop = watch(self.world, self.job, self.picture)

    def sleeps(self) -> None:
        self.picture.ready = not self.picture.ready

    def grows(self) -> None:
        self.world.jobs.extend(self.job, added(self.dice.randrange(1, 4)))

    def ends(self) -> None:
        if self.world.jobs.job(self.job).state == "running":
            if self.dice.random() < 0.3:
                self.world.jobs.cancel(self.job)
        else:
            self.world.retry(self.job)

    def dies(self) -> None:
        self.live.clear()
        self.picture.ready = True
        self.world.killed_and_started_again()
        self.picture, self.stop = watch(self.world, self.job, self.picture)


@pytest.mark.parametrize("seed", range(12))
def test_in_any_history_of_things_what_is_seen_is_what_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    draw_names(monkeypatch, seed)
    world = MemoryCoordinator(tmp_path)
    if seed % 2:
        world.pipeline = OPEN
    history = RandomJob(world, random.Random(seed))
    for _ in range(80):
        history.step()
        world.clock.pump([PERIOD / 2] * history.dice.randrange(3))
        if history.picture.ready and history.dice.random() < 0.3:
            world.clock.pump([PERIOD] * 8)
            assert history.picture.cells == as_it_is(world, history.job)
            assert history.picture.status["state"] == world.jobs.job(history.job).state
    world.journal.close()

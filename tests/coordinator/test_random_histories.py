"""A coordinator's jobs in any course of things: workers that come, fail and go, kills, full disks, users' changes."""

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator, draw_names, fill_the_disk, make_room
from twisted.logger import globalLogPublisher
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.base import MuError
from mu_twisted.coordinator import Request
from mu_twisted.pipelines import Pipeline, PipelineError
from mu_twisted.statuses import JobStatus, UnknownJob

STEPS = 120
MOST_JOBS = 5


class RandomHistory(MemoryCoordinator):
    """A world in which dice decide what happens next.

    :ivar least: for each job on record the tasks that were done, and on disk, when it was last looked at.
    """

    def __init__(self, directory: Path, dice: random.Random) -> None:
        self.dice = dice
        self.full = self.is_gone = False
        self.live: list[tuple[WorkerDouble, str]] = []
        self.least: dict[str, int] = {}
        super().__init__(directory, workers=dice.choice([None, None, 3]))

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        if self.is_gone:
            raise self.dice.choice([PipelineError("it is gone"), OSError("it is gone")])
        return super().parse(request)

    # -- what may happen -------------------------------------------------------------------------------------------

    def step(self) -> None:
        weighed: list[tuple[Callable[[], object], int]] = [
            (self.comes, 8),
            (self.goes_on, 10),
            (lambda: self.clock.pump([self.dice.choice([0.1, 1.0])] * self.dice.randrange(1, 12)), 2),
            (self.asks, 2),
            (lambda: self.retry(self.some_job()), 2),
            (lambda: self.jobs.cancel(self.some_job()), 1),
            (self.removes, 1),
            (lambda: (self.tasks(self.some_job()), self.log(self.some_job())), 1),
            (self.disk_changes, 2),
            (self.is_killed, 1),
            (self.launches_are_taken, 2),
        ]
        happens = self.dice.choices([what for what, _ in weighed], [weight for _, weight in weighed])[0]
        self.wall += 1.0
        with suppress(MuError, OSError):  # what is refused changes nothing
            happens()
        for name in self.least:
            done = self.jobs.job(name).done
            if not self.full:
                self.turn()
                assert done >= self.least[name]
                self.least[name] = done

    def some_job(self) -> str:
        return self.dice.choice([*self.least, "nosuch"])

    def asks(self) -> None:
        if len(self.least) < MOST_JOBS:
            few = self.dice.choice([[], ["--max-workers", "2"]])
            self.least[self.submit("-n", str(self.dice.randrange(1, 5)), "--retries", "1", *few)] = 0

    def removes(self) -> None:
        name = self.some_job()
        self.remove(name)
        del self.least[name]

    def comes(self) -> None:
        expected = self.expected()
        if expected:
            self.dials(*self.dice.choice(expected))

    def goes_on(self) -> None:
        if self.live:
            self.hears(*self.dice.choice(self.live))

    def launches_are_taken(self) -> None:
        self.launches.slow = not self.launches.slow
        taken, self.launches.takes = self.launches.takes, []
        for take in taken:
            take()

    def disk_changes(self) -> None:
        self.full = not self.full
        if self.full:
            fill_the_disk(self)
        else:
            make_room(self)
            self.clock.pump([1.0] * 3)

    def is_killed(self) -> None:
        self.is_gone = self.dice.random() < 0.4
        was_full, self.full = self.full, False
        self.live.clear()
        self.killed_and_started_again()
        self.is_gone = self.dice.random() < 0.3
        for name in list(self.least):
            try:
                done = self.jobs.job(name).done
            except UnknownJob:
                assert was_full
                del self.least[name]
            else:
                assert was_full or done >= self.least[name]
                self.least[name] = done

    # -- workers ---------------------------------------------------------------------------------------------------

    def expected(self) -> list[tuple[str, str]]:
        """Launches that a worker may still come for."""
        running = [self.jobs._active_jobs.run(name).job for name in self.jobs._active_jobs]
        return [(job.name, launch_id) for job in running for launch_id in job._data.launches._expected]

    def dials(self, job: str, launch_id: str) -> None:
        worker = WorkerDouble(self.registry.new_session(), launch_identity(job), self.turn)
        worker.says(ours(f"{job}/{launch_id}"))
        self.live.append((worker, f"{job}/{launch_id}"))

    def hears(self, worker: WorkerDouble, launch_id: str, *, well: bool = False) -> None:
        """The worker does what it was asked, or fails at it."""
        if worker.closed:
            self.live.remove((worker, launch_id))
        for command in worker.takes():
            luck = 1.0 if well else self.dice.random()
            if worker.closed or (luck < 0.1 and command.startswith(b"echo:")):
                worker.abort()
                self.turn()
            elif command == b"reset:":
                worker.says(ours(launch_id))
            elif command == b"kill:":
                worker.says(b"OK:KILL(0)")
            elif command.startswith(b"echo:"):
                worker.says(b"FAIL(\xff)" if luck < 0.25 else b"OK:ECHO(hi)")

    def ends(self) -> None:
        """Nothing is in the way any more, and all jobs come to their end."""
        self.is_gone = self.launches.slow = False
        if self.full:
            self.disk_changes()
        assert self.jobs.trouble is None
        for name in self.least:
            if self.jobs.job(name).state == "held":
                self.retry(name)
        self.launches_are_taken()
        self.launches.slow = False
        for _ in range(300):
            for expected in self.expected():
                self.dials(*expected)
            for worker in list(self.live):
                self.hears(*worker, well=True)
            self.clock.advance(1.0)
            if not self.jobs.running:
                return
        raise AssertionError(f"jobs that do not end: {self.jobs.jobs()}")

    def told(self) -> list[JobStatus]:
        self.turn()
        return self.jobs.jobs()


@contextmanager
def no_faults() -> Iterator[None]:
    """Nothing is logged that is not expected."""
    faults: list[str] = []

    def look(event: Any) -> None:
        if "log_failure" in event and not isinstance(event["log_failure"].value, OSError):
            faults.append(event["log_failure"].getTraceback())

    globalLogPublisher.addObserver(look)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(look)
    assert not faults, faults[0]


def happens(directory: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """A history; the same for the same seed."""
    draw_names(monkeypatch, seed)
    with no_faults():
        history = RandomHistory(directory, random.Random(seed))
        for _ in range(STEPS):
            history.step()
        history.ends()
        before = history.told()
        history.is_killed()
        assert history.told() == before
        history.journal.close()


@pytest.mark.parametrize("seed", range(40))
def test_whatever_happens_jobs_end_and_are_told_of_after_a_kill_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    happens(tmp_path, monkeypatch, seed)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(40, 2040, 100))
def test_in_many_other_histories_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    for number in range(seed, seed + 100):
        directory = tmp_path / str(number)
        directory.mkdir()
        happens(directory, monkeypatch, number)
        shutil.rmtree(directory)

"""A coordinator's jobs whose rendezvous stays away: real links, journal and decisions, workers in memory."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.coordinator import JobLinks, Jobs, Journal, Opened, Peers, RendezvousLink, Request, WorkerRegistry
from mu_twisted.fsm import Worker
from mu_twisted.jobs import JobPolicy, LaunchOutcome
from mu_twisted.pipelines import PeerOptions, Pipeline, job_policy
from mu_twisted.statuses import JobStatus, TaskStatus
from mu_twisted.transport import Receiver, TransportError


async def task(w: Worker) -> None:
    await w.connect(1)
    await w.run("true")


PAIRS = Pipeline(
    name="pairs",
    summary="",
    first=task,
    options=PeerOptions,
    consumes=lambda settings, number: [number - 1] if number % 2 else [],
)


class Relay:
    """One shard of a rendezvous, for one coordinator after the other."""

    def __init__(self) -> None:
        self.store = "aa"
        self.there = True
        self.link: Any = None

    def dial(self, receiver: Receiver) -> Deferred[Any]:
        if not self.there:
            return fail(TransportError("cannot connect: refused"))
        self.link = receiver
        self.link.connected(self)
        return succeed(self)

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            if payload.startswith(b"JOB:"):
                name = payload.split(b":")[1].decode()
                self.link.frames_received([f"OK:JOB:{name}:{self.store}".encode()])

    def close(self) -> None:
        self.link.disconnected("closed")

    def goes(self) -> None:
        """It is killed."""
        self.there = False
        link, self.link = self.link, None
        link.disconnected("connection lost")

    def comes(self, store: str) -> None:
        """Another is started in its place."""
        self.there, self.store = True, store


class Lambda:
    """Takes every launch and starts no worker."""

    def __init__(self, submission: list[str]) -> None:
        self.submission = submission

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        self.submission += launch_ids
        for launch_id in launch_ids:
            on_outcome(LaunchOutcome(launch_id, True, 202, ""))
        return succeed(None)

    def stop(self) -> None:
        pass

    def note(self) -> str | None:
        return None

    async def diagnose(self) -> str:
        return "no worker came"


class HeldTasksHarness:
    """A coordinator that can be killed and started again, and a rendezvous of two shards."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.relays = [Relay(), Relay()]
        self.clock = Clock()
        self.start()

    def start(self) -> None:
        self.submission: list[str] = []
        self.links = [RendezvousLink(self.clock, relay.dial, f"h:{number}") for number, relay in enumerate(self.relays)]
        self.registry = WorkerRegistry(self.clock)
        self.journal = Journal(self.directory / "journal.db", self.clock, lambda fault: None)
        self.jobs = Jobs(
            self.clock,
            wall=lambda: 1000.0,
            journal=self.journal,
            registry=self.registry,
            opener=self,
            directory=self.directory / "jobs",
        )
        self.jobs.restore()
        self.registry.open()
        self.turn()

    def killed_and_started_again(self) -> None:
        for call in list(self.clock.getDelayedCalls()):
            call.cancel()
        self.journal._database.close()
        self.start()

    def turn(self) -> None:
        self.clock.advance(0)

    # what the jobs ask

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        return PAIRS, PAIRS.parse(request.words)

    def policy(self, settings: Any) -> JobPolicy:
        return job_policy(settings)

    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        for link in self.links[: settings["rendezvous-shards"]]:
            await link.open()
        return self.reopen(name, pipeline, settings, edges)

    def reopen(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        count = settings["rendezvous-shards"]
        shards = [number // 2 % count for number in range(settings["tasks"])] if count > 1 else []
        peers = Peers(name, [f"h:{number}" for number in range(count)], None, shards)
        return Opened(Lambda(self.submission), peers, JobLinks(dict(enumerate(self.links[:count])), shards))

    # what the tests do

    def submit(self, *words: str) -> str:
        found: list[Any] = []
        self.jobs.submit(Request("pairs", words)).addBoth(found.append)
        self.turn()
        assert isinstance(found[0], JobStatus), found
        return found[0].job

    def worker(self, job: str, launch_id: str) -> WorkerDouble:
        worker = WorkerDouble(self.registry.new_session(), launch_identity(job), self.turn)
        worker.says(ours(f"{job}/{launch_id}"))
        return worker

    def note_of(self, job: str) -> str | None:
        return self.jobs.job(job).note

    def tasks(self, job: str) -> Sequence[TaskStatus]:
        found: list[Any] = []
        self.jobs.tasks(job).addBoth(found.append)
        self.turn()
        return found[0].tasks  # type: ignore[no-any-return]

    def attempts(self, job: str) -> list[int]:
        return [fact.attempts for fact in self.tasks(job)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[HeldTasksHarness]:
    world = HeldTasksHarness(tmp_path)
    yield world
    world.journal.close()


def warned(events: list[Any]) -> list[str]:
    return [str(formatEvent(event)) for event in events if event["log_level"] >= LogLevel.warn]


def refuse(world: HeldTasksHarness, job: str, workers: Sequence[WorkerDouble]) -> None:
    """Each worker's way to its peers is refused; it is cleared, and greets again."""
    for number, worker in enumerate(workers):
        if b"connect:" in b"".join(worker.takes()):
            worker.says(b"FAIL(could not connect to h:0: refused)")
            if b"reset:" in worker.takes():
                worker.says(ours(f"{job}/0-{number}"))


@pytest.mark.parametrize("tasks", [4, 40])
def test_while_the_rendezvous_stays_away_nothing_is_tried_and_one_line_is_said(
    world: HeldTasksHarness, tasks: int
) -> None:
    job = world.submit("-n", str(tasks))
    workers = [world.worker(job, launch_id) for launch_id in world.submission]
    with capturedLogs() as events:
        world.relays[0].goes()
        for _ in range(600):
            refuse(world, job, workers)
            world.clock.advance(1.0)
    assert world.attempts(job) == [1] * tasks
    assert warned(list(events)) == [
        "the rendezvous at h:0 is away (connection lost): tasks that need it are held until it is back"
    ]
    assert world.note_of(job) == (
        f"the rendezvous at h:0 is away (cannot connect: refused): {tasks} tasks that need it are held until it is back"
    )
    assert {fact.state for fact in world.tasks(job)} == {"held"}
    assert world.jobs.job(job).workers == 0
    world.relays[0].comes("bb")
    world.clock.pump([1.0] * 10)
    assert world.note_of(job) is None
    assert world.jobs.job(job).launches == tasks


def test_a_failure_that_comes_before_the_link_hears_is_no_line_of_its_own(world: HeldTasksHarness) -> None:
    job = world.submit("-n", "20")
    workers = [world.worker(job, launch_id) for launch_id in world.submission]
    with capturedLogs() as events:
        refuse(world, job, workers)
        world.relays[0].goes()
        world.clock.pump([1.0] * 10)
    assert len(warned(list(events))) == 1


def test_tasks_without_a_way_to_their_peers_share_one_line(world: HeldTasksHarness) -> None:
    job = world.submit("-n", "20")
    workers = [world.worker(job, launch_id) for launch_id in world.submission]
    with capturedLogs() as events:
        refuse(world, job, workers)
        world.clock.advance(1.0)
    [line] = warned(list(events))
    assert line.startswith("20 tasks failed: they have no way to their peers; task 0: ")
    assert world.note_of(job) is None


@pytest.mark.parametrize("away", [[1], [0], [0, 1]])
def test_only_the_tasks_of_the_shard_that_is_away_are_held(world: HeldTasksHarness, away: list[int]) -> None:
    job = world.submit("-n", "8", "-R", "2")
    workers = [world.worker(job, launch_id) for launch_id in world.submission]
    with capturedLogs() as events:
        for shard in away:
            world.relays[shard].goes()
        for worker in workers:
            worker.drop("reset")
        world.clock.pump([1.0] * 20)
    held = [number for number in range(8) if number // 2 % 2 in away]
    assert [fact.task for fact in world.tasks(job) if fact.state == "held"] == held
    lines = [line for line in warned(list(events)) if "rendezvous" in line]
    assert lines == [
        f"the rendezvous at h:{shard} is away (connection lost): tasks that need it are held until it is back"
        for shard in away
    ]
    assert f"{len(held)} tasks that need" in str(world.note_of(job))


def test_two_jobs_of_one_rendezvous_share_the_line_and_each_says_what_it_waits_for(world: HeldTasksHarness) -> None:
    jobs = [world.submit("-n", "2"), world.submit("-n", "4")]
    for job in jobs:
        for launch_id in ("0-0", "0-1"):
            world.worker(job, launch_id).drop("reset")
    with capturedLogs() as events:
        world.relays[0].goes()
        world.clock.pump([1.0] * 60)
    assert len(warned(list(events))) == 1
    assert [str(world.note_of(job)).split(": ")[-1].split(" ")[0] for job in jobs] == ["2", "4"]


def test_after_a_restart_tasks_are_held_as_long_as_the_rendezvous_is_away(world: HeldTasksHarness) -> None:
    job = world.submit("-n", "4")
    for launch_id in list(world.submission):
        world.worker(job, launch_id)
    world.relays[0].goes()
    with capturedLogs() as events:
        world.killed_and_started_again()
        world.clock.pump([1.0] * 300)
    assert len(warned(list(events))) == 1
    assert world.submission == [], "no worker is launched for it"
    assert world.attempts(job) == [1] * 4
    assert "4 tasks that need it are held" in str(world.note_of(job))
    world.killed_and_started_again()
    world.relays[0].comes("bb")
    world.clock.pump([1.0] * 10)
    assert world.note_of(job) is None
    assert len(world.submission) == 4


def test_a_restart_beside_a_rendezvous_that_is_there_costs_nothing(world: HeldTasksHarness) -> None:
    job = world.submit("-n", "4")
    ids = list(world.submission)
    for launch_id in ids:
        world.worker(job, launch_id)
    with capturedLogs() as events:
        world.killed_and_started_again()
        workers = [world.worker(job, launch_id) for launch_id in ids]
        for worker, launch_id in zip(workers, ids, strict=True):
            worker.says(ours(f"{job}/{launch_id}"))
    assert world.jobs.job(job).active == 4
    assert world.submission == []
    assert warned(list(events)) == []


def test_a_held_job_can_be_cancelled(world: HeldTasksHarness) -> None:
    job = world.submit("-n", "4")
    world.relays[0].goes()
    world.jobs.cancel(job)
    world.turn()
    assert world.jobs.job(job).state == "cancelled"
    assert world.note_of(job) is None

"""The bytes that workers say they have moved are those of their attempts, and of their jobs together."""

from typing import Any

from memory_jobs import MemoryCoordinator
from twisted.internet.defer import Deferred

from mu_twisted.wire.byte_counts import ByteCounts


def story_bytes(world: MemoryCoordinator, job: str, task: int) -> list[Any]:
    story = world.at_once(Deferred.fromCoroutine(world.jobs.observation.story(job, task)))
    return [attempt.bytes for attempt in story.attempts]


def moved(retrieved: int = 0, uploaded: int = 0, sent: int = 0, received: int = 0) -> dict[str, int]:
    return {"retrieved": retrieved, "uploaded": uploaded, "sent": sent, "received": received}


def test_an_attempt_and_its_job_have_what_was_said_last(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2", "--retries", "1")
    assert world.jobs.job(job).bytes is None
    worker = world.worker(job, "0-0")
    worker.says(ByteCounts(100).encode())
    worker.says(ByteCounts(150, 7).encode())
    assert story_bytes(world, job, 0) == [moved(150, 7)]
    assert world.jobs.job(job).bytes == moved(150, 7)
    worker.says(ByteCounts(150, 9).encode(), b"FAIL(no)")
    world.clock.pump([1.0] * 3)
    other = world.worker(job, "0-1")
    other.says(ByteCounts(sent=5, received=6).encode(), b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 3)
    assert world.jobs.job(job).bytes == moved(150, 9, 5, 6)
    assert world.jobs.counts().bytes == moved(150, 9, 5, 6)
    assert moved(sent=5, received=6) in [*story_bytes(world, job, 0), *story_bytes(world, job, 1)]
    assert story_bytes(world, job, 0)[0] == moved(150, 9)


def test_they_outlive_the_coordinator(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "2")
    world.worker(job, "0-0").says(ByteCounts(uploaded=12).encode(), b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 3)
    world.killed_and_started_again()
    assert world.jobs.job(job).bytes == moved(uploaded=12)
    assert story_bytes(world, job, 0) == [moved(uploaded=12)]
    assert "data: 12 bytes uploaded" in world.log(job, 0)


def test_what_is_no_count_changes_nothing_and_many_of_them_are_no_flood(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    worker = world.worker(job, "0-0")
    for number in range(30_000):
        worker.says(ByteCounts(number).encode())
    worker.says(b'INFO:bytes:{"sent":-1}')
    worker.says(ByteCounts(5).encode())  # less than before: not believed, and nothing is taken back
    assert world.jobs.job(job).bytes == moved(29_999)
    assert world.jobs.job(job).active == 1
    worker.says(b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 3)
    assert world.jobs.job(job).state == "done"


def test_a_worker_with_no_task_counts_for_none(world: MemoryCoordinator) -> None:
    job = world.submit("-n", "1")
    worker = world.worker(job, "0-0")
    worker.says(b"OK:ECHO(hi)")
    worker.says(ByteCounts(1).encode())
    world.clock.pump([1.0] * 3)
    assert world.jobs.job(job).bytes is None

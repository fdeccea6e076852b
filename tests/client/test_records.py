"""Results of a job that is on record only are read at once: no coordinator is waited for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.client import Coordinator, JobHandle, UnixTransport

TASKS = 2100


class Unserved(Coordinator):
    """Tells of records; to ask for one that runs is to wait for it."""

    def get(self, *path: str, served: bool = False, **more: Any) -> Any:
        assert not served, "a coordinator is waited for"
        return super().get(*path, served=served, **more)


@pytest.mark.parametrize("retried", [False, True])
def test_all_pages_of_results_come_of_the_records(tmp_path: Path, retried: bool) -> None:
    world = MemoryCoordinator(tmp_path)
    job = world.submit("-n", str(TASKS), "--max-workers", "1")
    world.finish(job, "0-0")
    world.at_once(world.jobs.cancel(job))
    if retried:
        world.clock.pump([0.0] * 20)
        world.retry(job)
        world.at_once(world.jobs.cancel(job))
    world.jobs.stop()
    world.journal.close()
    results = list(JobHandle(Unserved(UnixTransport(tmp_path)), job).results())
    assert sorted(result.task for result in results) == list(range(TASKS))
    assert [result.status for result in results].count("done") == 1

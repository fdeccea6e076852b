"""All jobs of a coordinator and its dashboard on a real port and a real clock, with workers in memory."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from control_server import Loop
from free_ports import held_ports
from memory_jobs import Launches, MemoryCoordinator
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.coordinator import Jobs, Journal, Request, WorkerRegistry
from mu_twisted.daemons._control_service import ControlService
from mu_twisted.fsm import Worker
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines import Pipeline
from mu_twisted.web import Dashboard, ListenAddress, open_dashboard

HOUR = 3600.0


async def program(w: Worker) -> None:
    await w.run("read-part")


class LiveCoordinator(MemoryCoordinator):
    """Everything of it happens in the loop's thread; its methods are called from the test's.

    :param loop: the reactor.
    :param directory: holds journal, outputs and sessions.
    """

    def __init__(self, loop: Loop, directory: Path) -> None:
        self.loop = loop
        self.held = ExitStack()
        self.port = self.held.enter_context(held_ports())
        self.dashboard: Dashboard | None = None
        self.skipped = frozenset()
        self.missing = None
        self.directory = directory
        self.clock = loop.reactor
        self.pipeline = Pipeline(
            name="p",
            summary="",
            first=program,
            label=lambda _, task: f"photos/{task:05}<b>.png",
        )
        loop.do(self.open_all)

    def open_all(self) -> None:
        self.launches = Launches()
        self.registry = WorkerRegistry(self.clock)
        self.journal = Journal(self.directory / "journal.db", self.clock, lambda _: None)
        self.jobs = Jobs(
            self.clock,
            wall=time.time,
            journal=self.journal,
            registry=self.registry,
            opener=self,
            directory=self.directory / "jobs",
        )
        self.jobs.restore()
        service = ControlService(self.jobs, self.registry, port=0, launch_rate=lambda: None)
        self.dashboard = open_dashboard(
            self.clock,
            service,
            ListenAddress("127.0.0.1", self.port),
            sessions_path=self.directory / "dashboard.json",
            wall=time.time,
        )

    def policy(self, settings: Any) -> JobPolicy:
        """Workers come, and answer nothing, for as long as a browser takes on a busy machine."""
        return dataclasses.replace(super().policy(settings), start_timeout=HOUR, heartbeat=HOUR)

    def close_all(self) -> Any:
        """End as a coordinator that is stopped: its jobs go on with the next."""
        self.jobs.stop()
        self.journal.close()
        assert self.dashboard is not None
        return self.dashboard.close()

    def close(self) -> None:
        self.loop.do(self.close_all)
        self.held.close()

    def restart(self) -> None:
        self.loop.do(self.close_all)
        self.loop.do(self.open_all)

    def address(self) -> str:
        assert self.dashboard is not None
        return str(self.loop.do(self.dashboard.new_address))

    def begin(self, *words: str) -> str:
        """Submit a job."""
        return str(self.loop.do(self.jobs.submit, Request("p", words)).job)

    def status(self, job: str) -> Any:
        return self.loop.do(self.jobs.job, job)

    def come(self, job: str, launch_id: str) -> WorkerDouble:
        """A worker comes, and has its task once this returns."""

        def greet() -> WorkerDouble:
            worker = WorkerDouble(self.registry.new_session(), launch_identity(job), lambda: None)
            worker.says(ours(f"{job}/{launch_id}"))
            return worker

        worker: WorkerDouble = self.loop.do(greet)
        self.loop.until(lambda: any(line.startswith(b"run:") for line in worker.sent))
        return worker

    def end(self, worker: WorkerDouble, status: int = 0, output: bytes = b"") -> None:
        """The worker's program has ended."""
        reply = b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(read-part)" % (status, output)
        self.loop.do(worker.says, reply)

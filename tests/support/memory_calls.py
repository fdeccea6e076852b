"""Calls of an executor in memory: a coordinator's jobs on a real control socket, whose workers are doubles."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any, cast

from control_server import Served
from memory_jobs import Launches, MemoryCoordinator
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.aws import Clients
from mu_twisted.client import mu_call
from mu_twisted.client._control import Coordinator
from mu_twisted.client._transport import ConnectionLost, CoordinatorError, UnixTransport
from mu_twisted.client.executor import CallExecutor
from mu_twisted.coordinator import Request
from mu_twisted.daemons._control_service import ControlService
from mu_twisted.pipelines import InputList, Pipeline, pack_inputs
from mu_twisted.pipelines.calls import pipeline


class Asking(Coordinator):
    """Says which of its requests to change something were not answered, loses some, and holds others."""

    def __init__(self, transport: UnixTransport) -> None:
        super().__init__(transport)
        self.lost = ""
        """Of the next: its request or its answer, as ``error``."""
        self.error: CoordinatorError = ConnectionLost("it went away")
        self.held: dict[str, threading.Event] = {}
        """What is sent when the event is set."""
        self.came = {what: threading.Event() for what in ("tasks", "close")}
        self.failed = {what: threading.Event() for what in ("tasks", "close")}

    def post(self, *path: str, **more: Any) -> Any:
        self.came[path[-1]].set()
        if path[-1] in self.held:
            assert self.held[path[-1]].wait(120)
        try:
            if self.lost == "request":
                raise self.error
            answer = super().post(*path, **more)
            if self.lost == "answer":
                raise self.error
        except CoordinatorError:
            self.lost = ""
            self.failed[path[-1]].set()
            raise
        return answer


class Calls(MemoryCoordinator):
    """The coordinator of an executor on a real socket and clock, whose workers do calls in memory; a CallBackend."""

    def __init__(self, served: Served) -> None:
        self.served = served
        self.loop = served.loop
        self.bucket: str | None = None
        self.store: Clients | None = None
        """S3, where there is a bucket."""
        self.coordinator: Any = Asking(UnixTransport(served.state))
        self.skipped = frozenset()
        self.missing = self.suspects = self.workers = None
        self.hold_all = self.shared_key = False
        self.wall = 1000.0
        self.directory = served.state
        self.clock = self.loop.reactor
        self.pipeline = pipeline
        self.launches = Launches()
        self.came = 0
        served.close()
        self.up()

    def turn(self) -> None:
        """The reactor turns by itself."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        return pipeline, pipeline.parse(request.words, request.inputs)

    def up(self) -> None:
        self.loop.do(self.start)
        self.served.service = cast("Any", ControlService(self.jobs, self.registry, port=0, launch_rate=lambda: None))
        self.served.open()

    def down(self) -> None:
        self.served.close()
        self.loop.do(self.jobs.stop)
        self.loop.do(self.journal.close)

    # CallBackend

    def open_job(self, inputs: InputList) -> str:
        request = Request("calls", inputs=pack_inputs(inputs))
        return str(self.loop.do(lambda: self.jobs.submit(request)).job)

    def clients(self) -> Clients:
        assert self.store is not None
        return self.store

    # the worker's side

    def do_call(self, job: str, answer: bytes | None = None) -> None:
        """The worker of the next launch does the call that it is sent.

        :param answer: of its program; None: what the call returns.
        """
        worker, call = self.begun_call(job)
        if answer is None:
            answer = b"inline " + mu_call.pickled(mu_call.done(base64.b64decode(call.split(b"\n")[1])))
        self.replies(worker, b"OK:RETVAL(0):OUTPUT():COMMAND(call)")
        self.loop.until(lambda: worker.sent)
        self.replies(worker, b"OK:RETVAL(0):OUTPUT(%b):COMMAND(cat)" % answer)
        if answer.startswith(b"stored"):
            [upload] = self.loop.until(lambda: worker.sent)
            self.replies(worker, b"OK:UPLOAD(%b)" % upload.removeprefix(b"upload:").split(b"\0")[0])
        self.loop.do(worker.abort)

    def begun_call(self, job: str) -> tuple[WorkerDouble, bytes]:
        """The worker of the next launch, and what it is to run."""
        launch_id = self.loop.until(lambda: self.launches.submission[self.came : self.came + 1])[0]
        self.came += 1

        def greet() -> WorkerDouble:
            worker = WorkerDouble(self.registry.new_session(), launch_identity(job), lambda: None)
            worker.says(ours(f"{job}/{launch_id}"))
            return worker

        worker = self.loop.do(greet)
        return worker, self.loop.until(lambda: [line for line in worker.sent if line.startswith(b"run:")])[0]

    def replies(self, worker: WorkerDouble, reply: bytes) -> None:
        self.loop.do(worker.takes)
        self.loop.do(worker.says, reply)

    def state(self, job: str) -> str:
        return str(self.loop.do(self.jobs.job, job).state)


def name_of_job(executor: CallExecutor) -> str:
    until = time.monotonic() + 60
    while executor._job is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    return executor._job.name


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def ends(thread: threading.Thread) -> bool:
    thread.join(60)
    return not thread.is_alive()

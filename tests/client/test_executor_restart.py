"""An executor outlives restarts of its coordinator: what it asks meanwhile is asked again of the next one."""

from __future__ import annotations

import base64
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from control_server import Served
from memory_jobs import Launches, MemoryCoordinator
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.aws import Clients
from mu_twisted.client import mu_call
from mu_twisted.client._control import Coordinator
from mu_twisted.client._transport import ConnectionLost, CoordinatorError, NotServed, UnixTransport
from mu_twisted.client.executor import CallExecutor
from mu_twisted.coordinator import Request
from mu_twisted.daemons._control_service import ControlService
from mu_twisted.pipelines import InputList, Pipeline, pack_inputs
from mu_twisted.pipelines.calls import pipeline


class Asking(Coordinator):
    """Says which of its requests to change something were not answered, and loses some."""

    def __init__(self, transport: UnixTransport) -> None:
        super().__init__(transport)
        self.lost = ""
        """Of the next: its request or its answer."""
        self.failed: dict[str, threading.Event] = defaultdict(threading.Event)

    def post(self, *path: str, **more: Any) -> Any:
        try:
            if self.lost == "request":
                raise ConnectionLost("it went away")
            answer = super().post(*path, **more)
            if self.lost == "answer":
                raise ConnectionLost("it went away")
        except CoordinatorError:
            self.lost = ""
            self.failed[path[-1]].set()
            raise
        return answer


class Calls(MemoryCoordinator):
    """The coordinator of an executor on a real socket and clock, whose workers do calls in memory; a CallBackend."""

    bucket = None

    def __init__(self, served: Served) -> None:
        self.served = served
        self.loop = served.loop
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
        raise AssertionError("there is no bucket")

    # the worker's side

    def do_call(self, job: str) -> None:
        """The worker of the next launch does the call that it is sent."""
        launch_id = self.loop.until(lambda: self.launches.submission[self.came : self.came + 1])[0]
        self.came += 1

        def greet() -> WorkerDouble:
            worker = WorkerDouble(self.registry.new_session(), launch_identity(job), lambda: None)
            worker.says(ours(f"{job}/{launch_id}"))
            return worker

        worker = self.loop.do(greet)
        [run] = self.loop.until(lambda: [line for line in worker.sent if line.startswith(b"run:")])
        answer = b"inline " + mu_call.pickled(mu_call.done(base64.b64decode(run.split(b"\n")[1])))
        self.loop.do(worker.takes)
        self.loop.do(worker.says, b"OK:RETVAL(0):OUTPUT():COMMAND(call)")
        self.loop.until(lambda: worker.sent)
        self.loop.do(worker.says, b"OK:RETVAL(0):OUTPUT(%b):COMMAND(cat)" % answer)
        self.loop.do(worker.abort)

    def state(self, job: str) -> str:
        return str(self.loop.do(self.jobs.job, job).state)


@pytest.fixture
def calls(served: Served) -> Iterator[Calls]:
    calls = Calls(served)
    yield calls
    for job in calls.loop.do(calls.jobs.jobs):
        calls.loop.do(calls.jobs.cancel, job.job)
    calls.loop.do(calls.jobs.stop)
    calls.loop.do(calls.journal.close)


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


def test_calls_go_to_workers_and_answers_come_back(calls: Calls) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(divmod, 17, 5)
    job = name_of_job(executor)
    calls.do_call(job)
    assert call.result(60) == (3, 2)
    executor.shutdown()
    assert calls.state(job) == "done"


def test_a_call_that_comes_while_the_coordinator_is_restarted_is_done_by_the_next(calls: Calls) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    calls.do_call(job)
    assert call.result(60) == 32
    calls.down()
    other = executor.submit(pow, 3, 3)
    assert calls.coordinator.failed["tasks"].wait(60)
    calls.up()
    calls.do_call(job)
    assert other.result(60) == 27
    executor.shutdown()
    assert calls.state(job) == "done"


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_call_whose_sending_was_cut_off_is_sent_once(calls: Calls, lost: str) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    calls.do_call(job)
    assert call.result(60) == 32
    calls.coordinator.lost = lost
    other = executor.submit(pow, 3, 3)
    calls.do_call(job)
    assert other.result(60) == 27
    executor.shutdown()
    assert calls.loop.do(calls.jobs.job, job).tasks == 2


def test_an_executor_that_is_shut_down_while_the_coordinator_is_restarted_ends_its_job(calls: Calls) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 6)
    job = name_of_job(executor)
    calls.down()
    ending = in_thread(executor.shutdown)
    assert calls.coordinator.failed["close"].wait(60)
    calls.up()
    calls.do_call(job)
    assert call.result(60) == 64
    assert ends(ending)
    assert calls.state(job) == "done"


@pytest.mark.parametrize("what", ["tasks", "close"])
def test_a_coordinator_that_is_stopping_is_asked_again_once_it_is_back(calls: Calls, what: str) -> None:
    executor = CallExecutor(calls, 2)
    found = [executor.submit(pow, 2, 6)]
    job = name_of_job(executor)
    calls.loop.do(calls.jobs.stop)
    if what == "tasks":
        found.append(executor.submit(pow, 3, 6))
        assert calls.coordinator.failed["tasks"].wait(60)
    ending = in_thread(executor.shutdown)
    if what == "close":
        assert calls.coordinator.failed["close"].wait(60)
    calls.down()
    calls.up()
    for _ in found:
        calls.do_call(job)
    assert [call.result(60) for call in found] == [64, 729][: len(found)]
    assert ends(ending)
    assert calls.state(job) == "done"


def test_the_records_are_neither_added_to_nor_closed(calls: Calls) -> None:
    job = calls.open_job(InputList((["- inline x"],)))
    calls.down()
    for what, body in (("tasks", {"inputs": pack_inputs(InputList((["- inline y"],)))}), ("close", None)):
        with pytest.raises(NotServed):
            calls.coordinator.post("jobs", job, what, body=body, served=True)
    calls.up()
    assert calls.loop.do(calls.jobs.extend, job, pack_inputs(InputList((["- inline y"],)))) == 1

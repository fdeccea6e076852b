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
from mu_twisted.client._pickling import CallError
from mu_twisted.client._transport import ConnectionLost, CoordinatorError, NotServed, UnixTransport
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
        self.came: dict[str, threading.Event] = defaultdict(threading.Event)
        self.failed: dict[str, threading.Event] = defaultdict(threading.Event)

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


@pytest.mark.parametrize("lost", ["request", "answer"])
def test_a_call_of_which_no_one_said_whether_it_was_taken_has_no_result_or_its_own(calls: Calls, lost: str) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    calls.coordinator.lost = lost
    calls.coordinator.error = CoordinatorError("it does not answer within 60 s")
    other = executor.submit(pow, 3, 3)
    calls.do_call(job)
    assert call.result(60) == 32
    if lost == "request":
        with pytest.raises(CallError, match=r"^pow\(3, 3\) has no result: it does not answer within 60 s$"):
            other.result(60)
    else:
        calls.do_call(job)
        assert other.result(60) == 27
    assert calls.state(job) == "done"
    another = executor.submit(pow, 5, 2)
    calls.loop.until(lambda: len(calls.jobs.jobs()) == 2)
    calls.do_call(calls.jobs.jobs()[1].job)
    assert another.result(60) == 25
    executor.shutdown()


def test_nothing_waits_for_a_coordinator_that_is_slow_to_take_a_call(calls: Calls) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    calls.coordinator.held["tasks"] = threading.Event()
    other = executor.submit(pow, 3, 3)
    assert calls.coordinator.came["tasks"].wait(60)
    calls.do_call(job)
    assert call.result(60) == 32
    assert ends(in_thread(lambda: executor.submit(pow, 5, 2).cancel()))
    assert ends(in_thread(lambda: executor.shutdown(wait=False)))
    calls.coordinator.held["tasks"].set()
    calls.do_call(job)
    assert other.result(60) == 27
    executor.shutdown()


def test_an_answer_is_taken_while_its_job_is_closed(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mu_twisted.client.executor.MAX_RESULTS", 1)
    executor = CallExecutor(calls, 2)
    calls.coordinator.held["close"] = threading.Event()
    call = executor.submit(pow, 2, 5)
    calls.do_call(name_of_job(executor))
    assert call.result(60) == 32
    assert calls.coordinator.came["close"].wait(60)
    assert ends(in_thread(lambda: executor.submit(pow, 5, 2)))
    another = calls.loop.until(lambda: [job.job for job in calls.jobs.jobs()][1:])[0]
    calls.do_call(another)
    calls.coordinator.held["close"].set()
    executor.shutdown()
    assert {job.state for job in calls.jobs.jobs()} == {"done"}


@pytest.mark.parametrize("removed", [False, True])
def test_a_job_that_has_ended_by_the_time_it_would_take_a_call_leaves_it_to_another(
    calls: Calls, removed: bool
) -> None:
    executor = CallExecutor(calls, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    calls.coordinator.held["tasks"] = threading.Event()
    other = executor.submit(pow, 3, 3)
    assert calls.coordinator.came["tasks"].wait(60)
    calls.loop.do(calls.jobs.cancel, job)
    with pytest.raises(CallError, match=r"^pow\(2, 5\) failed after 0 attempts: cancelled by its user$"):
        call.result(60)
    if removed:
        calls.loop.do(calls.jobs.remove, job)
    calls.coordinator.held["tasks"].set()
    another = calls.loop.until(lambda: [found.job for found in calls.jobs.jobs() if found.job != job])[0]
    calls.came = 1
    calls.do_call(another)
    assert other.result(60) == 27
    executor.shutdown()


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

"""An executor outlives restarts of its coordinator: what it asks meanwhile is asked again of the next one."""

from __future__ import annotations

import threading

import pytest
from memory_calls import Calls, ends, in_thread, name_of_job

from mu_twisted.client._handover import ReconnectingClient
from mu_twisted.client._pickling import CallError
from mu_twisted.client._transport import CoordinatorError, NotServed
from mu_twisted.client.executor import CallExecutor
from mu_twisted.pipelines import InputList, pack_inputs


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
    calls.loop.until(lambda: calls.jobs.job(job).state == "done")
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
    assert {job.state for job in calls.loop.do(calls.jobs.jobs)} == {"done"}


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


def test_an_executor_shut_down_during_a_restart_ends_its_job(calls: Calls) -> None:
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
    body = {"inputs": pack_inputs(InputList((["- inline y"],)))}
    assert ReconnectingClient(calls.coordinator).post("jobs", job, "tasks", body=body) == {"first": 1}

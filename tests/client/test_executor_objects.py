"""What calls have in S3 is deleted with them, whatever becomes of them; one that cannot be stored harms no other."""

from __future__ import annotations

import os
from typing import Any

import pytest
from memory_calls import Calls, name_of_job

from mu_twisted.client import Client
from mu_twisted.client._pickling import CallError
from mu_twisted.client._transport import CoordinatorError
from mu_twisted.client.executor import CallExecutor

pytestmark = pytest.mark.process

LONG = os.urandom(20_000)


@pytest.fixture(scope="module")
def embedded(mu: Client) -> Any:
    """The bucket of executors in the embedded S3."""
    return mu.executor(workers=1)._backend


@pytest.fixture
def stored(embedded: Any, calls: Calls) -> Calls:
    """With the embedded S3."""
    calls.bucket, calls.store = embedded.bucket, embedded.clients()
    return calls


def keys(calls: Calls, executor: CallExecutor) -> list[str]:
    assert calls.store is not None
    found: Any = calls.store.s3.list_objects_v2(Bucket=calls.bucket or "", Prefix=executor._store.prefix)
    return [item["Key"] for item in found.get("Contents", ())]


def store_result(calls: Calls, executor: CallExecutor) -> None:
    """As the worker of the first call does."""
    assert calls.store is not None
    key = f"{executor._store.prefix}1.result"
    calls.store.s3.put_object(Bucket=calls.bucket or "", Key=key, Body=b"of a worker")


@pytest.mark.parametrize("bucket", [None, "there-is-none"])
def test_a_call_that_cannot_be_stored_fails_and_those_beside_it_are_done(stored: Calls, bucket: str | None) -> None:
    stored.bucket = bucket
    executor = CallExecutor(stored, 3)
    with executor._changed:  # so that they are sent together
        first, wrong, last = executor.submit(pow, 2, 5), executor.submit(len, LONG), executor.submit(pow, 3, 3)
    with pytest.raises(CallError, match=r"^len\(b.*(cannot store|go through S3)"):
        wrong.result(60)
    job = name_of_job(executor)
    stored.do_call(job)
    stored.do_call(job)
    assert (first.result(60), last.result(60)) == (32, 27)
    executor.shutdown()
    assert stored.loop.do(stored.jobs.job, job).tasks == 2


def test_a_call_that_is_refused_leaves_no_objects(stored: Calls) -> None:
    stored.missing = "there is no function of this name"
    executor = CallExecutor(stored, 2)
    with pytest.raises(CallError, match=rf"^len\(b.*{stored.missing}$"):
        executor.submit(len, LONG).result(60)
    executor.shutdown()
    assert keys(stored, executor) == []


def test_a_call_of_which_it_is_not_known_whether_it_was_taken_leaves_no_objects(stored: Calls) -> None:
    executor = CallExecutor(stored, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    stored.coordinator.lost, stored.coordinator.error = "request", CoordinatorError("it does not answer within 60 s")
    lost = executor.submit(len, LONG)
    stored.do_call(job)
    assert call.result(60) == 32
    with pytest.raises(CallError, match="has no result: it does not answer"):
        lost.result(60)
    executor.shutdown()
    assert keys(stored, executor) == []


def test_a_call_whose_job_was_cancelled_leaves_no_objects(stored: Calls) -> None:
    executor = CallExecutor(stored, 2)
    call = executor.submit(len, LONG)
    job = name_of_job(executor)
    store_result(stored, executor)
    assert len(keys(stored, executor)) == 2
    stored.loop.do(stored.jobs.cancel, job)
    with pytest.raises(CallError, match="cancelled by its user"):
        call.result(60)
    executor.shutdown()
    assert keys(stored, executor) == []


def test_a_call_whose_result_is_not_the_worker_s_leaves_no_objects(stored: Calls) -> None:
    executor = CallExecutor(stored, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    store_result(stored, executor)
    stored.do_call(job, b"stored %b 11" % (b"0" * 64))
    with pytest.raises(CallError, match="is not what the worker has sent"):
        call.result(60)
    executor.shutdown()
    assert keys(stored, executor) == []


def test_a_call_that_is_done_leaves_not_what_a_worker_before_has_stored(stored: Calls) -> None:
    executor = CallExecutor(stored, 2)
    call = executor.submit(pow, 2, 5)
    job = name_of_job(executor)
    dies, _ = stored.begun_call(job)
    store_result(stored, executor)
    stored.loop.do(dies.abort)
    stored.do_call(job)
    assert call.result(60) == 32
    assert keys(stored, executor) == []
    executor.shutdown()

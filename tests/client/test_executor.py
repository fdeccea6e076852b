"""An executor is one of the standard library's, whose calls run on workers.

The tests of the first part are those of ``test.test_concurrent_futures`` that apply to any executor, written anew, as
an installed Python need not have that package; each bears its name there. Left out are those about the processes and
threads of a pool, its initializer and ``max_tasks_per_child``, as workers are none of these, and those of ``Future``.
"""

from __future__ import annotations

import base64
import concurrent.futures as futures
import os
import shutil
import socket
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from control_server import Loop
from warm_processes import LIMIT
from wheel_index import WheelIndex

from mu_twisted.aws import Clients
from mu_twisted.client import Client, UsageError
from mu_twisted.client._pickling import CallError, RemoteTraceback
from mu_twisted.client.executor import CallExecutor

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def executor(mu: Client) -> Iterator[CallExecutor]:
    with mu.executor(workers=4) as executor:
        yield executor


def waits(port: int) -> int:
    """Returns once the test has closed this port."""
    import contextlib
    import socket

    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)) as line:
        line.recv(1)
    return port


@pytest.fixture
def held() -> Iterator[socket.socket]:
    """What calls wait for until it is closed."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as held:
        yield held


def port_of(held: socket.socket) -> int:
    port: int = held.getsockname()[1]
    return port


class Tracked:
    """Can be referred to weakly."""

    def method(self) -> None:
        """Do nothing."""


# -- as the standard library's -----------------------------------------------------------------------------------------


def test_submit(executor: CallExecutor) -> None:
    assert executor.submit(pow, 2, 8).result(LIMIT) == 256


def test_submit_keyword(executor: CallExecutor) -> None:
    def capture(*args: Any, **kwargs: Any) -> Any:
        return args, kwargs

    assert executor.submit(capture, 1, self=2, fn=3).result(LIMIT) == ((1,), {"self": 2, "fn": 3})
    with pytest.raises(TypeError):
        executor.submit(fn=capture)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        executor.submit()  # type: ignore[call-arg]


@pytest.mark.parametrize("chunksize", [None, 1, 3, 20])
def test_map(executor: CallExecutor, chunksize: int | None) -> None:
    found = executor.map(pow, range(10), range(10), chunksize=chunksize)
    assert list(found) == list(map(pow, range(10), range(10)))


def test_map_exception(executor: CallExecutor) -> None:
    found = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5], chunksize=1)
    assert next(found) == (0, 1)
    assert next(found) == (0, 1)
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_map_timeout(executor: CallExecutor, held: socket.socket) -> None:
    with pytest.raises(futures.TimeoutError):
        list(executor.map(waits, [port_of(held)], timeout=0.1))
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(waits, [0], chunksize=0)


def test_no_stale_references(executor: CallExecutor) -> None:
    tracked = Tracked()
    gone = threading.Event()
    weakref.finalize(tracked, gone.set)
    call = executor.submit(tracked.method)
    del tracked
    assert call.result(LIMIT) is None
    assert gone.wait(LIMIT)


@pytest.mark.parametrize("workers", [0, -1])
def test_max_workers_negative(mu: Client, workers: Any) -> None:
    with pytest.raises(UsageError, match="workers: expected a number of at least 1"):
        mu.executor(workers=workers)


@pytest.mark.parametrize("option", ["function", "no_such"])
def test_an_option_that_it_has_not_is_called_so(mu: Client, option: str) -> None:
    with pytest.raises(UsageError, match=f"^mu.executor has no option '{option}': it makes a function of its own"):
        mu.executor(workers=1, **{option: "x"})


def test_first_completed_first_exception_and_all(executor: CallExecutor, held: socket.socket) -> None:
    quick, wrong = executor.submit(pow, 2, 2), executor.submit(pow, 0, -1)
    slow = executor.submit(waits, port_of(held))
    done, _ = futures.wait([quick, slow], return_when=futures.FIRST_COMPLETED, timeout=LIMIT)
    assert done == {quick}
    done, _ = futures.wait([quick, slow, wrong], return_when=futures.FIRST_EXCEPTION, timeout=LIMIT)
    assert wrong in done
    assert futures.wait([slow], timeout=0.05).not_done == {slow}
    held.close()
    assert futures.wait([quick, slow, wrong], timeout=LIMIT).not_done == set()


def test_as_completed_with_and_without_timeout(executor: CallExecutor, held: socket.socket) -> None:
    calls = [executor.submit(pow, 2, number) for number in range(3)]
    assert {call.result() for call in futures.as_completed([*calls, calls[0]], timeout=LIMIT)} == {1, 2, 4}
    with pytest.raises(futures.TimeoutError):
        list(futures.as_completed([executor.submit(waits, port_of(held))], timeout=0.05))


def test_run_after_shutdown_cancel_futures_and_hang_issue12364(mu: Client, held: socket.socket) -> None:
    executor, port = mu.executor(workers=1), port_of(held)
    running = [executor.submit(waits, port) for _ in range(4)]
    waiting = [executor.submit(waits, port) for _ in range(20)]
    until = time.monotonic() + LIMIT
    while not all(call.running() for call in running):
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not running[0].cancel()
    assert waiting[-1].cancel()
    executor.shutdown(wait=False, cancel_futures=True)
    assert all(call.cancelled() for call in waiting[4:])
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(pow, 2, 2)
    held.close()
    executor.shutdown()
    assert [call.result(0) for call in running] == [port] * 4


# -- of its own --------------------------------------------------------------------------------------------------------


def test_an_exception_comes_back_as_itself_with_the_remote_traceback(executor: CallExecutor) -> None:
    def outer() -> None:
        raise LookupError("so it is")

    error = executor.submit(outer).exception(LIMIT)
    assert type(error) is LookupError
    assert error.args == ("so it is",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in outer" in str(error.__cause__)
    leaving = executor.submit(sys.exit, 3).exception(LIMIT)
    assert isinstance(leaving, SystemExit)
    assert leaving.code == 3


def test_what_cannot_be_pickled_is_one_line_that_names_the_call(executor: CallExecutor) -> None:
    for call, said in (
        (executor.submit(len, threading.Lock()), "len(<unlocked _thread.lock"),
        (executor.submit(lambda: (number for number in ())), "<lambda>(): its result cannot be pickled: TypeError"),
    ):
        error = call.exception(LIMIT)
        assert isinstance(error, UsageError | CallError)
        assert said in str(error)
        assert "\n" not in str(error)

    def fails() -> None:
        error = ValueError("worse")
        error.lock = threading.Lock()  # type: ignore[attr-defined]
        raise error

    error = executor.submit(fails).exception(LIMIT)
    assert isinstance(error, CallError)
    assert "its exception (ValueError: worse) cannot be pickled" in str(error)


def test_an_exception_that_cannot_be_made_anew_is_told_with_where_it_was_raised(executor: CallExecutor) -> None:
    class Refused(Exception):
        def __init__(self, code: int, reason: str) -> None:
            super().__init__(f"{reason} ({code})")

    def asks() -> None:
        raise Refused(451, "not\nhere")

    error = executor.submit(asks).exception(LIMIT)
    assert isinstance(error, CallError)
    assert "asks(): its exception (Refused: not here (451)) cannot be unpickled: TypeError" in str(error)
    assert "\n" not in str(error)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in asks" in str(error.__cause__)


def test_long_arguments_and_results_go_through_s3_and_are_taken_away(executor: CallExecutor) -> None:
    content = os.urandom(300_000)
    assert executor.submit(lambda data: data + data[:1], content).result(LIMIT) == content + content[:1]
    backend: Any = executor._backend
    clients: Clients = backend.clients()
    assert clients.s3.list_objects_v2(Bucket=backend.bucket, Prefix=executor._store.prefix).get("KeyCount") == 0


def test_a_result_that_was_changed_in_s3_is_not_unpickled(executor: CallExecutor) -> None:
    from mu_twisted.client._call_store import FunctionCall

    backend: Any = executor._backend
    backend.clients().s3.put_object(Bucket=backend.bucket, Key="forged", Body=b"cos\nsystem\n(S'false'\ntR.")
    call = FunctionCall(futures.Future(), "f()", b"", "forged")
    answer = base64.b64encode(b"stored " + b"0" * 64 + b" 25").decode()
    with pytest.raises(CallError, match="is not what the worker has sent"):
        executor._store.answer(call, {"state": "done", "result": answer})


def test_modules_of_the_user_travel_by_value(
    executor: CallExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_own.py").write_text(
        "FACTOR = 3\ndef inner(x):\n    return x * FACTOR\ndef triple(x):\n    return inner(x)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import my_own  # type: ignore[import-not-found]

    assert executor.submit(my_own.triple, 5).result(LIMIT) == 15
    assert executor.submit(lambda: my_own.inner(7)).result(LIMIT) == 21


def test_what_a_call_prints_is_output_and_no_result(mu: Client) -> None:
    def talks() -> str:
        sys.stdout.write("stored words")
        return sys.stdin.read()

    with mu.executor(workers=1) as executor:
        assert executor.submit(talks).result(LIMIT) == ""
        assert executor._job is not None
        assert "stored words" in mu.job(executor._job.name).output(0).decode("utf-8", "replace")


def test_a_call_that_takes_too_long_is_tried_again_and_then_has_failed(mu: Client, held: socket.socket) -> None:
    with mu.executor(workers=1, retries=1, timeout=0.5) as executor:
        error = executor.submit(waits, port_of(held)).exception(LIMIT)
        assert isinstance(error, CallError)
        assert str(error) == f"waits({port_of(held)}) failed after 2 attempts: it took longer than 0.5 s"


def test_a_call_that_kills_its_process_has_failed_and_others_go_on(executor: CallExecutor) -> None:
    import signal

    error = executor.submit(os.kill, 0, signal.SIGKILL).exception(LIMIT)
    assert isinstance(error, CallError)
    assert str(error).startswith(f"kill(0, {signal.SIGKILL!r}) failed after ")
    assert executor.submit(pow, 3, 2).result(LIMIT) == 9


def test_calls_of_a_job_that_was_cancelled_have_no_result_and_others_get_another(
    mu: Client, held: socket.socket
) -> None:
    with mu.executor(workers=1) as executor:
        call = executor.submit(waits, port_of(held))
        until = time.monotonic() + LIMIT
        while executor._job is None:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert mu.job(executor._job.name).cancel().state == "cancelled"
        error = call.exception(LIMIT)
        assert isinstance(error, CallError)
        assert executor.submit(pow, 3, 3).result(LIMIT) == 27


def test_another_python_s_pickle_is_refused_on_the_worker(tmp_path: Path) -> None:
    from mu_twisted.client import mu_call

    kind, what, _ = mu_call.done(b"3.8\nanything")
    assert kind == "refused"
    assert "was pickled by Python 3.8" in str(what)


@pytest.mark.long
def test_joblib_runs_its_calls_on_workers(mu: Client) -> None:
    import joblib

    from mu_twisted.client.parallel import register_joblib

    with mu.executor(workers=2, **{"with": str(Path(joblib.__file__).parent)}) as executor:
        register_joblib(executor)
        with joblib.parallel_config(backend="mu", n_jobs=-1):
            assert joblib.Parallel()(joblib.delayed(pow)(2, n) for n in range(9)) == [2**n for n in range(9)]
        assert executor._store.count > 0


@pytest.mark.long
def test_dask_computes_its_graphs_on_workers(mu: Client, tmp_path: Path) -> None:
    import dask

    unused = shutil.ignore_patterns("tests", "array", "bag", "dataframe", "*.js", "*.so")
    for name in ("dask", "toolz", "tlz", "yaml", "packaging", "importlib_metadata", "lazy_importer", "zipp"):
        found = find_spec(name)
        if found is not None and found.origin is not None:
            shutil.copytree(Path(found.origin).parent, tmp_path / name, ignore=unused)
    packages = ",".join(map(str, tmp_path.iterdir()))
    own = os.getpid()

    @dask.delayed
    def square(x: int) -> int:
        assert os.getpid() != own
        return x * x

    with mu.executor(workers=3, **{"with": packages}) as executor:
        total = dask.delayed(sum)([square(x) for x in range(6)])
        assert total.compute(scheduler=executor) == 55
        with pytest.raises(ZeroDivisionError):
            dask.delayed(divmod)(square(2), 0).compute(scheduler=executor)
        assert executor._store.count >= 8


@pytest.mark.long
def test_requirements_that_bring_cloudpickle_leave_the_caller_s_in_the_function(
    mu: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = WheelIndex(tmp_path)
    other = {"cloudpickle/__init__.py": b"raise SystemExit('another version')", "cloudpickle/more.py": b""}
    index.wheel("cloudpickle", "9.0", files=other)
    index.wheel("needy", requires=["cloudpickle"])
    for name, value in index.environment.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "requirements.txt").write_text("needy\n")

    def look() -> tuple[str, bool]:
        from importlib.util import find_spec

        return __import__("needy").TAG, find_spec("cloudpickle.more") is None

    with mu.executor(workers=1, requirements=str(tmp_path / "requirements.txt")) as executor:
        assert executor.submit(look).result(LIMIT) == ("py3-none-any", True)


def test_the_same_in_asyncio(mu: Client, executor: CallExecutor) -> None:
    import asyncio

    async def work() -> tuple[list[tuple[str, bytes]], str, int]:
        job = await mu.asyncio.map("echo {}", each=["a", "b"])
        found = sorted([(result.input, result.output) async for result in job.results()])
        status = await job.wait()
        return found, status.state, await asyncio.wrap_future(executor.submit(pow, 2, 8))

    assert asyncio.run(work()) == ([("a", b"a\n"), ("b", b"b\n")], "done", 256)


def test_the_same_by_deferreds(mu: Client, executor: CallExecutor, loop: Loop) -> None:
    from mu_twisted.client.deferred import call, deferred

    assert loop.do(lambda: deferred(loop.reactor, mu.job, mu.jobs()[0].name)).name == mu.jobs()[0].name
    assert loop.do(lambda: call(loop.reactor, executor, pow, 2, 8)) == 256
    with pytest.raises(ZeroDivisionError):
        loop.do(lambda: call(loop.reactor, executor, divmod, 1, 0))

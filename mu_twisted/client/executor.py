"""An executor runs Python functions on workers, by the interface of ``concurrent.futures``.

Its calls are tasks of one job of the pipeline ``calls``, which is kept open: one thread adds calls to it, another takes
their answers. So many calls are sent as keep the workers busy; the others wait here, where they can be cancelled.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from http import HTTPStatus
from itertools import islice
from typing import Any, Protocol, TypeVar

from mu_twisted.base import MuError
from mu_twisted.base.json_types import Json
from mu_twisted.client._arguments import checked
from mu_twisted.client._call_store import CallBucket, CallStore, FunctionCall
from mu_twisted.client._control import Coordinator, RequestRefused
from mu_twisted.client._handover import COMEBACK, ReconnectingClient
from mu_twisted.client._pickling import CallError, call_name, pickled_call
from mu_twisted.client._transport import ConnectionLost, CoordinatorError
from mu_twisted.pipelines import InputList, pack_inputs

AHEAD = 2
"""Calls that are sent for each worker: while it does one, its next is on the way."""
TOGETHER = 500
"""Calls that are sent at once, at most."""
MAX_TASKS = 100_000
MAX_ADDED = 32 << 20
MAX_RESULTS = 64 << 20
"""Calls, bytes of them, and bytes of their results, after which the next calls go to another job."""
STEP = 20.0
MARGIN = 30.0
"""Seconds that one request waits for answers, and that it may be late."""
CHUNKS = 4
"""Parts for each worker into which :meth:`CallExecutor.map` divides its calls."""

T = TypeVar("T")


class CallBackend(CallBucket, Protocol):
    """What an executor needs of its client."""

    coordinator: Coordinator

    def open_job(self, inputs: InputList) -> str:
        """Submit the job of some calls, and say its name."""


class _CallJob:
    """One job that is kept open, with the calls that are its tasks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: dict[int, FunctionCall] = {}
        """That are not answered, by their tasks: those above :attr:`tasks` are being added."""
        self.tasks = self.added = self.results = 0
        self.takes_no_more = self.closed = False
        """The second: as its coordinator knows, too."""
        self.lost: str | None = None
        """Why it is not known whether calls were added."""
        self.over: str | None = None
        """Why no more answers come."""

    def takes(self, calls: int, size: int) -> bool:
        """Whether calls of this size can be added."""
        fits = self.tasks + calls <= MAX_TASKS and self.added + size <= MAX_ADDED
        return fits and not self.takes_no_more


class CallExecutor(Executor):
    """Runs Python functions on workers. ``Client.executor`` makes one.

    :param backend: takes its job, and stores what is long.
    :param workers: at once, at most.
    """

    def __init__(self, backend: CallBackend, workers: int) -> None:
        self._backend = backend
        self.workers = workers
        """At once, at most."""
        self._max_workers = workers  # where dask looks for it, as the standard library's have it
        self._changed = threading.Condition()
        self._pending: deque[FunctionCall] = deque()
        self._sent = 0
        self._job: _CallJob | None = None
        self._shut = False
        self._store = CallStore(backend)
        self._threads: list[threading.Thread] = []

    # -- concurrent.futures' own -----------------------------------------------------------------------------------

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> "Future[T]":
        """Have a worker call a function, with these arguments.

        :param fn: and the arguments travel by cloudpickle: modules of the user's own by value, others by their names.
        :returns: has the result, what the function has raised, or a :class:`~mu_twisted.base.MuError`: what cannot be
            pickled, a call that could not be done.
        :raises RuntimeError: the executor is shut down.
        """
        future: Future[T] = Future()
        name = call_name(fn, args, kwargs)
        with self._changed:
            self._check_open()
        try:
            call = FunctionCall(future, name, pickled_call(fn, args, kwargs))
        except MuError as error:
            future.set_running_or_notify_cancel()
            future.set_exception(error)
            return future
        with self._changed:
            self._check_open()
            self._pending.append(call)
            if not self._threads:
                self._start(self._send_all, "send")
            self._changed.notify_all()
        return future

    @checked
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int | None = None,
    ) -> Iterator[T]:
        """As ``Executor.map``; several calls go to a worker together.

        :param fn: is called with one item of each of the ``iterables``, until the shortest of these ends.
        :param timeout: seconds from now until which results are waited for.
        :param chunksize: calls that go together; None: so many that each worker gets about four times some.
        :raises ValueError: ``chunksize`` is below 1.
        :raises TimeoutError: from the iterator: a result has not come in time.
        """
        if chunksize is not None and chunksize < 1:
            raise ValueError("chunksize must be at least 1")
        calls = list(zip(*iterables, strict=False))
        size = chunksize or max(1, -(-len(calls) // (CHUNKS * self.workers)))
        chunks = iter(calls)
        timeout = None if timeout is None else float(timeout)
        parts: Iterator[list[T]] = super().map(
            _for_each(fn), iter(lambda: list(islice(chunks, size)), []), timeout=timeout
        )
        return _chained(parts)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls.

        :param wait: whether to return when all are done.
        :param cancel_futures: whether to cancel those that are not sent yet.
        """
        with self._changed:
            self._shut = True
            while cancel_futures and self._pending:
                self._pending.popleft().future.cancel()
            self._changed.notify_all()
        if wait:
            at = 0
            while at < len(self._threads):  # the first may start others
                self._threads[at].join()
                at += 1

    # -- inside: sent ----------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._shut:
            raise RuntimeError("cannot schedule new futures after shutdown")

    def _start(self, work: Callable[..., None], name: str, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"mu-executor-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send_all(self) -> None:
        while calls := self._next_calls():
            texts: dict[int, str] = {}
            for number, call in enumerate(calls):
                try:
                    texts[number] = self._store.text(call)
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what becomes of this call
                    self._fail([call], error)
            ready = [calls[number] for number in texts]
            try:
                if ready:
                    self._send(ready, list(texts.values()))
            except Exception as error:  # noqa: BLE001 - or of these
                self._fail(ready, error)
        with self._changed:
            job, self._job = self._job, None
        self._close(job)

    def _fail(self, calls: Sequence[FunctionCall], error: Exception) -> None:
        """End calls that were not sent."""
        with self._changed:
            self._sent -= len(calls)
        for call in calls:
            call.future.set_exception(CallError(f"{call.name}: {error}") if isinstance(error, MuError) else error)
        self._store.delete([key for call in calls for key in call.keys])

    def _next_calls(self) -> list[FunctionCall]:
        """The calls that are sent next, which can be cancelled no more; none: there will be no others."""
        with self._changed:
            while True:
                calls: list[FunctionCall] = []
                room = min(TOGETHER, max(4, AHEAD * self.workers) - self._sent)
                while self._pending and len(calls) < room:
                    call = self._pending.popleft()
                    if call.future.set_running_or_notify_cancel():
                        calls.append(call)
                self._sent += len(calls)
                if calls or (self._shut and not self._pending):
                    return calls
                self._changed.wait()

    def _send(self, calls: Sequence[FunctionCall], texts: Sequence[str]) -> None:
        inputs = InputList((texts,))
        size = sum(map(len, texts))
        job = self._job
        if job is not None and not job.takes(len(calls), size):
            job.takes_no_more = True
            job = None
        if job is None or not self._added(job, calls, pack_inputs(inputs)):
            job = _CallJob(self._backend.open_job(inputs))
            with self._changed:
                self._job = job
                job.calls.update(enumerate(calls))
                job.tasks = len(calls)
                self._start(self._take_answers, "answers", job)
        job.added += size

    def _added(self, job: _CallJob, calls: Sequence[FunctionCall], inputs: str) -> bool:
        """Whether further calls are a job's now; one that is over takes none."""
        numbers = range(job.tasks, job.tasks + len(calls))
        with self._changed:  # before one is answered; nothing else adds tasks
            job.calls.update(zip(numbers, calls, strict=True))
        try:
            self._add(job, inputs)
        except RequestRefused as error:
            with self._changed:
                for number in numbers:
                    del job.calls[number]
            if error.status not in (HTTPStatus.CONFLICT, HTTPStatus.NOT_FOUND):
                raise
            job.takes_no_more = True
            return False
        except CoordinatorError as error:  # whether they were added is not known before the job has ended
            job.takes_no_more = True
            job.lost = str(error)
        with self._changed:
            job.tasks += len(calls)
        if job.over is not None:
            self._give_up(job, job.over)
        return True

    def _add(self, job: _CallJob, inputs: str) -> None:
        client = ReconnectingClient(self._backend.coordinator)
        try:
            _there(client.post("jobs", job.name, "tasks", body={"inputs": inputs}))
        except ConnectionLost:  # if there are more tasks, it was done
            if not _there(client.get("jobs", job.name, "tasks", cursor=job.tasks, limit=1))["tasks"]:
                _there(client.post("jobs", job.name, "tasks", body={"inputs": inputs}))

    def _close(self, job: _CallJob | None) -> None:
        """Have a job end with the calls that it has. Where that is in vain, it is tried again before answers are asked
        for."""
        if job is not None and not job.closed:
            job.takes_no_more = True
            with suppress(CoordinatorError):
                client = ReconnectingClient(self._backend.coordinator)
                job.closed = client.post("jobs", job.name, "close", repeats=True) is not None

    # -- inside: answers -------------------------------------------------------------------------------------------

    def _take_answers(self, job: _CallJob) -> None:
        after, over = 0, False
        why = "its job has ended"
        try:
            while not over:
                if job.takes_no_more:
                    self._close(job)
                page = self._settled(job, after)
                self._store.delete([key for task in page["tasks"] for key in self._take(job, task)])
                after, over = page["next"], page["over"]
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what becomes of the calls
            why = str(error)
        with self._changed:
            job.takes_no_more = job.closed = True
            job.over = why
        self._give_up(job, why)

    def _give_up(self, job: _CallJob, why: str) -> None:
        """End the calls that a job which is over has taken; not those that are on the way to it."""
        with self._changed:
            left = [job.calls.pop(number) for number in list(job.calls) if number < job.tasks]
            self._sent -= len(left)
            self._changed.notify_all()
        for call in left:
            call.future.set_exception(CallError(f"{call.name} has no result: {job.lost or why}"))
        self._store.delete([key for call in left for key in call.keys])

    def _settled(self, job: _CallJob, after: int) -> Any:
        client = ReconnectingClient(self._backend.coordinator)
        page = client.get(
            "jobs", job.name, "settled", after=after, results=1, timeout=STEP, answer_timeout=STEP + MARGIN
        )
        return _there(page)

    def _take(self, job: _CallJob, task: dict[str, Any]) -> list[str]:
        """What has become of a call.

        :returns: the keys of the objects that it may have left.
        """
        with self._changed:
            call = job.calls.pop(task["task"], None)
            if call is None:
                return []
            self._sent -= 1
            job.results += len(task.get("result") or "") * 3 // 4
            if job.results > MAX_RESULTS:
                job.takes_no_more = True
            self._changed.notify_all()
        try:
            answer = self._store.answer(call, task)
        except BaseException as error:  # noqa: BLE001 - it is what the function has raised
            call.future.set_exception(error)
        else:
            call.future.set_result(answer)
        return call.keys


def _for_each(function: Callable[..., T]) -> Callable[[Sequence[Sequence[Any]]], list[T]]:
    """Calls a function for each of some arguments. It travels by value, as nothing imports it by its name."""

    def call_each(chunk: Sequence[Sequence[Any]]) -> list[T]:
        return [function(*arguments) for arguments in chunk]

    call_each.__qualname__ = f"map of {getattr(function, '__qualname__', type(function).__name__)}"
    return call_each


def _chained(parts: Iterator[list[T]]) -> Iterator[T]:
    for part in parts:
        yield from part


def _there(answer: Json) -> Json:
    if answer is None:
        raise CoordinatorError(f"the coordinator has been away for {COMEBACK:g} s")
    return answer

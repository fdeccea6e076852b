"""This module is the client in asyncio: waiting for a job does not hold the event loop. Each call has a thread."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextvars import copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mu_twisted.client._graph import GraphHandle
from mu_twisted.client._job_handle import JobHandle, Result

if TYPE_CHECKING:
    from mu_twisted.client.executor import CallExecutor
    from mu_twisted.statuses import JobStatus

T = TypeVar("T")


class AsyncClient:
    """Does jobs for a program on asyncio; an asynchronous context manager. ``Client.asyncio`` is one.

    :param client: a :class:`~mu_twisted.client.Client`, that does them.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As :meth:`Client.close`."""
        await _in_thread(self._client.close)

    async def map(self, *arguments: Any, **options: Any) -> "AsyncJob":
        """As :meth:`Client.map`."""
        return AsyncJob(await _in_thread(self._client.map, *arguments, **_plain(options)))

    async def run(self, *arguments: Any, **options: Any) -> "AsyncJob":
        """As :meth:`Client.run`."""
        return AsyncJob(await _in_thread(self._client.run, *arguments, **_plain(options)))

    def graph(self, *arguments: Any, **options: Any) -> "AsyncGraph":
        """As :meth:`Client.graph`: ``async with mu.graph("film") as job:``, in which maps are awaited."""
        return AsyncGraph(self._client.graph(*arguments, **options))

    async def jobs(self) -> "list[AsyncJob]":
        """As :meth:`Client.jobs`."""
        return [AsyncJob(job) for job in await _in_thread(self._client.jobs)]

    async def executor(self, *arguments: Any, **options: Any) -> "CallExecutor":
        """As :meth:`Client.executor`: for ``loop.run_in_executor``, or ``asyncio.wrap_future`` of what it submits."""
        return await _in_thread(self._client.executor, *arguments, **options)


class AsyncJob:
    """One job; see :class:`~mu_twisted.client.JobHandle`.

    :param job: that it is.
    """

    def __init__(self, job: JobHandle) -> None:
        self._job = job

    def __repr__(self) -> str:
        return f"<AsyncJob {self._job!r}>"

    @property
    def job(self) -> JobHandle:
        """The same, to be asked without awaiting."""
        return self._job

    @property
    def name(self) -> str:
        """What the commands know it by.

        :raises UsageError: it is not submitted yet.
        """
        return self._job.name

    async def status(self) -> "JobStatus":
        """Where it stands."""
        return await _in_thread(self._job.status)

    async def wait(self, timeout: float | None = None) -> "JobStatus":
        """Wait until it is over.

        :param timeout: seconds to wait at most; None: any time.
        """
        return await _in_thread(self._job.wait, timeout)

    async def results(self) -> AsyncIterator[Result]:
        """Its inputs as they end; ``output`` of each is there already."""
        results = self._job.results()

        def following() -> Result | None:
            result = next(results, None)
            if result is not None:
                _ = result.output
            return result

        while (result := await _in_thread(following)) is not None:
            yield result

    async def output(self, task: int | str) -> bytes:
        """What the programs of one task have printed."""
        return await _in_thread(self._job.output, task)

    async def cancel(self) -> "JobStatus":
        """End it, and kill what runs."""
        return await _in_thread(self._job.cancel)

    async def retry(self) -> "JobStatus":
        """Run its failed tasks again."""
        return await _in_thread(self._job.retry)


class AsyncGraph(AsyncJob):
    """A job in stages, put together in its block of ``async with``; see :class:`~mu_twisted.client.GraphHandle`.

    :param graph: that it is.
    """

    def __init__(self, graph: GraphHandle) -> None:
        super().__init__(graph)
        self._graph = graph

    @property
    def stages(self) -> tuple[AsyncJob, ...]:
        """Its stages, in the order of their maps."""
        return tuple(AsyncJob(stage) for stage in self._graph.stages)

    async def __aenter__(self) -> Self:
        self._graph.__enter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._graph.leave()
        if kind is None:
            await _in_thread(self._graph.submit)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Options as the client takes them, which knows nothing of jobs that are awaited."""
    after = options.get("after")
    if isinstance(after, AsyncJob):
        return {**options, "after": after.job}
    if isinstance(after, list | tuple):
        return {**options, "after": [one.job if isinstance(one, AsyncJob) else one for one in after]}
    return options


async def _in_thread(work: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """What a function returns that blocks. Its thread holds up no program that ends meanwhile, as a pool's would."""
    found: Future[T] = Future()

    def call() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            found.set_result(work(*arguments, **options))
        except BaseException as error:  # noqa: BLE001 - it is raised where this is awaited
            found.set_exception(error)

    # In the caller's context, which says what graph is under way.
    threading.Thread(target=copy_context().run, args=(call,), name="mu-asyncio", daemon=True).start()
    return await asyncio.wrap_future(found)

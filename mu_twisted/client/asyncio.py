"""The client in asyncio: the same jobs, whose waiting does not hold the event loop. Every call is done in a thread."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from mu_twisted.client._client import Client, connect
from mu_twisted.client._job_handle import JobHandle, Result

if TYPE_CHECKING:
    from mu_twisted.client.executor import CallExecutor
    from mu_twisted.coordinator import JobStatus

THREADS = 32
"""Calls of one client that are under way at once."""

T = TypeVar("T")


def connect_async(**options: Any) -> "AsyncClient":
    """As :func:`mu_twisted.connect`, for asyncio."""
    return AsyncClient(connect(**options))


class AsyncClient:
    """Does jobs for a program on asyncio; an asynchronous context manager.

    :param client: that does them.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._threads = ThreadPoolExecutor(THREADS, "mu-asyncio")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """As :meth:`Client.close`."""
        await self._do(self._client.close)
        self._threads.shutdown(wait=False)

    async def map(self, *arguments: Any, **options: Any) -> "AsyncJob":
        """As :meth:`Client.map`."""
        return AsyncJob(await self._do(self._client.map, *arguments, **options), self._do)

    async def run(self, *arguments: Any, **options: Any) -> "AsyncJob":
        """As :meth:`Client.run`."""
        return AsyncJob(await self._do(self._client.run, *arguments, **options), self._do)

    async def jobs(self) -> "list[AsyncJob]":
        """As :meth:`Client.jobs`."""
        return [AsyncJob(job, self._do) for job in await self._do(self._client.jobs)]

    async def executor(self, *arguments: Any, **options: Any) -> "CallExecutor":
        """As :meth:`Client.executor`: for ``loop.run_in_executor``, or ``asyncio.wrap_future`` of what it submits."""
        return await self._do(self._client.executor, *arguments, **options)

    async def _do(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: work(*arguments, **options))


class AsyncJob:
    """One job; see :class:`~mu_twisted.client.JobHandle`.

    :param job: that it is.
    :param do: calls a function in a thread.
    """

    def __init__(self, job: JobHandle, do: Callable[..., Any]) -> None:
        self._job = job
        self._do = do
        self.name = job.name

    async def status(self) -> "JobStatus":
        """Where it stands."""
        status: JobStatus = await self._do(self._job.status)
        return status

    async def wait(self, timeout: float | None = None) -> "JobStatus":
        """Wait until it is over.

        :param timeout: seconds to wait at most; None: any time.
        """
        status: JobStatus = await self._do(self._job.wait, timeout)
        return status

    async def results(self) -> AsyncIterator[Result]:
        """Its inputs as they end; ``output`` of each is there already."""
        results = self._job.results()

        def following() -> Result | None:
            result = next(results, None)
            if result is not None:
                _ = result.output
            return result

        while (result := await self._do(following)) is not None:
            yield result

    async def output(self, task: int | str) -> bytes:
        """What the programs of one task have printed."""
        output: bytes = await self._do(self._job.output, task)
        return output

    async def cancel(self) -> "JobStatus":
        """End it, and kill what runs."""
        status: JobStatus = await self._do(self._job.cancel)
        return status

    async def retry(self) -> "JobStatus":
        """Run its failed tasks again."""
        status: JobStatus = await self._do(self._job.retry)
        return status

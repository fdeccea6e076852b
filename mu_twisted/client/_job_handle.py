"""A job handle is a job as a program in Python has it: results as they come, its status, what can be done with it."""

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.client._arguments import checked
from mu_twisted.client._control import Coordinator
from mu_twisted.client._errors import UsageError
from mu_twisted.client._handover import ReconnectingClient
from mu_twisted.client._transport import CoordinatorError

if TYPE_CHECKING:
    from mu_twisted.statuses import JobStatus

STEP = 20.0
"""Seconds of one request that waits."""
MARGIN = 30.0
"""Seconds that its answer may be late."""
Named = Callable[[int], list[tuple[str, str | None]]]
"""For a task its inputs, each with where its output goes."""


@dataclass(frozen=True)
class Result:
    """How one input of a job has ended.

    :param input: as it was given; of a task without input its number.
    :param status: ``done`` or ``failed``.
    :param key: of its output, ``s3://BUCKET/KEY``; None: it has none, or this program has not made the job.
    :param attempts: tries at its task.
    :param error: what the last of them failed of; None: it is done.
    :param task: the number of its task.
    """

    input: str
    status: str
    key: str | None
    attempts: int
    error: str | None
    task: int
    _job: "JobHandle" = field(repr=False, compare=False)

    @cached_property
    def output(self) -> bytes:
        """What the programs of its task have printed, as far as that is kept: see :meth:`JobHandle.output`."""
        return self._job.output(self.task)


class JobHandle:
    """One job of a coordinator. Methods block, and raise :class:`CoordinatorError` with one line.

    :param name: as the commands know it; None: it is not submitted yet.
    :param named: what the inputs of its tasks are called; None: as the coordinator says.
    """

    def __init__(self, coordinator: Coordinator, name: str | None, named: Named | None = None) -> None:
        self._coordinator = coordinator
        self._name = name
        self._named = named

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name or 'not submitted'}>"

    @property
    def name(self) -> str:
        """What the commands know it by.

        :raises UsageError: it is not submitted yet.
        """
        if self._name is None:
            raise UsageError("the job is submitted at the end of the block of `with mu.graph(...)`: ask behind it")
        return self._name

    def status(self) -> "JobStatus":
        """Where it stands: ``state``, ``tasks``, ``done``, ``failed``, ``error`` and more."""
        return job_status(self._coordinator.get("jobs", self.name))

    @checked
    def wait(self, timeout: float | None = None) -> "JobStatus":
        """Wait until it is over; a job with failed tasks raises nothing.

        :param timeout: seconds to wait at most; None: any time.
        :raises TimeoutError: it is not over by then. It goes on.
        """
        timeout = None if timeout is None else float(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        found = self._coordinator.get("jobs", self.name)
        while found["state"] == "running":
            try:
                step = self._step(until)
            except TimeoutError:
                raise TimeoutError(f"job {self.name} is not over after {timeout:g} s; it goes on") from None
            found = self._ask("wait", step)
        return job_status(found)

    def results(self) -> Iterator[Result]:
        """Its inputs as they end, each once; those of a task that is retried after it had failed come again.

        The iteration ends with the job. One that is left early costs nothing, and another begins with the first.
        """
        for tasks in self._settled():
            for task in tasks:
                yield from self._results(task)

    @checked
    def output(self, task: int | str, *, attempt: int | None = None) -> bytes:
        """What the programs of one task have printed, of each run the last 64 KiB; see ``mu output``.

        :param task: its number, or what its input is called.
        :param attempt: at it, from 0; None: the one that has ended well, else the last.
        :raises CoordinatorError: there is no such task, or what was kept had to make room for others.
        """
        query: JsonObject = {"task": task} if isinstance(task, int) else {"called": task}
        if attempt is not None:
            query["which"] = attempt
        found = []
        for page in self._coordinator.pages("jobs", self.name, "output", cursor="after", **query):
            for run in page["runs"]:
                if run["output"] is None:
                    raise CoordinatorError(
                        f"what task {run['task']} of job {self.name} printed had to make room for others: "
                        f"{run['size']} bytes"
                    )
                found.append(base64.b64decode(run["output"]))
        return b"".join(found)

    def cancel(self) -> "JobStatus":
        """End it, and kill what runs; a job that is over stays as it is."""
        return job_status(self._coordinator.post("jobs", self.name, "cancel"))

    def retry(self) -> "JobStatus":
        """Run its failed tasks again.

        :raises CoordinatorError: it is still running, or no task has failed.
        """
        return job_status(self._coordinator.post("jobs", self.name, "retry"))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _settled(self, until: float | None = None) -> Iterator[list[Mapping[str, Any]]]:
        """The tasks as they are done or have failed, some at a time, until the job is over.

        :param until: seconds of the monotonic clock at which to give up.
        :raises TimeoutError: it is not over by then.
        """
        after = 0
        while True:
            # Those that are there, also where they are on record only; then one request that waits for the next.
            pages = self._coordinator.pages("jobs", self.name, "settled", cursor="after", after=after, timeout=0)
            for page in pages:
                yield page["tasks"]
                before, after = after, page["next"]
                if page["over"]:
                    return
                if after == before:  # a page of tasks that were all retried is empty, too
                    break
            page = self._ask("settled", self._step(until), after=after)
            yield page["tasks"]
            after = page["next"]
            if page["over"]:
                return

    def _step(self, until: float | None) -> float:
        """Seconds that the next request may wait.

        :raises TimeoutError: there are none left.
        """
        step = STEP if until is None else min(STEP, until - time.monotonic())
        if step <= 0:
            raise TimeoutError
        return step

    def _ask(self, what: str, step: float, **query: Any) -> Any:
        """A request that waits, also for a coordinator that is being restarted."""
        found = ReconnectingClient(self._coordinator).get(
            "jobs", self.name, what, answer_timeout=step + MARGIN, timeout=step, **query
        )
        if found is None:  # as it has left it, if it has
            found = self._coordinator.get("jobs", self.name, what, timeout=0, **query)
        return found

    def _results(self, task: Mapping[str, Json]) -> Iterator[Result]:
        number = task["task"]
        named = self._named(number) if self._named is not None else [(task.get("label") or str(number), None)]
        error = task.get("error") if task["state"] == "failed" else None
        for called, key in named:
            yield Result(called, task["state"], key, task["attempts"], error, number, self)


def job_status(plain: Json) -> "JobStatus":
    """A status that the coordinator has answered with."""
    import msgspec

    from mu_twisted.statuses import JobStatus

    return msgspec.convert(plain, JobStatus)

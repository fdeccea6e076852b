"""A one-shot coordinator's one job is submitted, watched and reported here."""

import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mu_twisted.base import MuError, unicode_only
from mu_twisted.base.json_types import Json
from mu_twisted.coordinator import Jobs, Progress
from mu_twisted.daemons import _terminal
from mu_twisted.daemons._log import console, print_line
from mu_twisted.pipelines import PipelineError
from mu_twisted.statuses import JobStatus, TaskStatus, failures_of
from mu_twisted.wording import FailedTask, failure_lines, output_hint


@dataclass(frozen=True)
class ResultPrinter:
    """Prints what tasks have stored on standard output; all else about the job goes to standard error.

    :param print_all: given the job's status as JSON holds it, prints until the job is over; called in a thread, asks
        the control API as other processes do, and says what went wrong, if anything did.
    :param where: the place of results that are not printed.
    """

    print_all: Callable[[Json], str | None]
    where: str


TeePrinter = Callable[[Json, Callable[[str], None]], None]
"""Given the job's status as JSON holds it and what prints a line, prints what programs print until the job is over; as
:class:`ResultPrinter` does it, in a thread and over the control API."""
LAST = 10.0
"""Seconds that the last lines of a job's programs may take once it is over."""


class OneShot:
    """Runs one job of a coordinator.

    :param reactor: Twisted's.
    :param jobs: the coordinator's.
    :param begin: submits the job, or sets one on record going again.
    :param recorded: whether the job's record stays.
    :param as_json: whether its end is printed as JSON.
    :param printer: prints its results, if it is not None.
    :param tee: prints what its programs print while they run, if it is not None.
    :ivar misused: whether the job was refused as what was asked for makes no sense, as the control API has it.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        jobs: Jobs,
        begin: Callable[[], Awaitable[JobStatus]],
        *,
        recorded: bool = False,
        as_json: bool = False,
        printer: ResultPrinter | None = None,
        tee: TeePrinter | None = None,
    ) -> None:
        self._reactor = reactor
        self._jobs = jobs
        self._submit = begin
        self._recorded = recorded
        self._as_json = as_json
        self._printer = printer
        self._tee = tee
        self._name: str | None = None
        self.misused = False

    async def run(self) -> str | None:
        """Do the job.

        :returns: None if every task is done, else what went wrong, for the user.
        """
        try:
            status = await self._submit()
        except MuError as error:
            self.misused = error.misuse or isinstance(error, PipelineError)
            return str(error)
        name = self._name = status.job
        started = time.monotonic()
        progress = Progress(console, self._reactor, lambda: self._jobs.job(name))
        shown = unicode_only(msgspec.to_builtins(status))
        printed = None if self._printer is None else self._in_thread(partial(self._printer.print_all, shown))
        teed = None if self._tee is None else self._in_thread(partial(self._tee, shown, print_line))
        if printed is None:  # the printer shows its own between results
            progress.start()
        try:
            status = await self._jobs.wait(name)
            # Of an interrupted job the control API is closed, which is asked.
            if teed is not None and status.state != "interrupted":
                await teed.addTimeout(LAST, self._reactor, lambda *_: None)
        finally:
            progress.stop()
        seconds = time.monotonic() - started
        # Of an interrupted job no result is waited for: the control API, which the printer asks, is closed.
        fault = None if printed is None or status.state == "interrupted" else await printed
        self._report(status, await self._jobs.observation.failed_tasks(name) if status.failed else [], seconds)
        if status.state == "interrupted" and self._recorded:
            where = "" if self._printer is None else f"; results come to {self._printer.where}"
            return f"interrupted; its record is kept: `mu retry {name}` does what is left{where}"
        return status.error or fault

    def abort(self) -> None:
        """End the job where it stands; ``run`` then returns."""
        if self._name is not None:
            self._jobs.interrupt(self._name)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _in_thread(self, print_all: Callable[[], str | None]) -> Deferred[str | None]:
        ended: Deferred[str | None] = Deferred()

        def work() -> None:
            try:
                fault = print_all()
            except Exception as error:  # noqa: BLE001 - else the process would wait for the thread for ever
                fault = f"results cannot be printed: {error}"
            self._reactor.callFromThread(lambda: None if ended.called else ended.callback(fault))

        # No thread of the pool: one that is stuck in a write to a pipe may not keep the process.
        threading.Thread(target=work, daemon=True).start()
        return ended

    def _report(self, status: JobStatus, tasks: Sequence[TaskStatus], seconds: float) -> None:
        failed = [
            FailedTask(each.task, each.attempts, each.error or "", each.label) for each in failures_of(status, tasks)
        ]
        hint = output_hint(status.job, failed) if self._recorded else None
        for line in (*failure_lines(failed), *([hint] if hint is not None else [])):
            console.print(line, markup=False, soft_wrap=True)
        if self._as_json:
            self._print(msgspec.json.encode(unicode_only(msgspec.to_builtins(status))).decode())
            return
        if status.report:
            self._print(status.report)
        skipped = f", {status.skipped} skipped as their output is there" if status.skipped else ""
        self._print(f"{status.job}: {status.done} of {status.tasks} tasks done in {seconds:.1f} s{skipped}")

    def _print(self, text: str) -> None:
        # The job is as it is, and so is its status: what it stored is not on standard output.
        if self._printer is not None:
            _terminal.err.say(text)
        elif not _terminal.out.say(text):
            self.log.warn("standard output takes nothing: {fault}", fault=_terminal.out.fault)

"""Checkpoints say how jobs that run stand, for questions after a kill; they are written beside all else.

Knows when a job's is written, and neither what stands in it nor where.
"""

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import SchedulerStopped
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._slices import Slices


class Checkpoints:
    """Those of all jobs, one of each at a time.

    :param slices: do the work.
    :param writing: the work of one, of the job of this name as it stands then.
    """

    _log = Logger()

    def __init__(self, slices: Slices, writing: Callable[[str], Steps[None]]) -> None:
        self._slices = slices
        self._writing = writing
        self._begun: dict[str, Deferred[None]] = {}

    def write(self, job: str) -> None:
        """Write a job's, unless that is being done."""
        if job in self._begun:
            return
        writing = self._begun[job] = self._slices.run(self._writing(job))

        def written(failure: Failure | None) -> None:
            self._begun.pop(job, None)
            if failure is not None and not isinstance(failure.value, CancelledError | SchedulerStopped):
                self._log.failure("how job {job} stands is not kept", failure, job=job)

        writing.addBoth(written)

    def cancel(self, job: str) -> None:
        """The job does not run any more: what is half written goes."""
        writing = self._begun.get(job)
        if writing is not None:
            writing.cancel()

    def stop(self) -> None:
        """No job runs any more."""
        for job in list(self._begun):
            self.cancel(job)

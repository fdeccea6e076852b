"""The interfaces of a job's run say what it needs around it: where workers come from, and where records go."""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from mu_twisted.jobs import JobRecord, LaunchId, LaunchOutcome


class Launching(Protocol):
    """Where a job's workers come from."""

    def start(self, launch_ids: Sequence[LaunchId], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        """Ask for one worker for each launch id and report each outcome once, in the reactor's thread.

        Fails if none can be launched at all.
        """

    def stop(self) -> None:
        """Give up launches that have not been sent."""

    def use_larger(self) -> None:
        """Launch the job's larger function from now on; asked for only where it has one."""

    def note(self) -> str | None:
        """What the job's user should know of its launches, e.g. that Lambda throttles; None: nothing."""

    def diagnose(self) -> Coroutine[Any, Any, str]:
        """Find out why no worker came; the text becomes the job's error."""


class Recorder(Protocol):
    """Where a job's records go."""

    def record(self, records: Sequence[JobRecord]) -> None:
        """Take records that are to be durable with the next :meth:`flush`."""

    def flush(self) -> None:
        """Make them so, as far as the disk lets."""

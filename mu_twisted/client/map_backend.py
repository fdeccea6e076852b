"""A job of ``mu map`` runs on what is chosen here: a coordinator, and the Lambda and S3 that its workers use.

It knows nothing of inputs or commands.
"""

from collections.abc import Callable
from pathlib import Path

from mu_twisted.aws import Clients
from mu_twisted.base.json_types import Json
from mu_twisted.client._control import Coordinator
from mu_twisted.client._transport import CoordinatorError, NotServed, UnixTransport
from mu_twisted.client.cloud import OperatorCloud, embedded_cloud, ensure_stack, named_cloud, stack_of
from mu_twisted.client.map_request import MapPlace


class MapBackend:
    """The coordinator that is asked, and Lambda and S3, which are opened when they are first needed.

    :param coordinator: that is asked.
    :param place: where the job is to run.
    :param notify: takes one line for the user, such as that the embedded stack was started.
    """

    def __init__(self, coordinator: Coordinator, place: MapPlace, notify: Callable[[str], object]) -> None:
        self.coordinator = coordinator
        self.place = place
        self.notify = notify
        self._cloud: OperatorCloud | None = None
        self.here = isinstance(coordinator.transport, UnixTransport)
        """Whether the coordinator is one of this machine."""
        self.found: Json = None
        """What the coordinator says of itself; None: none runs, or none was asked."""

    @property
    def local(self) -> bool:
        """Whether Lambda and S3 are the embedded ones."""
        return self.place.local

    def find_coordinator(self, *, must_run: bool = False) -> None:
        """Ask the coordinator what it is, if one runs.

        :raises NotServed: none runs, and one ``must_run``.
        :raises MuError: it cannot take this job.
        """
        try:
            found = self.coordinator.get("daemon")
        except NotServed:
            if must_run:
                raise
            return
        self.check(found)

    def check(self, found: Json) -> None:
        """See that a coordinator can take this job.

        :param found: what it says of itself.
        :raises CoordinatorError: it cannot.
        """
        from mu_twisted.daemons.run import mismatch

        self.found = found
        why = mismatch({"local": self.local}, found) if self.here else None
        if why is not None:
            raise CoordinatorError(why)

    def stack(self) -> Path | None:
        """The directory of the embedded stack; None: the default one, or the job uses none."""
        if not self.local or not self.here:
            return None
        place = self.place
        in_state = place.state_dir / "local" if place.state_dir is not None else None
        return stack_of(place.local_state_dir or in_state, self.found)

    def cloud(self) -> OperatorCloud:
        """Lambda and S3; the embedded stack runs then.

        :raises MuError: it does not start, or an address is none.
        """
        if self._cloud is None:
            directory = self.stack()
            if directory is not None:
                self._cloud = embedded_cloud(
                    ensure_stack(directory, self.notify), directory, s3_url=self.place.s3_endpoint_url
                )
            else:
                self._cloud = named_cloud(None, self.place.s3_endpoint_url)
        return self._cloud

    def clients(self, regions: str | None) -> Clients:
        """Clients of the job's first region.

        :param regions: the job's, separated by commas; None: the default one.
        :raises MuError: as :meth:`cloud`, or there is no such region.
        """
        return self.cloud().clients((regions or "us-east-1").split(",")[0].strip())

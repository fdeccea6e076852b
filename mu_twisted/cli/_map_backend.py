"""A job of ``mu map`` runs on what is chosen here: a coordinator, and the Lambda and S3 that its workers use.

It knows nothing of inputs or commands.
"""

import argparse
from pathlib import Path
from typing import Any

from mu_twisted.aws import Clients
from mu_twisted.cli import _client_options
from mu_twisted.cli._cloud import OperatorCloud, ensure_stack, open_cloud
from mu_twisted.cli._run import stack_of
from mu_twisted.client import Coordinator, CoordinatorError, NotServed, UnixTransport


class MapBackend:
    """The coordinator that is asked, and Lambda and S3, which are opened when they are first needed.

    :param options: those of ``mu map``.
    :raises mu_twisted.cli._errors.UsageError: they name two coordinators.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._cloud: OperatorCloud | None = None
        self.coordinator: Coordinator = _client_options.coordinator(options)
        self.here = isinstance(self.coordinator.transport, UnixTransport)
        """Whether the coordinator is one of this machine."""
        self.local = bool(options.local)
        """Whether Lambda and S3 are the embedded ones."""
        self.found: Any = None
        """What the coordinator says of itself; None: none runs, or none was asked."""

    def find_coordinator(self) -> None:
        """Ask the coordinator what it is, if one runs.

        :raises MuError: it cannot take this job.
        """
        if self._options.dry_run and not self.here:
            return
        try:
            self.found = self.coordinator.get("daemon")
        except NotServed as error:
            if self._options.no_wait and not self._options.dry_run:
                raise NotServed(f"--no-wait leaves the job to a coordinator, and {error}") from None
            return
        self.check(self.found)

    def check(self, found: Any) -> None:
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
        options = self._options
        in_state = options.state_dir / "local" if options.state_dir is not None else None
        return stack_of(options.local_state_dir or in_state, self.found)

    def cloud(self) -> OperatorCloud:
        """Lambda and S3; the embedded stack runs then.

        :raises MuError: it does not start, or an address is none.
        """
        if self._cloud is None:
            stack = self.stack()
            if stack is not None:
                ensure_stack(stack)
            options = argparse.Namespace(**{**vars(self._options), "state_dir": stack, "endpoint_url": None})
            self._cloud = open_cloud(options)
        return self._cloud

    def clients(self) -> Clients:
        """Clients of the job's first region.

        :raises MuError: as :meth:`cloud`, or there is no such region.
        """
        regions = vars(self._options)["job regions"]
        return self.cloud().clients((regions or "us-east-1").split(",")[0].strip())

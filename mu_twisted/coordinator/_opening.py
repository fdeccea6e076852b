"""An opener provides what a job needs from outside: the daemon's does, which knows pipelines, Lambda and S3."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mu_twisted.coordinator._interfaces import Launching
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Usage
from mu_twisted.coordinator._peers import JobLinks, Peers
from mu_twisted.coordinator._status import Request
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions
from mu_twisted.statuses import Cost


@dataclass(frozen=True)
class Opened:
    """What the run of a job needs from outside.

    :param launching: where its workers come from.
    :param peers: how its tasks reach their peers; with the ``links`` to their rendezvous.
    :param skipped: tasks that need not run, as their output is there.
    :param cost: prices what the job has used; None: it is not known.
    :param tokens: recognise workers that come back; None: their launch id alone does.
    """

    launching: Launching
    peers: Peers | None = None
    links: JobLinks | None = None
    skipped: frozenset[int] = field(default_factory=frozenset)
    cost: Callable[[Usage], Cost] | None = None
    tokens: LaunchTokens | None = None


class Opener(Protocol):
    """What knows pipelines, Lambda, S3 and the rendezvous."""

    def parse(self, request: Request) -> tuple[Pipeline, PipelineOptions]:
        """The pipeline and its settings.

        :raises MuError: there is no such pipeline, or its options are wrong; one line.
        """

    async def open(
        self,
        name: str,
        pipeline: Pipeline,
        settings: JobSettings,
        edges: Mapping[int, Sequence[int]],
    ) -> Opened:
        """Look at all that can be missing before anything is launched.

        :param edges: for tasks that take messages, those that send them.
        :raises MuError: what is missing, on one line.
        """

    def reopen(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        """The same for a job that goes on after a restart: nothing is looked at before it is needed.

        :param edges: as for :meth:`open`, without the tasks that were skipped then.
        """

    def policy(self, settings: JobSettings) -> JobPolicy:
        """How hard the job tries.

        :raises MuError: the options make no sense together.
        """

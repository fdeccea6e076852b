"""One job's run with its registry and sessions, workers in memory, and a clock that stands still."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from worker_double import WorkerDouble, launch_identity

from mu_twisted.base import MuError
from mu_twisted.coordinator import (
    Attempts,
    JobRun,
    LaunchTokens,
    Peers,
    WorkerRegistry,
)
from mu_twisted.coordinator._meter import Meter
from mu_twisted.fsm import CommandListState, TerminalState
from mu_twisted.jobs import Job, JobPolicy, JobRecord, LaunchOutcome
from mu_twisted.pipelines import PeerOptions, Pipeline
from mu_twisted.tls import Identity


class Echo(CommandListState):
    """One echo, one end."""

    commandlist = [("OK:HELLO", "echo:hi"), ("OK:ECHO(hi)", None)]
    nextState = TerminalState


class Bench:
    """A registry with one job in it, and where its workers come from."""

    def __init__(
        self,
        tasks: int = 2,
        first: Any = Echo,
        *,
        shared_key: bool = False,
        cannot_launch: MuError | None = None,
        attempts: Attempts | None = None,
        peers: Peers | None = None,
        tokens: LaunchTokens | None = None,
        consumes: Any = None,
        messages: Any = None,
        edges: Mapping[int, Sequence[int]] | None = None,
        pipes: Sequence[tuple[int, int, str]] = (),
        **policy: Any,
    ) -> None:
        self.cannot_launch = cannot_launch
        self.clock = Clock()
        self.registry = WorkerRegistry(self.clock, shared_key=shared_key)
        self.registry.open()
        self.launched: list[str] = []
        self.stopped = 0
        self.meter = Meter()
        self.diagnoses = 0
        self.kept: list[JobRecord] = []
        self.durable: list[JobRecord] = []
        tries = {"retries": 0, "start_timeout": 5.0, "start_retries": 0} | policy
        self.run = JobRun(
            self.clock,
            Job("j", range(tasks), JobPolicy(**tries), messages=edges, pipes=pipes),
            Pipeline(name="p", summary="", first=first, options=PeerOptions, consumes=consumes, messages=messages),
            {"function": "fn", "tasks": tasks},
            launching=self,
            recorder=self,
            attempts=attempts or Attempts(self.clock),
            peers=peers,
            tokens=tokens,
            meter=self.meter,
        )
        self.finished: list[None] = []
        self.run.finished().addCallback(self.finished.append)
        self.registry.add(self.run)
        self.run.start()
        self.turn()

    def turn(self) -> None:
        self.clock.advance(0)

    def start(self, launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        assert self.durable == self.kept
        if self.cannot_launch is not None:
            raise self.cannot_launch
        self.launched += launch_ids
        for launch_id in launch_ids:
            on_outcome(LaunchOutcome(launch_id, True, 202, ""))
        return succeed(None)

    def stop(self) -> None:
        self.stopped += 1

    def use_larger(self) -> None:
        raise AssertionError("the job has no larger function")

    def note(self) -> None:
        return None

    async def diagnose(self) -> str:
        self.diagnoses += 1
        return "no worker reached us: ImportError"

    def record(self, records: Sequence[JobRecord]) -> None:
        self.kept += records

    def flush(self) -> None:
        self.durable = list(self.kept)

    def worker(self, identity: Identity | None = None) -> WorkerDouble:
        return WorkerDouble(self.registry.new_session(), identity or launch_identity(), self.turn)

    def stranger(self) -> WorkerDouble:
        return WorkerDouble(self.registry.new_session(), None, self.turn)

"""The coordinator's service puts together state directory, keys, journal, listener, jobs, and the control API.

With a pipeline it runs one job and ends with it; else it goes on with what its journal holds and waits for more.
Whatever can go wrong at the start goes wrong in startService, so that it is one line and exit status 1.
"""

import cProfile
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.base import MuError
from mu_twisted.coordinator import Jobs, Journal, Request, Suspects, Traces, WorkerRegistry
from mu_twisted.daemons import _exit, _terminal
from mu_twisted.daemons._control_service import ControlService
from mu_twisted.daemons._keys import COORDINATOR, Keys, daemon_keys, has_authority
from mu_twisted.daemons._limits import (
    SPARE_DESCRIPTORS,
    ControlLimits,
    control_limits,
    raise_descriptor_limit,
    worker_limit,
)
from mu_twisted.daemons._loop_lag import LoopLag
from mu_twisted.daemons._notify import Notifier
from mu_twisted.daemons._opener import CloudOpener
from mu_twisted.daemons._options import DASHBOARD_OFF, local_stack, typed_options
from mu_twisted.daemons._permissions import warn_of_exposed_files
from mu_twisted.daemons._start import (
    InputEnd,
    close_in_turn,
    freeze_modules,
    listen_as_before,
    listen_at_once,
    open_profile,
    use_monotonic_clock,
    write_profile,
)
from mu_twisted.daemons._state_dir import StateDirectory, default_state_dir, socket_path
from mu_twisted.daemons._threads import abandonable
from mu_twisted.daemons.one_shot import OneShot, ResultPrinter, TeePrinter
from mu_twisted.local import default_state_dir as local_stack_dir
from mu_twisted.pipelines import Pipeline, PipelineOptions, guard, last_end
from mu_twisted.statuses import UNSERVED, JobStatus
from mu_twisted.tls import Authority, KeyPair, server_contexts
from mu_twisted.transport import (
    FrameFactory,
    ListeningPort,
    Transport,
    choose_transport,
    every,
    io_descriptors,
    io_threads,
    listen,
)
from mu_twisted.web import ControlError, ControlListeners, Dashboard, open_control, open_dashboard, parse_address
from mu_twisted.wire import MAX_REPLY

if TYPE_CHECKING:
    from mu_twisted.daemons._otlp import OtlpCollector

DAY = 86_400.0
_OF_THE_PROCESS = (
    *("state-dir", "debug", "cpu-profile", "control", "control-group", "keep", "hold-all", "io-threads"),
    *("dashboard", "otlp"),
)
"""Options that are no part of how a job is run."""
HANDED_OVER = 1.0
"""Seconds that callers that wait for a job have to be answered at its end, before a one-shot coordinator ends."""
REPORTING = 5.0
"""Seconds in which the end of a job that is interrupted is reported."""
TRACES = "traces.json"
"""In the state directory, how far the delivery of traces has come."""
FORGET = 3600.0
"""Seconds between two looks for records that need not be kept any longer."""


class CoordinatorService(Service):
    """Listens for workers and runs jobs; with a pipeline, one job of it, and stops the reactor then.

    :param reactor: Twisted's.
    :param options: the daemon options, a mapping.
    :param pipeline: the one job's pipeline; None for a daemon that waits.
    :param settings: the job's options, and ``request`` how they were asked for.
    :param retried: jobs on record whose failed tasks are to be run again, in place of a pipeline's.
    :param recorded: whether the one job has its record in the state directory, and the control API is served meanwhile;
        jobs that come by it are run to their ends, too.
    :param as_json: whether the one job's end is printed as JSON.
    :param printer: prints its results, if it is not None.
    :param tee: prints what its programs print while they run, if it is not None.
    :param state: the state directory, where this process holds it already; else it is taken at the start.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        options: Mapping[str, Any],
        *,
        pipeline: Pipeline | None = None,
        settings: PipelineOptions | None = None,
        request: Request | None = None,
        retried: Sequence[str] = (),
        recorded: bool = False,
        as_json: bool = False,
        printer: ResultPrinter | None = None,
        tee: TeePrinter | None = None,
        state: StateDirectory | None = None,
        stop_on_eof: bool = False,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._request = request
        self._retried = retried
        self._recorded = recorded
        self._as_json = as_json
        self._printer = printer
        self._stop_on_eof = stop_on_eof
        self._tee = tee
        self._registry = WorkerRegistry(reactor, shared_key=bool(options["share-key"]))
        self._port: ListeningPort | None = None
        self._transport = Transport.TWISTED
        self._state = state
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._journal: Journal | None = None
        self._opener: CloudOpener | None = None
        self._jobs: Jobs | None = None
        self._control: ControlListeners | None = None
        self._dashboard: Dashboard | None = None
        self._collector: OtlpCollector | None = None
        self._traces: Traces | None = None
        self._one_shot: OneShot | None = None
        self._restored: Deferred[None] | None = None
        self._reported: Deferred[None] | None = None
        self._profile: cProfile.Profile | None = None
        self._notifier = Notifier(reactor)
        self._loop_lag = LoopLag(reactor)
        self._forgetting = every(reactor, FORGET, self._forget)

    def startService(self) -> None:
        """Open everything, or exit with one line."""
        super().startService()  # type: ignore[no-untyped-call]
        freeze_modules()
        use_monotonic_clock(self._reactor)
        abandonable(self._reactor.getThreadPool())
        try:
            jobs = self._open()
            if not self._runs_once:
                self._serve(jobs)
            elif self._recorded:
                self._restored = jobs.restore()
                if self._options["keep"] is not None:
                    self._forgetting.start(now=True)
        except MuError as error:
            self._close_state()
            _exit.fail_start(error)
        if self._runs_once:
            _exit.set_status(_exit.FAILURE)
            self._reactor.callWhenRunning(self._run_jobs, jobs)

    def stopService(self) -> Deferred[None]:
        """Tell the workers to quit, close everything and write the profile."""
        super().stopService()  # type: ignore[no-untyped-call]
        closing = Deferred.fromCoroutine(self._close())
        return closing.addErrback(lambda failure: self.log.failure("closing failed", failure))

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _runs_once(self) -> bool:
        """Whether it ends with what was asked for on the command line."""
        return self._pipeline is not None or bool(self._retried)

    def _open(self) -> Jobs:
        self._open_collector()
        descriptors = raise_descriptor_limit()
        callers = control_limits(descriptors)
        descriptors -= callers.reserve
        self._transport = choose_transport(os.environ)
        if self._transport is Transport.CORE:
            descriptors -= max(0, io_descriptors(io_threads(self._options["io-threads"])) - SPARE_DESCRIPTORS // 4)
        workers = worker_limit(self._options["worker-limit"], descriptors)
        self._state = state = self._state or StateDirectory(self._state_path())
        keys = daemon_keys(self._options, self._key_directory(state.path), COORDINATOR)
        if keys.shared and not keys.rsa:
            self.log.warn(
                "the key that all workers are given is no RSA key: the original's workers do not come with it; "
                "`mu genkeys --rsa DIR` makes one"
            )
        warn_of_exposed_files(self._options, state.path)
        if self._options["cpu-profile"]:
            self._profile = open_profile(Path(self._options["cpu-profile"]))
        self._journal = Journal(state.path / "journal.db", self._reactor, self._journal_failed)
        self._port = self._listen(keys, state.path, max(1, descriptors - SPARE_DESCRIPTORS))
        self._registry.open()
        port = self._port.getHost().port
        local_state = local_stack(self._options)
        self._opener = CloudOpener(
            self._reactor,
            self._options,
            keys,
            port=port,
            local_state=local_state,
            descriptors=descriptors,
        )
        suspects = Suspects(state.path / "suspects.json")
        suspects.count(last_end(state.path))
        guard.watch(state.path, self._options["user-code-limit"], self._options["freeze-limit"])
        self._jobs = jobs = Jobs(
            self._reactor,
            wall=time.time,
            journal=self._journal,
            registry=self._registry,
            opener=self._opener,
            directory=state.path / "jobs",
            workers=workers,
            suspects=suspects,
            hold_all=bool(self._options["hold-all"]),
            held_because=UNSERVED if self._runs_once else None,
            daemon=typed_options(self._options, _OF_THE_PROCESS),
        )
        self._open_traces(jobs, self._journal, state.path / TRACES)
        if self._recorded or not self._runs_once:
            stack = str(local_state or local_stack_dir(os.environ)) if self._options["local"] else None
            self._loop_lag.start()
            service = ControlService(
                jobs,
                self._registry,
                port=port,
                launch_rate=self._opener.launch_rate,
                local=stack,
                transport=self._transport,
                loop_lag=self._loop_lag.seconds,
                dashboard=lambda: None if self._dashboard is None else self._dashboard.url,
                spans=None if self._traces is None else self._traces.counts,
            )
            self._open_control(service, keys, state.path, callers)
            self._open_dashboard(service, keys, state.path, callers)
        return jobs

    def _serve(self, jobs: Jobs) -> None:
        jobs.restore()
        if self._options["keep"] is not None:
            self._forgetting.start(now=True)
        if self._options["local"] and self._opener is not None:
            # Begun now, so that it runs when the first job comes.
            Deferred.fromCoroutine(self._opener.cloud()).addErrback(self._no_cloud)
        port = self._port.getHost().port if self._port is not None else 0
        self._reactor.callWhenRunning(self._ready, port)

        if self._stop_on_eof:
            self._reactor.addReader(InputEnd(self._reactor, self._no_user))

    def _no_user(self) -> None:
        """The program that has started this coordinator for itself is gone, or needs it no more."""
        Deferred.fromCoroutine(self._until_idle()).addErrback(self._broken)

    async def _until_idle(self) -> None:
        while self._jobs is not None and self._jobs.busy and self.running:
            await deferLater(self._reactor, HANDED_OVER, lambda: None)
        self._end(None)

    def _ready(self, port: int) -> None:
        """The reactor runs. Notified only now: a SIGTERM before finds nothing yet that ends in good order."""
        self.log.info("ready for workers on port {port}", port=port)
        self._notifier.ready(f"ready for workers on port {port}")

    def _open_control(self, service: ControlService, keys: Keys, directory: Path, limits: ControlLimits) -> None:
        self._control = open_control(
            self._reactor,
            service,
            socket_path=socket_path(directory, self._options["state-dir"]),
            group=self._options["control-group"],
            endpoint=self._options["control"],
            contexts=server_contexts(keys.own, keys.ca),
            max_connections=limits.connections,
            max_unadmitted=limits.unadmitted,
            new_address=lambda: None if self._dashboard is None else self._dashboard.new_address(),
        )
        if self._control.port is not None:
            self.log.info("ready for operators on port {port}", port=self._control.port)

    def _open_dashboard(self, service: ControlService, keys: Keys, directory: Path, limits: ControlLimits) -> None:
        """Open the dashboard that was asked for; without being asked, that of one job, which goes on without it too."""
        text = self._options["dashboard"]
        if text == DASHBOARD_OFF or (text is None and not self._runs_once):
            return
        authority = keys.authority
        address = parse_address(text or "0")
        try:
            self._dashboard = open_dashboard(
                self._reactor,
                service,
                address,
                sessions_path=directory / "dashboard.json",
                wall=time.time,
                issue=None if authority is None else partial(_browser_pair, authority),
                max_connections=limits.connections,
            )
        except ControlError as error:
            if text is not None:
                raise
            self.log.warn("{error}", error=str(error))
            return
        self.log.info(
            "the dashboard is at {url}{where}: `mu dashboard` prints an address that opens it",
            url=self._dashboard.url,
            where="" if address.interface else ", on all addresses of this machine",
        )
        if self._runs_once and not self._as_json and _terminal.err.isatty():
            # To the terminal alone, and not by the log: it opens the page once.
            _terminal.err.say(f"dashboard: {self._dashboard.new_address()}")

    def _open_collector(self) -> None:
        if self._options["otlp"] is not None:
            from mu_twisted.daemons._otlp import OtlpCollector  # an HTTP client, which few need

            self._collector = OtlpCollector(self._reactor, self._options["otlp"], os.environ)

    def _open_traces(self, jobs: Jobs, journal: Journal, path: Path) -> None:
        if self._collector is None:
            path.unlink(missing_ok=True)  # where they are asked for again, they begin anew
            return
        self._traces = Traces(self._reactor, journal, self._collector, path, jobs.labels, jobs.attempt_file)
        self._traces.start()

    def _state_path(self) -> Path:
        given = self._options["state-dir"]
        if given is not None:
            return Path(given)
        if self._recorded or not self._runs_once:
            return default_state_dir()
        self._private = tempfile.TemporaryDirectory(prefix="mu-coordinator-")
        return Path(self._private.name)

    def _key_directory(self, state: Path) -> Path:
        """The state directory whose CA counts: a private one's is unknown to every rendezvous.

        So a job whose tasks exchange messages takes the CA of the usual one, where a rendezvous has made it.
        """
        usual = default_state_dir()
        talks = self._private is not None and self._pipeline is not None and self._pipeline.talks
        return usual if talks and has_authority(usual) else state

    def _listen(self, keys: Keys, directory: Path, connections: int) -> ListeningPort:
        factory = FrameFactory(
            self._registry.new_session,
            clock=self._reactor,
            max_frame=MAX_REPLY,
            max_connections=connections,
            failed_handshakes=self._registry.counters.failed_handshakes,
        )
        contexts = server_contexts(keys.own, keys.ca)
        threads = io_threads(self._options["io-threads"]) if self._transport is Transport.CORE else None

        def listening(endpoint: IStreamServerEndpoint) -> Deferred[ListeningPort]:
            return listen(endpoint, contexts, factory, self._reactor, io_threads=threads)

        if self._runs_once:
            return listen_at_once(self._reactor, self._options, listening)
        return listen_as_before(self._reactor, self._options, listening, directory)

    def _journal_failed(self, fault: str) -> None:
        self.log.error("{fault}: no new job is taken until it can", fault=fault)

    def _no_cloud(self, failure: Failure) -> None:
        self.log.error("{error}", error=failure.getErrorMessage())

    def _forget(self) -> Deferred[None] | None:
        return self._jobs.forget_old(time.time() - self._options["keep"] * DAY) if self._jobs is not None else None

    def _run_jobs(self, jobs: Jobs) -> None:
        self._reported = Deferred()
        Deferred.fromCoroutine(self._run(jobs)).addErrback(self._broken)

    async def _run(self, jobs: Jobs) -> None:
        ended = [await self._run_job(jobs, begin) for begin in await self._asked_for(jobs)]
        errors = [error for error in ended if error is not None]
        if not errors:
            _exit.set_status(_exit.SUCCESS)
        elif self._one_shot is not None and self._one_shot.misused:
            _exit.set_status(_exit.USAGE)
        for error in errors:
            _exit.complain(error)
        if self._recorded:
            await self._others(jobs)
        self._end(None)

    async def _asked_for(self, jobs: Jobs) -> list[Callable[[], Deferred[JobStatus]]]:
        if self._restored is not None:
            await self._restored
        if self._pipeline is not None and self._settings is not None and self._request is not None:
            return [partial(jobs.submit, self._request, (self._pipeline, self._settings))]
        return [partial(jobs.retry, name) for name in self._retried]

    async def _run_job(self, jobs: Jobs, begin: Callable[[], Deferred[JobStatus]]) -> str | None:
        if not self.running:
            return "interrupted"
        self._one_shot = OneShot(
            self._reactor,
            jobs,
            begin,
            recorded=self._recorded,
            as_json=self._as_json,
            printer=self._printer,
            tee=self._tee,
        )
        return await self._one_shot.run()

    async def _others(self, jobs: Jobs) -> None:
        """Run what other commands have handed over meanwhile."""
        if not jobs.busy or not self.running:
            return
        self.log.warn("{jobs} jobs that were handed over go on; an interrupt ends them, too", jobs=jobs.running)
        while jobs.busy and self.running:
            await deferLater(self._reactor, HANDED_OVER / 4, lambda: None)
        await deferLater(self._reactor, HANDED_OVER, lambda: None)

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the job was ended by a fault of the coordinator", failure)
        self._end(f"a fault of the coordinator itself: {failure.getErrorMessage()} (-D shows more)")

    def _end(self, error: str | None) -> None:
        """The one job is over, or will never be: the process ends, even where its error cannot be printed."""
        if self._reported is not None and not self._reported.called:
            self._reported.callback(None)
        try:
            if error is not None:
                _exit.complain(error)
        finally:
            if self.running:
                self._reactor.stop()

    async def _close(self) -> None:
        steps: list[Callable[[], Any]] = [self._notifier.stopping]
        if self._port is not None:
            steps.append(self._port.stopListening)
        steps += [self._forgetting.stop, self._loop_lag.stop]
        if self._control is not None:
            steps.append(self._control.close)
        if self._dashboard is not None:
            steps.append(self._dashboard.close)
        if self._one_shot is not None:
            steps.append(self._one_shot.abort)
        if self._jobs is not None and self._runs_once:
            steps.append(self._jobs.interrupt_all)
        if self._reported is not None and not self._reported.called:
            steps.append(partial(self._reported.addTimeout, REPORTING, self._reactor, lambda *_: None))
        if self._jobs is not None:
            steps.append(self._jobs.stop)
        steps.append(self._registry.close)
        if self._opener is not None:
            steps.append(self._opener.close)
        if self._traces is not None and self._collector is not None:
            steps += [self._traces.finish, self._collector.close]
        if self._journal is not None:
            steps.append(self._journal.close)
        if self._profile is not None:
            steps.append(partial(write_profile, self._profile, self._options["cpu-profile"]))
        await close_in_turn(*steps, self._close_state)

    def _close_state(self) -> None:
        guard.stop()
        if self._state is not None:
            self._state.close()
        if self._private is not None:
            self._private.cleanup()


def _browser_pair(authority: Authority, host: str) -> KeyPair:
    """A certificate for browsers, which take none that is good for longer than these days."""
    return authority.issue(None, hosts=(host,), lifetime=timedelta(days=397), common_name=f"mu dashboard {host}"[:64])

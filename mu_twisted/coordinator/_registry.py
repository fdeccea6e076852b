"""The registry has every connection of a worker, and finds the job that it belongs to.

Knows which worker may speak for which job (the certificate of its launches names it; one without identity, in the
original's way of shared keys, may speak for any: if its launch id names none, it goes where workers are missing) and
that a connection which never greets must not stay. Once it has a job, a session reports to that by itself.
"""

from itertools import count

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mu_twisted.coordinator._counters import ConnectionCounters
from mu_twisted.coordinator._session import Session
from mu_twisted.coordinator.run import JobRun
from mu_twisted.jobs import job_in
from mu_twisted.tls import LaunchIdentity
from mu_twisted.transport import ReactorTime, every

CLOSE_TIMEOUT = 1.0
"""Seconds that workers have to disconnect when the coordinator stops."""
GREETING_TIMEOUT = 30.0
"""Seconds that a connection has to greet, once its handshake is done."""


class WorkerRegistry:
    """Makes a session for each connection and gives it its job.

    :param clock: for the time-out of greetings.
    :param shared_key: whether a certificate without identity is good for any job.
    """

    log = Logger()

    def __init__(self, clock: ReactorTime, *, shared_key: bool = False) -> None:
        self.counters = ConnectionCounters()
        self._clock = clock
        self._shared_key = shared_key
        self._numbers = count()
        self._runs: dict[str, JobRun] = {}
        self._expected: set[str] = set()
        self._parked: dict[Session, None] = {}
        self._ungreeted: dict[Session, float] = {}
        self._sessions: dict[Session, None] = {}
        self._empty: Deferred[None] | None = None
        self._sweep = every(clock, 1.0, self._drop_silent)

    def __len__(self) -> int:
        return len(self._sessions)

    def open(self) -> None:
        """Begin to time greetings."""
        self._sweep.start()

    def close(self) -> Deferred[None]:
        """Dismiss every worker.

        :returns: fires when all are gone, or after ``CLOSE_TIMEOUT``.
        """
        self._sweep.stop()
        for session in list(self._sessions):
            session.dismiss()
        empty = self._empty = Deferred()
        if not self._sessions:
            empty.callback(None)
            return empty
        timeout = self._clock.callLater(CLOSE_TIMEOUT, lambda: empty.callback(None))
        return empty.addBoth(lambda _: timeout.cancel() if timeout.active() else None)

    def add(self, run: JobRun) -> None:
        """From now on workers are led to this job."""
        self._runs[run.name] = run

    def expect(self, job: str) -> None:
        """This job's records are being read: workers of it, and those that name none, wait for that."""
        self._expected.add(job)

    def expect_no_more(self, *jobs: str) -> None:
        """The jobs are active, or do not go on: workers that wait are led to their jobs, or dismissed."""
        self._expected.difference_update(jobs)
        parked, self._parked = self._parked, {}
        for session in parked:
            self.worker_greeted(session)

    def remove(self, run: JobRun) -> None:
        """The job is over; a worker that still comes for it is dismissed."""
        del self._runs[run.name]

    def new_session(self) -> Session:
        """The receiver for a connection that has just been accepted."""
        return Session(next(self._numbers), self)

    # -- what sessions report --------------------------------------------------------------------------------------

    def session_opened(self, session: Session) -> None:
        """A handshake is done."""
        self.counters.handshakes += 1
        self._sessions[session] = None
        self._ungreeted[session] = self._clock.seconds() + GREETING_TIMEOUT

    def worker_greeted(self, session: Session) -> None:
        """Give the session its job to report to, or dismiss the worker."""
        self._ungreeted.pop(session, None)
        if self._must_wait(session):
            self._parked[session] = None
            return
        run = self._run_for(session)
        if run is None:
            session.dismiss()
            return
        session.listener = run
        run.worker_greeted(session)

    def forget(self, session: Session) -> None:
        """The connection is gone."""
        self._ungreeted.pop(session, None)
        self._parked.pop(session, None)
        self._sessions.pop(session, None)
        if self._empty is not None and not self._sessions and not self._empty.called:
            self._empty.callback(None)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _must_wait(self, session: Session) -> bool:
        if not self._expected:
            return False
        identity = session.identity
        if isinstance(identity, LaunchIdentity):
            return identity.job in self._expected
        job = job_in(session.greeting.launch_id)
        return identity is None and self._shared_key and (job is None or job in self._expected)

    def _run_for(self, session: Session) -> JobRun | None:
        identity = session.identity
        if isinstance(identity, LaunchIdentity):
            run = self._runs.get(identity.job)
            if run is None:
                self.log.info(
                    "{address} comes for job {job}, which is not or no longer running: dismissed",
                    address=session.address,
                    job=identity.job,
                )
            return run
        if identity is None and self._shared_key and self._runs:
            return self._shared_run_for(session)
        self.log.warn(
            "{address} was dismissed: its certificate is not that of a job's launches ({identity})",
            address=session.address,
            identity=identity.uri if identity is not None else "no identity",
        )
        return None

    def _shared_run_for(self, session: Session) -> JobRun | None:
        """The job that its launch id names, if any; else the one that lacks workers, or expects one, and has fewest."""
        job = job_in(session.greeting.launch_id)
        if job is not None:
            return self._runs.get(job)

        def need(run: JobRun) -> tuple[bool, bool, int]:
            workers = run.counts.workers
            return not run.job.lacks_workers, run.job.in_flight <= workers, workers

        return min(self._runs.values(), key=need)

    def _drop_silent(self) -> None:
        now = self._clock.seconds()
        for session in [session for session, due in self._ungreeted.items() if due <= now]:
            del self._ungreeted[session]
            self.log.warn("{address} never greeted: dropped", address=session.address)
            try:
                session.abort()
            except Exception:  # noqa: BLE001 - else no other would ever be dropped
                self.log.failure("dropping one that never greeted failed")

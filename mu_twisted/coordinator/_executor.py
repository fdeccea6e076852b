"""What a job has decided, done: to its workers' sessions, and by whoever launches.

Decides nothing but what a launch that fails means; what comes of it goes back to the job.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from mu_twisted.base import MuError
from mu_twisted.coordinator._attempts import Attempts
from mu_twisted.coordinator._interfaces import Launching
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Meter
from mu_twisted.coordinator._peers import Peers
from mu_twisted.coordinator._session import Session
from mu_twisted.jobs import (
    Abort,
    Action,
    Assign,
    Diagnose,
    Dismiss,
    Finish,
    GiveToken,
    Interrupt,
    Job,
    LaunchOutcome,
    Ping,
    Record,
    StartLaunches,
    StopLaunches,
    Warm,
)
from mu_twisted.pipelines import GuardedMachine
from mu_twisted.transport import ReactorTime


class AttemptStarter:
    """How an attempt begins.

    :param job: the job's name.
    :param first: what every task's machine starts in.
    :param settings: the job's options.
    :param attempts: where the states of attempts are noted.
    :param peers: how tasks come to their peers, if they have any.
    :param blocked: is called with the error when the code of a task had to be interrupted.
    """

    def __init__(
        self,
        job: str,
        first: Any,
        settings: Any,
        attempts: Attempts,
        peers: Peers | None,
        blocked: Callable[[str], None],
    ) -> None:
        self._job = job.encode("ascii", "replace")
        self._blocked = blocked
        self._first = first
        self._settings = settings
        self._attempts = attempts
        self._peers = peers

    def begin(self, session: Session, task: int, attempt: int, *, replay: bool) -> None:
        """Drive the session's worker through the task.

        :param replay: whether messages may have come to an earlier attempt.
        """
        peers = self._peers
        identity = peers.identity(task, attempt) if peers is not None else None
        peering = peers.peering(task, attempt, replay=replay) if peers is not None else None
        machine = GuardedMachine(
            self._first,
            task,
            job=self._job,
            blocked=self._blocked,
            settings=self._settings,
            peering=peering,
            max_message=session.max_message,
        )
        session.assign(machine, self._attempts.watch(task, attempt), identity=identity)


class ActionExecutor:
    """Carries out the actions of one job.

    :param sessions: of its workers, by number; whoever has these hands keeps them.
    :param meter: is told of launches.
    :param decided: takes what the job decides on what is reported to it here.
    :param tokens: of the job's launches, if it has any.
    """

    log = Logger()

    def __init__(
        self,
        job: Job,
        clock: ReactorTime,
        launching: Launching,
        sessions: Mapping[int, Session],
        starter: AttemptStarter,
        meter: Meter,
        decided: Callable[[Iterable[Action]], None],
        tokens: LaunchTokens | None = None,
    ) -> None:
        self._job = job
        self._clock = clock
        self._launching = launching
        self._sessions = sessions
        self._starter = starter
        self._meter = meter
        self._decided = decided
        self._tokens = tokens

    def act(self, action: Action) -> None:
        """Carry out what is no record and not the end."""
        match action:
            case StartLaunches(launch_ids):
                starting = maybeDeferred(self._launching.start, launch_ids, self._launched)
                starting.addErrback(partial(self._cannot_launch, launch_ids))
            case StopLaunches():
                self._launching.stop()
            case GiveToken(worker):
                session = self._sessions.get(worker)
                if session is not None and self._tokens is not None:
                    launch_id = session.greeting.launch_id.removeprefix(f"{self._job.name}/")
                    session.give_token(self._tokens.token(launch_id))
            case Assign(worker, task, attempt, replay):
                session = self._sessions.get(worker)
                if session is not None:  # else lost between the decision and now; the job hears of it
                    self._starter.begin(session, task, attempt, replay=replay)
            case Diagnose():
                Deferred.fromCoroutine(self._explain()).addErrback(self._cannot_explain)
            case Warm(worker) | Interrupt(worker) | Dismiss(worker) | Abort(worker) | Ping(worker):
                session = self._sessions.get(worker)
                if session is not None:
                    self._tell(session, action)
            case Record() | Finish():
                raise AssertionError("records are kept, and jobs ended, by whoever has these hands")

    def _tell(self, session: Session, action: Action) -> None:
        match action:
            case Warm():
                session.warm()
            case Interrupt(_, reason):
                session.interrupt(reason)
            case Dismiss(worker, reason):
                self.log.debug("worker {worker} is told to quit: {reason}", worker=worker, reason=reason)
                session.dismiss()
            case Abort(worker, reason):
                self.log.info("worker {worker} is given up: {reason}", worker=worker, reason=reason)
                session.abort()
            case Ping():
                session.ping()

    def _launched(self, outcome: LaunchOutcome) -> None:
        launch_id = outcome.launch_id.removeprefix(f"{self._job.name}/")
        if outcome.accepted:
            self._meter.launched()
            self._decided(self._job.launch_accepted(launch_id, self._clock.seconds()))
        else:
            self.log.info("launch {id} failed: {reason}", id=launch_id, reason=outcome.reason)
            self._decided(self._job.launch_refused(launch_id, outcome.reason, self._clock.seconds()))

    def _cannot_launch(self, launch_ids: Sequence[str], failure: TwistedFailure) -> None:
        if not isinstance(failure.value, MuError):
            self.log.failure("launching failed", failure)
        if not self._job.is_reached:
            self._end(failure.getErrorMessage())
            return
        # It has worked before: whatever is in the way may go away, as may Lambda's own refusals.
        for launch_id in launch_ids:
            self._decided(self._job.launch_refused(launch_id, failure.getErrorMessage(), self._clock.seconds()))

    def cannot_serve(self, launch_id: str, why: str) -> None:
        """A worker has come that cannot be driven: where others could, it is as if it had not been launched."""
        self.log.warn("{why}", why=why)
        if self._job.any_connected:
            self._decided(self._job.launch_refused(launch_id, why, self._clock.seconds()))
        else:
            self._end(why)

    async def _explain(self) -> None:
        self._nobody_came(await self._launching.diagnose())

    def _cannot_explain(self, failure: TwistedFailure) -> None:
        self.log.failure("the diagnosis failed", failure)
        self._nobody_came(f"no worker dialled in, and finding out why failed: {failure.getErrorMessage()}")

    def _nobody_came(self, error: str) -> None:
        if not self._job.any_connected:
            self._end(error)

    def _end(self, error: str) -> None:
        self._decided(self._job.abort(error, self._clock.seconds()))

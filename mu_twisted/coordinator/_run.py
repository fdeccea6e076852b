"""The run of one job: its decisions carried out on sessions and launches."""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.coordinator._peers import Peers
from mu_twisted.coordinator._session import Session, serves
from mu_twisted.coordinator._times import StateTimes
from mu_twisted.fsm import Machine
from mu_twisted.jobs import Action, Assign, Counts, Diagnose, Dismiss, Finish, Job, StartLaunches, Warm
from mu_twisted.launch import LaunchOutcome
from mu_twisted.pipelines import Pipeline
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import MuError

Launching = Callable[[Sequence[str], Callable[[LaunchOutcome], None]], Deferred[None]]
"""Asks for one worker for each launch id and reports each outcome once, in the reactor's thread. Raises, or fails, if
none can be launched at all."""

TICK = 1.0
"""Seconds between two looks at the clock."""


class JobRun:
    """Carries out what a :class:`~mu_twisted.jobs.Job` decides.

    :param clock: the time.
    :param job: the decisions.
    :param pipeline: what every task's machine starts in.
    :param settings: the job's options.
    :param launching: starts launches.
    :param stop_launching: gives up launches that have not been sent.
    :param diagnose: finds out why no worker came; its text becomes the job's error.
    :param times: where to note the states of tasks, if asked for.
    :param peers: how tasks come to their peers, if they have any.
    """

    log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        job: Job,
        pipeline: Pipeline,
        settings: Any,
        *,
        launching: Launching,
        stop_launching: Callable[[], None],
        diagnose: Callable[[], Coroutine[Any, Any, str]],
        times: StateTimes | None = None,
        peers: Peers | None = None,
    ) -> None:
        self.job = job
        self.finished: Deferred[None] = Deferred()
        self._clock = clock
        self._pipeline = pipeline
        self._settings = settings
        self._launching = launching
        self._stop_launching = stop_launching
        self._diagnose = diagnose
        self._times = times
        self._peers = peers
        self._sessions: dict[int, Session] = {}
        self._todo: deque[Action] = deque()
        self._busy = False
        self._tick = LoopingCall(self._time_passed)
        self._tick.clock = clock  # type: ignore[assignment]

    @property
    def name(self) -> str:
        """The job's identifier."""
        return self.job.name

    @property
    def counts(self) -> Counts:
        """Where the job's tasks stand."""
        return self.job.counts()

    def start(self) -> None:
        """Ask for the workers."""
        self._tick.start(TICK, now=False).addErrback(lambda failure: self.log.failure("tick", failure))
        self._carry_out(self.job.start(self._clock.seconds()))

    def abort(self, error: str) -> None:
        """End the job; what is not done has failed.

        :param error: one line for the user.
        """
        self._carry_out(self.job.abort(error, self._clock.seconds()))

    # -- what the hall reports -------------------------------------------------------------------------------------

    def worker_greeted(self, session: Session) -> None:
        """A worker of this job is there, new or warm."""
        greeting = session.greeting
        if not serves(greeting):
            session.dismiss()
            self.abort(
                f"function {self._settings['function']} holds a worker of protocol version {greeting.version}, "
                "which this coordinator cannot serve: make the function again with `mu lambdaize`"
            )
            return
        self._sessions[session.number] = session
        self._carry_out(
            self.job.worker_came(
                session.number,
                greeting.launch_id or None,
                self._clock.seconds(),
                reusable=greeting.version > 0,
            )
        )

    def task_ended(self, session: Session, error: str | None) -> None:
        """The machine of the session's task has ended."""
        now = self._clock.seconds()
        task = self.job.task_of(session.number)
        if task is None:
            return
        if error is None:
            self._carry_out(self.job.task_done(session.number, now))
        else:
            self.log.warn("task {task} failed: {error}", task=task, error=error)
            self._carry_out(self.job.task_failed(session.number, error, now))

    def session_closed(self, session: Session, reason: str) -> None:
        """The worker is gone."""
        self._sessions.pop(session.number, None)
        task = self.job.task_of(session.number)
        if task is not None:
            self.log.warn("task {task} failed: {reason}", task=task, reason=reason)
        self._carry_out(self.job.worker_lost(session.number, reason, self._clock.seconds()))

    # -- what the rendezvous tells ---------------------------------------------------------------------------------

    def messages_lost(self, task: int) -> None:
        """A message that this task has sent is wanted again, and gone."""
        self.abort(f"a message of task {task} is wanted again and the rendezvous no longer has it")

    def store_lost(self) -> None:
        """The rendezvous was started anew, or has dropped the job: all messages are gone."""
        self.abort("the rendezvous has lost the messages of the job")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _time_passed(self) -> None:
        self._carry_out(self.job.time_passed(self._clock.seconds()))

    def _carry_out(self, actions: Iterable[Action]) -> None:
        # Carrying one out may report the next event at once (a machine that ends where it starts): then its actions
        # wait their turn behind those that were decided before.
        self._todo.extend(actions)
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                self._act(self._todo.popleft())
        finally:
            self._busy = False

    def _act(self, action: Action) -> None:
        match action:
            case StartLaunches(launch_ids):
                maybeDeferred(self._launching, launch_ids, self._launched).addErrback(self._cannot_launch)
            case Assign(worker, task, attempt):
                self._assign(self._sessions[worker], task, attempt)
            case Warm(worker):
                if worker in self._sessions:
                    self._sessions[worker].warm()
            case Dismiss(worker, reason):
                if worker in self._sessions:
                    self.log.debug("worker {worker} is told to quit: {reason}", worker=worker, reason=reason)
                    self._sessions[worker].dismiss()
            case Diagnose():
                self._stop_launching()
                Deferred.fromCoroutine(self._explain()).addErrback(self._cannot_explain)
            case Finish():
                self._finish()

    def _assign(self, session: Session, task: int, attempt: int) -> None:
        peers = self._peers
        identity = peers.identity(task, attempt) if peers is not None else None
        peering = peers.peering(attempt, replay=attempt > 0) if peers is not None else None
        machine = Machine(self._pipeline.first, task, settings=self._settings, peering=peering)
        watch = self._times.watch(task, attempt) if self._times is not None else None
        session.assign(machine, watch, identity=identity)

    def _launched(self, outcome: LaunchOutcome) -> None:
        now = self._clock.seconds()
        if outcome.accepted:
            self._carry_out(self.job.launch_accepted(outcome.launch_id, now))
        else:
            self.log.info("launch {id} failed: {reason}", id=outcome.launch_id, reason=outcome.reason)
            self._carry_out(self.job.launch_refused(outcome.launch_id, outcome.reason, now))

    def _cannot_launch(self, failure: Failure) -> None:
        if not isinstance(failure.value, MuError):
            self.log.failure("launching failed", failure)
        self.abort(failure.getErrorMessage())

    async def _explain(self) -> None:
        explanation = await self._diagnose()
        if not self.counts.workers:
            self.abort(explanation)

    def _cannot_explain(self, failure: Failure) -> None:
        self.log.failure("the diagnosis failed", failure)
        self.abort(f"no worker dialled in, and finding out why failed: {failure.getErrorMessage()}")

    def _finish(self) -> None:
        if self._tick.running:
            self._tick.stop()
        self._stop_launching()
        if self._times is not None:
            self._times.close()
        self.finished.callback(None)

"""The executor carries out what a job has decided: on the sessions of its workers, and through its launching.

One table says for each action how it is done, and what follows where that fails. Decides nothing but what a failed
launch means; knows neither when an action is due (the commit queue does) nor how a job begins and ends (its run does).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure as TwistedFailure

from mu_twisted.base import MuError
from mu_twisted.coordinator._interfaces import Launching
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Meter
from mu_twisted.coordinator._peers import Peers
from mu_twisted.coordinator._session import Session
from mu_twisted.coordinator.output import JobTee, OutputStore
from mu_twisted.coordinator.run._attempts import Attempts
from mu_twisted.coordinator.run._failures import own_fault
from mu_twisted.fsm import Machine, MachineState, Outcome, Script, Takes
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
    LaunchId,
    LaunchOutcome,
    Ping,
    PipeEnd,
    StartLaunches,
    StopLaunches,
    UseLargerFunction,
    Warm,
)
from mu_twisted.pipelines import GuardedMachine, JobSettings
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import TEE
from mu_twisted.wire.links import LINKS, MAX_AHEAD, TaskRanges
from mu_twisted.wire.punching import PUNCH

HAND_OVER_AFTER = 5.0
"""Seconds for which a worker that is to leave waits for the tasks to be done that may want its messages again: then it
need not hand them over to the rendezvous."""
HAND_OVER_TIMEOUT = 300.0
"""Seconds that this may take."""
_LOOK = 0.25
LAST_OUTPUT = 3.0
"""Seconds that a worker has to say what its programs have printed before they were killed, as it is dismissed."""
_LOOK_AT_END = 0.02

WorkerAction = GiveToken | Assign | Warm | Interrupt | Dismiss | Abort | Ping


class AttemptStarter:
    """Begins attempts at tasks.

    :param job: the job's name.
    :param first: the state that every task's machine starts in.
    :param settings: the job's options.
    :param attempts: where the states of attempts are noted.
    :param peers: how tasks reach their peers, if they have any.
    :param takes: what the pipeline declares of named messages.
    :param blocked: is called with the error when the code of a task had to be interrupted.
    :param outputs: where what programs print is kept, if it is.
    :param ahead: returns for a task those to which it is to have direct paths at once; None: it is to have none at all.
    :ivar tee: what passes it on while they run, once that is asked for.
    """

    def __init__(
        self,
        job: str,
        first: type[MachineState] | Script,
        settings: JobSettings,
        attempts: Attempts,
        peers: Peers | None,
        takes: Takes,
        blocked: Callable[[str], None],
        outputs: OutputStore | None = None,
        ahead: Callable[[int], Sequence[int] | None] = lambda _: (),
    ) -> None:
        self._ahead = ahead
        self._outputs = outputs
        self.tee: JobTee | None = None
        self._job = job.encode("ascii", "replace")
        self._blocked = blocked
        self._first = first
        self._settings = settings
        self._attempts = attempts
        self._peers = peers
        self._takes = takes

    def begin(self, session: Session, task: int, attempt: int, *, replay: bool, pipes: Sequence[PipeEnd] = ()) -> None:
        """Drive the session's worker through the task.

        :param attempt: its number, from 0.
        :param replay: whether messages may have been delivered to an earlier attempt.
        :param pipes: the ends of pipes that the task has.
        """
        peers = self._peers
        peering, opening = None, list[bytes]()
        if peers is not None:
            supports = session.greeting.supports
            found = self._ahead(task) if PUNCH in supports else None
            ahead = None if found is None else found[:MAX_AHEAD]
            peering = peers.peering(
                task, attempt, replay=replay, links=LINKS in supports, takes=self._takes, ahead=ahead, pipes=pipes
            )
            opening = peers.opening(peering, task)
        machine = GuardedMachine(
            self._first,
            task,
            job=self._job,
            blocked=self._blocked,
            settings=self._settings,
            peering=peering,
            max_message=session.max_message,
            supports=frozenset(session.greeting.supports),
        )
        watch = self._attempts.watch(task, attempt)
        if self._outputs is None:
            session.assign(machine, watch, opening=opening)
        else:
            output = self._outputs.attempt(task, attempt)

            def look(changed: Machine) -> None:
                watch(changed)
                if changed.outcome is Outcome.FAILED:
                    output.failed()

            session.assign(machine, look, opening=opening, run_ended=output.take)
        self.stream(session, task, attempt)

    def stream(self, session: Session, task: int, attempt: int) -> None:
        """Have what an attempt's programs print streamed, if that is asked for."""
        if self.tee is None or session.machine is None:
            return
        if TEE in session.greeting.supports:
            session.tee = self.tee.attempt(task, attempt, session.grant)
        else:
            self.tee.cannot()


class Lifecycle(Protocol):
    """What the executor needs of the job's run."""

    def decided(self, actions: Iterable[Action]) -> None:
        """The job has decided these; they are carried out in their turn."""

    def end(self) -> None:
        """The job is over."""

    def broken(self, error: Exception) -> None:
        """Something that the job cannot do without has failed: it ends while it still can."""

    def session_closed(self, session: Session, reason: str) -> None:
        """The session's worker is lost.

        :param reason: one line.
        """


class ActionExecutor:
    """Carries out the actions of one job, as :data:`TABLE` says.

    :param job: the decisions.
    :param clock: the time; it must not jump.
    :param launching: where the job's workers come from.
    :param sessions: of its workers, by number; the run keeps them.
    :param starter: begins attempts.
    :param meter: counts launches.
    :param run: takes what the job decides on what is reported to it here, and ends it.
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
        run: Lifecycle,
        tokens: LaunchTokens | None = None,
    ) -> None:
        self._job = job
        self._clock = clock
        self._launching = launching
        self._sessions = sessions
        self._starter = starter
        self._meter = meter
        self._run = run
        self._tokens = tokens
        self._last: dict[int, int] = {}
        self._leaving: dict[int, Session] = {}
        self._finishing: DelayedCall | None = None

    @property
    def finishing(self) -> bool:
        """Whether the job is over and its run is not, as what killed programs have printed is yet to come."""
        return self._finishing is not None

    def act(self, action: Action) -> None:
        """Carry out an action, which is no record; where that fails, do what the table has for it."""
        row = TABLE[type(action)]
        try:
            row.do(self, action)
        except Exception as error:  # noqa: BLE001 - what comes after it is to be done all the same
            self.log.failure("{action} failed in job {job}", action=type(action).__name__, job=self._job.name)
            row.failed(self, action, error)

    def cannot_serve(self, launch_id: LaunchId, why: str) -> None:
        """A worker has come that cannot be driven: where others could, it is as if it had not been launched.

        :param why: one line.
        """
        self.log.warn("{why}", why=why, job=self._job.name)
        if self._job.any_connected:
            self._run.decided(self._job.launch_refused(launch_id, why, self._clock.seconds()))
        else:
            self._abort_job(why)

    # -- how actions are done --------------------------------------------------------------------------------------

    def start_launches(self, action: StartLaunches) -> None:
        """Ask for the launches; each outcome goes to the job."""
        starting = maybeDeferred(self._launching.start, action.launch_ids, self._launched)
        starting.addErrback(partial(self._cannot_launch, action.launch_ids))

    def use_larger(self, _: UseLargerFunction) -> None:
        """Launch another function from now on."""
        self._launching.use_larger()

    def stop_launches(self, _: StopLaunches) -> None:
        """Withdraw what has not been sent."""
        self._launching.stop()

    def diagnose(self, _: Diagnose) -> None:
        """Find out why no worker came; the job ends with that."""
        Deferred.fromCoroutine(self._diagnose()).addErrback(self._cannot_diagnose)

    def finish(self, action: Finish) -> None:
        """End the run, once what killed programs have printed is there."""
        if any(session.is_parting for session in self._sessions.values()):
            self._finishing = self._clock.callLater(_LOOK_AT_END, partial(self.finish, action))
        else:
            self._finishing = None
            self._run.end()

    def finish_now(self) -> None:
        """End the run, which is :attr:`finishing`, without what has not come."""
        if self._finishing is not None:
            self._finishing.cancel()
            self._finishing = None
            self._run.end()

    def session_of(self, worker: int) -> Session | None:
        """The session of a worker; None where it was lost since the decision: the job is notified of that by itself."""
        return self._sessions.get(worker)

    def assign(self, session: Session, action: Assign) -> None:
        """Begin the attempt."""
        self._last[action.worker] = action.task
        self._starter.begin(session, action.task, action.attempt, replay=action.replay, pipes=action.pipes)

    def warm(self, session: Session, action: Warm) -> None:
        """Clear the worker of its task, once the rendezvous has what others may want again."""
        session.warm(self._owed(session))

    def interrupt(self, session: Session, action: Interrupt) -> None:
        """End what the worker does; as :meth:`warm`."""
        session.interrupt(action.reason, self._owed(session))

    def give_token(self, session: Session, _: GiveToken) -> None:
        """Send the token of the worker's launch."""
        if self._tokens is not None:
            session.give_token(self._tokens.token(session.launch_id))

    def dismiss(self, session: Session, action: Dismiss) -> None:
        """Have the worker quit."""
        self.log.debug("worker {worker} is dismissed: {reason}", reason=action.reason, **self._about(action.worker))
        if self._is_owed(session):
            self._leaving[session.number] = session
            self._part(session, self._clock.seconds() + HAND_OVER_AFTER)
        elif action.failed is not None:
            session.part(action.failed)
            if session.is_parting:
                self._clock.callLater(LAST_OUTPUT, session.dismiss)
        else:
            session.dismiss()

    def abort(self, session: Session, action: Abort) -> None:
        """Drop the worker's connection."""
        self.log.info("worker {worker} is given up: {reason}", reason=action.reason, **self._about(action.worker))
        session.abort()

    def _about(self, worker: int) -> dict[str, object]:
        """A worker's job, and the task and attempt that it is at, as fields of a log line."""
        job = self._job
        return {"job": job.name, "task": job.task_of(worker), "attempt": job.attempt_of(worker), "worker": worker}

    def session_closed(self, session: Session) -> None:
        """A worker is gone."""
        self._last.pop(session.number, None)
        self._leaving.pop(session.number, None)

    def end(self) -> None:
        """Dismiss those that were only there for others, which are done, or of which none goes on; and those that have
        not said what their killed programs have printed."""
        parting = [session for session in self._sessions.values() if session.is_parting]
        for session in [*self._leaving.values(), *parting]:
            session.dismiss()
        self._leaving.clear()

    # -- what follows where one fails ------------------------------------------------------------------------------

    def give_up_worker(self, action: WorkerAction, error: Exception) -> None:
        """The worker that the action was about is lost to the job."""
        session = self._sessions.get(action.worker)
        if session is not None:
            self._run.session_closed(session, own_fault(error))
            session.abort()

    def give_up_job(self, _: Action, error: Exception) -> None:
        """The job cannot go on without it."""
        self._run.broken(error)

    def go_on(self, _: Action, error: Exception) -> None:
        """The job does without it."""

    # -- inside ----------------------------------------------------------------------------------------------------

    def _is_owed(self, session: Session) -> bool:
        """Whether tasks may want again what the worker has sent to them directly."""
        task = self._last.get(session.number)
        return task is not None and session.holds and self._job.has_unsettled_consumers(task)

    def _owed(self, session: Session) -> bytes:
        """These tasks, as a command names them."""
        task = self._last.get(session.number)
        if task is None or not session.holds:
            return b""
        return TaskRanges.of(self._job.unsettled_consumers(task)).encode()

    def _part(self, session: Session, until: float) -> None:
        """Dismiss a worker when its messages cannot be wanted again, or the rendezvous has them."""
        if session.number not in self._leaving:
            return
        now = self._clock.seconds()
        if not self._is_owed(session) or now >= until + HAND_OVER_TIMEOUT:
            session.dismiss()
        elif now < until:
            self._clock.callLater(_LOOK, partial(self._part, session, until))
        else:
            session.hand_over(self._owed(session))
            self._clock.callLater(HAND_OVER_TIMEOUT, partial(self._part, session, until))

    def _launched(self, outcome: LaunchOutcome) -> None:
        launch_id, now = LaunchId(outcome.launch_id), self._clock.seconds()
        if outcome.accepted:
            self._meter.launched()
            self._run.decided(self._job.launch_accepted(launch_id, now))
        else:
            if not self._job.over:  # else all that were not sent are given up, which is no news
                self.log.info("launch {id} failed: {reason}", id=launch_id, reason=outcome.reason, job=self._job.name)
            self._run.decided(self._job.launch_refused(launch_id, outcome.reason, now))

    def _cannot_launch(self, launch_ids: Sequence[LaunchId], failure: TwistedFailure) -> None:
        if not isinstance(failure.value, MuError):
            self.log.failure("launching failed", failure, job=self._job.name)
        if not self._job.is_reached:
            self._abort_job(failure.getErrorMessage())
            return
        # It has worked before: whatever is in the way may go away, as may Lambda's own refusals.
        for launch_id in launch_ids:
            self._run.decided(self._job.launch_refused(launch_id, failure.getErrorMessage(), self._clock.seconds()))

    async def _diagnose(self) -> None:
        self._give_up_launching(await self._launching.diagnose())

    def _cannot_diagnose(self, failure: TwistedFailure) -> None:
        self.log.failure("the diagnosis failed", failure, job=self._job.name)
        self._give_up_launching(f"no worker dialled in, and finding out why failed: {failure.getErrorMessage()}")

    def _give_up_launching(self, error: str) -> None:
        if not self._job.any_connected:  # nor has one since
            self._abort_job(error)

    def _abort_job(self, error: str) -> None:
        self._run.decided(self._job.abort(error, self._clock.seconds()))


class ActionRow(NamedTuple):
    """How one kind of action is carried out.

    :param do: carries it out.
    :param failed: is called with the error where that raises.
    """

    do: Callable[[ActionExecutor, Any], None]
    failed: Callable[[ActionExecutor, Any, Exception], None]


def _to_worker(
    do: Callable[[ActionExecutor, Session, Any], None], failed: Any = ActionExecutor.give_up_worker
) -> ActionRow:
    """An action on the session of its worker; nothing is done where the worker was lost since the decision."""

    def on_session(executor: ActionExecutor, action: WorkerAction) -> None:
        session = executor.session_of(action.worker)
        if session is not None:
            do(executor, session, action)

    return ActionRow(on_session, failed)


TABLE: Mapping[type[Action], ActionRow] = {
    StartLaunches: ActionRow(ActionExecutor.start_launches, ActionExecutor.give_up_job),
    UseLargerFunction: ActionRow(ActionExecutor.use_larger, ActionExecutor.give_up_job),
    StopLaunches: ActionRow(ActionExecutor.stop_launches, ActionExecutor.go_on),  # late workers are dismissed
    GiveToken: _to_worker(ActionExecutor.give_token, ActionExecutor.go_on),  # then its launch id says enough
    Assign: _to_worker(ActionExecutor.assign),
    Warm: _to_worker(ActionExecutor.warm),
    Interrupt: _to_worker(ActionExecutor.interrupt),
    Dismiss: _to_worker(ActionExecutor.dismiss),
    Abort: _to_worker(ActionExecutor.abort),
    Ping: _to_worker(lambda _, session, action: session.ping()),
    Diagnose: ActionRow(ActionExecutor.diagnose, ActionExecutor.give_up_job),
    Finish: ActionRow(ActionExecutor.finish, ActionExecutor.give_up_job),
}
"""For every action but a record, which the commit queue takes: what is done, and what follows where that fails."""

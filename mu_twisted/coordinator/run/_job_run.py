"""A job's run lets its decisions take effect once they are recorded, and handles its beginning, its end, and faults.

Knows what is reported of workers and the rendezvous, and passes it to the job; how an action is done it does not know
(:mod:`mu_twisted.coordinator.run._executor` does).
"""

import sys
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from mu_twisted.base import MuError, one_line, printable, terminal_safe
from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._interfaces import Launching, Recorder
from mu_twisted.coordinator._launch_tokens import LaunchTokens
from mu_twisted.coordinator._meter import Meter
from mu_twisted.coordinator._peers import Peers
from mu_twisted.coordinator._session import Session, unserved
from mu_twisted.coordinator.output import JobTee, OutputStore
from mu_twisted.coordinator.run._attempts import Attempts
from mu_twisted.coordinator.run._commit_queue import CommitQueue
from mu_twisted.coordinator.run._executor import ActionExecutor, AttemptStarter
from mu_twisted.coordinator.run._failures import failure_of, joined_lines, own_fault
from mu_twisted.fsm import Machine, Outcome
from mu_twisted.jobs import Action, Counts, Failure, Job, Waits, launch_id_in
from mu_twisted.pipelines import MAX_INPUTS, JobSettings, Pipeline, Report, guard, unpack_inputs
from mu_twisted.statuses import ServiceError
from mu_twisted.transport import ReactorTime, every
from mu_twisted.wire.byte_counts import ByteCounts
from mu_twisted.wording import called

TICK = 1.0
"""Seconds between two looks at the clock."""
MAX_REPORT = 100_000
"""Characters of a pipeline's report that are kept."""
MAX_ADDED = 64 << 20
"""Characters of packed inputs of tasks that are added to a job."""
MAX_BLOCKED = 3
"""Times that a job's code has to be interrupted before the job ends: each takes the other jobs' time."""


class JobRun:
    """Carries out what a :class:`~mu_twisted.jobs.Job` decides.

    Decisions of one turn of the reactor are journalled together, at its end, and carried out after that; where the
    journal cannot be written, they are carried out all the same (:mod:`mu_twisted.coordinator.records` says more).

    :param clock: the time; it must not jump.
    :param job: the decisions.
    :param pipeline: has the first state of every task's machine, and the code of the user's.
    :param settings: the job's options.
    :param launching: see :class:`Launching`.
    :param recorder: see :class:`Recorder`.
    :param attempts: where the states of attempts are noted.
    :param outputs: where what programs print is kept; None: it is not.
    :param peers: how tasks reach their peers, if they have any.
    :param meter: adds up what is used of Lambda.
    :param tokens: recognise workers that come back; None: their launch id alone does.
    :param overspent: asked once a second; says why the job is to end, if it has cost more than it may.
    """

    log = Logger()

    def __init__(
        self,
        clock: ReactorTime,
        job: Job,
        pipeline: Pipeline,
        settings: JobSettings,
        *,
        launching: Launching,
        recorder: Recorder,
        attempts: Attempts,
        outputs: OutputStore | None = None,
        peers: Peers | None = None,
        meter: Meter | None = None,
        tokens: LaunchTokens | None = None,
        overspent: Callable[[], str | None] = lambda: None,
    ) -> None:
        self.job = job
        self._overspent = overspent
        self._clock = clock
        self._pipeline = pipeline
        self._settings = settings
        self._label = pipeline.labels(settings)
        self._commits = CommitQueue(clock, recorder, self._act, self._tell_settled)
        self.attempts = attempts
        self.outputs = outputs
        self._meter = meter or Meter()
        self._finished: list[Deferred[None]] = []
        self._added = 0
        self._unsettled: list[tuple[int, Deferred[None]]] = []
        self._sessions: dict[int, Session] = {}
        self._private_keys = peers is not None and peers.issue is not None
        takes = partial(pipeline.takes, settings)
        blocked = self._code_blocked
        ahead = job.message_peers
        starter = AttemptStarter(job.name, pipeline.first, settings, attempts, peers, takes, blocked, outputs, ahead)
        self._starter = starter
        self._tokens = tokens
        self._executor = ActionExecutor(job, clock, launching, self._sessions, starter, self._meter, self, tokens)
        self._blocked = 0
        self._gone: list[Deferred[None]] = []
        self._cut_off: list[tuple[int, str]] = []
        self._tick = every(clock, TICK, self._time_passed)

    @property
    def name(self) -> str:
        """The job's identifier."""
        return self.job.name

    @property
    def counts(self) -> Counts:
        """Where the job's tasks stand."""
        return self.job.counts()

    def label(self, task: int) -> str | None:
        """What the user knows a task by; None: by its number."""
        with guard.on_behalf_of(self.name):
            return self._label(task)

    @property
    def labels(self) -> Callable[[int], str | None]:
        """What the user knows tasks by, for one who outlives the run."""
        return self._label

    def finding(self, text: str) -> Steps[list[int]]:
        """As :meth:`~mu_twisted.pipelines.Pipeline.finding`."""
        return guard.doing_for(self.name, self._pipeline.finding(self._settings, text))

    @property
    def tee(self) -> JobTee | None:
        """What passes on what programs print while they run; None: that was not asked for."""
        return self._starter.tee

    def watch_output(self) -> JobTee:
        """What passes on what programs print from now on, while they run."""
        tee = self._starter.tee
        if tee is None:
            tee = self._starter.tee = JobTee(self._clock)
            for number, session in self._sessions.items():
                task, attempt = self.job.task_of(number), self.job.attempt_of(number)
                if task is not None and attempt is not None:
                    self._starter.stream(session, task, attempt)
        return tee

    def report(self) -> Report:
        """What the pipeline has to say of the job, which is over. One that fails says that, and lets the job be."""
        with guard.on_behalf_of(self.name):
            try:
                report = self._pipeline.last_word(self._settings, dict(self.job.remarks))
            except MuError as failed:
                self.log.failure("the report of pipeline {name} failed", name=self._pipeline.name)
                return Report(terminal_safe(str(failed)[:MAX_REPORT]))
        error = None if report.error is None else one_line(report.error[:MAX_REPORT])
        return Report(terminal_safe(report.text[:MAX_REPORT]).strip("\n"), error, report.plots)

    def finished(self) -> Deferred[None]:
        """Fires when the job is over; at once if it is. Cancelling gives up waiting only."""
        waiting: Deferred[None] = Deferred(self._finished.remove)
        if self.job.over and self._commits.idle and not self._executor.finishing:
            waiting.callback(None)
        else:
            self._finished.append(waiting)
        return waiting

    def workers_gone(self) -> Deferred[None]:
        """Fires when no worker of the job is connected any more. Cancelling gives up waiting only."""
        waiting: Deferred[None] = Deferred(self._gone.remove)
        if self._sessions:
            self._gone.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    # -- what the service asks -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask for the workers of a new job."""
        self._begin(self.job.start(self._now(), keep_open=self._pipeline.extends is not None))

    def extend(self, inputs: str) -> int:
        """Add tasks to a job that is kept open.

        :param inputs: what they are to work on, packed.
        :returns: the number of the first.
        :raises ServiceError: the job takes no more.
        :raises PipelineError: the inputs are none, or the pipeline's own code fails.
        """
        if self._pipeline.extends is None or not self.job.kept_open:
            raise ServiceError(f"no tasks can be added to job {self.name}")
        if self._added + len(inputs) > MAX_ADDED:
            raise ServiceError(f"job {self.name} takes no more tasks, as {MAX_ADDED} bytes of them were added")
        more, first = unpack_inputs(inputs), self.job.counts().tasks
        if first + len(more) > MAX_INPUTS:
            raise ServiceError(f"job {self.name} takes no more than {MAX_INPUTS} tasks")
        count = self._pipeline.extend(self._settings, more)
        self._added += len(inputs)
        self._commits.take(self.job.extend(count, inputs, self._now()))
        return first

    def close(self) -> None:
        """No more tasks are added."""
        self._commits.take(self.job.close(self._now()))

    def settled_after(self, count: int) -> Deferred[None]:
        """Fires when more tasks than so many are settled, or the job is over; at once if so. Cancelling gives up
        waiting only.
        """
        self.job.asked_for(self._now())
        waiting: Deferred[None] = Deferred(self._give_up_settled)
        self._unsettled.append((count, waiting))
        self._tell_settled()
        return waiting

    def resume(self) -> None:
        """Go on after a restart of the coordinator."""
        self._begin(self.job.resume(self._now()))

    def retry(self) -> None:
        """The job is over: run its failed tasks again."""
        self._begin(self.job.retry(self._now()))

    def cancel(self, reason: str) -> None:
        """End the job as its user wants it."""
        self._commits.take(self.job.cancel(reason, self._now()))

    def abort(self, error: str) -> None:
        """End the job; what is not done has failed.

        :param error: one line for the user.
        """
        self._commits.take(self.job.abort(error, self._now()))

    def allow_workers(self, limit: int | None) -> None:
        """Other jobs need workers too.

        :param limit: workers that this one may have; None: any number.
        """
        self._commits.take(self.job.allow_workers(limit, self._now()))

    def drop(self) -> None:
        """The job was not taken after all: nothing of what it has decided is carried out."""
        self._commits.drop()
        self._tick.stop()
        self._close_tee()
        if self.outputs is not None:
            self.outputs.close()

    def stop(self) -> None:
        """The coordinator stops: dismiss the workers; the job stays as it is, for the next start."""
        if self._executor.finishing:
            self._executor.finish_now()
            return
        self._commits.take(self.job.stop(self._now()))
        self._commits.end()
        self._executor.end()
        self._tick.stop()
        self._close_files()

    # -- what its workers' sessions report -------------------------------------------------------------------------

    def heard(self, session: Session) -> None:
        """A worker is alive."""
        self.job.heard(session.number)

    def worker_greeted(self, session: Session) -> None:
        """A worker of this job is there, new or warm."""
        greeting = session.greeting
        launch_id = launch_id_in(self.name, greeting.launch_id)
        pipeline = self._pipeline
        ported = pipeline.consumes is not None and isinstance(pipeline.first, type)
        links, pipes = pipeline.messages is not None, pipeline.pipes is not None
        why = unserved(greeting, keys=self._private_keys, links=links, ported=ported, pipes=pipes)
        if why is not None:
            session.dismiss()
            function = self._settings["function"]
            self._executor.cannot_serve(
                launch_id,
                f"function {function} holds a worker {why}: make the function again with `mu lambdaize --replace`",
            )
            return
        session.launch_id = launch_id
        self._sessions[session.number] = session
        self._meter.worker_greeted(session.number, greeting, self._now())
        self._commits.take(
            self.job.worker_greeted(
                session.number,
                launch_id or None,
                self._now(),
                reusable=greeting.version > 0,
                redial=True if greeting.redial else None,
                seconds_left=greeting.deadline_ms / 1000 if greeting.deadline_ms else None,
                takes_token=self._tokens is not None and self._tokens.are_taken_by(greeting),
                proven=self._tokens is not None and self._tokens.proves(greeting, launch_id),
            )
        )

    def token_taken(self, session: Session) -> None:
        """The worker has the token of its launch."""
        self.job.token_taken(session.number)

    def worker_waits(self, session: Session, waits: Waits) -> None:
        """The worker's task waits for these messages, if for any, and does nothing else."""
        self.job.task_waits(session.number, waits, self._now())

    def paths_known(self, session: Session, outcomes: Mapping[int, str]) -> None:
        """The worker's task has direct paths to these peers, or why it has none."""
        task = self.job.task_of(session.number)
        if task is not None:
            self._meter.paths_known(outcomes.values())
            self.attempts.paths_known(task, self.job.attempt_of(session.number) or 0, outcomes)

    def bytes_known(self, session: Session, counts: ByteCounts) -> None:
        """The worker's task has moved so many bytes since it began."""
        task = self.job.task_of(session.number)
        if task is not None:
            self._meter.moved(self.attempts.bytes_known(task, self.job.attempt_of(session.number) or 0, counts))

    def task_ended(self, session: Session, machine: Machine) -> None:
        """The machine of the session's task has ended."""
        now = self._now()
        task = self.job.task_of(session.number)
        if task is None:
            return
        remark = machine.info.get("background")
        if isinstance(remark, str):
            self._warn(task, "{called}: {remark}", session, remark=printable(remark[:500]))
        if machine.outcome is Outcome.DONE:
            self._commits.take(self.job.task_done(session.number, now, machine.remark))
            return
        kind, status, error = failure_of(machine)
        one = machine.info.get("input")
        if isinstance(one, str):  # of several that the task has
            error = f"{printable(one)}: {error}"
        if kind is Failure.CHANNEL:
            self._cut_off.append((task, error))
        else:
            self._warn(task, "{called}, attempt {attempt} failed: {error}", session, error=joined_lines(error))
        self.log.debug("task {task}: {detail}", job=self.name, task=task, detail=machine.error)
        self._commits.take(self.job.task_failed(session.number, error, now, kind=kind, status=status))

    def session_closed(self, session: Session, reason: str) -> None:
        """The worker is gone."""
        self._sessions.pop(session.number, None)
        self._executor.session_closed(session)
        self._meter.worker_left(session.number, self._now())
        task = self.job.task_of(session.number)
        if task is not None:
            self._warn(task, "{called}, attempt {attempt} failed: {reason}", session, reason=reason)
        self._commits.take(self.job.worker_lost(session.number, reason, self._now()))
        if not self._sessions:
            gone, self._gone = self._gone, []
            for waiting in gone:
                waiting.callback(None)

    # -- what the rendezvous reports -------------------------------------------------------------------------------

    def messages_lost(self, task: int) -> None:
        """A message that this task has sent is wanted again, and gone."""
        self._commits.take(self.job.messages_lost(task, self._now()))

    def messages_resent(self, task: int) -> None:
        """All that this task had sent by links, and was gone, is there again."""
        self._commits.take(self.job.messages_resent(task, self._now()))

    def store_named(self, store: str, shard: int = 0, tasks: Container[int] | None = None) -> None:
        """A shard of the rendezvous keeps messages under this token; another than before means that they are gone.

        :param tasks: whose messages; None: those of all.
        """
        self._commits.take(self.job.store_named(store, self._now(), shard, tasks))

    def store_unreachable(self, why: str, shard: int = 0, tasks: Container[int] | None = None) -> None:
        """A shard of the rendezvous is not there: tasks that need it are held until it names its token again.

        :param why: one line for the user.
        :param tasks: whose messages; None: those of all.
        """
        self._commits.take(self.job.store_unreachable(why, self._now(), shard, tasks))

    # -- what the executor reports ---------------------------------------------------------------------------------

    def decided(self, actions: Iterable[Action]) -> None:
        """The job has decided these; they are carried out in their turn."""
        self._commits.take(actions)

    def end(self) -> None:
        """The job is over, and that is on record."""
        self._log_cut_off()
        self._tick.stop()
        self._executor.end()
        try:
            self._close_files()
        finally:
            finished, self._finished = self._finished, []
            for waiting in finished:
                waiting.callback(None)

    def broken(self, error: Exception) -> None:
        """Something that the job cannot do without has failed: it ends while it still can."""
        try:
            self.abort(own_fault(error))
        except Exception:  # noqa: BLE001 - then the user's `mu cancel` may do, or the next look
            self.log.failure("job {job} cannot be ended", job=self.name)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _give_up_settled(self, waiting: Deferred[None]) -> None:
        self._unsettled = [one for one in self._unsettled if one[1] is not waiting]

    def _tell_settled(self) -> None:
        if not self._unsettled:
            return
        count = sys.maxsize if self.job.over else len(self.job.settled)
        due = [one for one in self._unsettled if one[0] < count]
        self._unsettled = [one for one in self._unsettled if one[0] >= count]
        for _, waiting in due:
            waiting.callback(None)

    def _code_blocked(self, why: str) -> None:
        self._blocked += 1
        if self._blocked == MAX_BLOCKED:
            error = f"its code had to be interrupted {MAX_BLOCKED} times; the last time it {why}"
            self._clock.callLater(0, lambda: self._end_blocked(error))  # what was interrupted is reported first

    def _end_blocked(self, error: str) -> None:
        if self._tick.running:  # it has not been given up meanwhile
            self.abort(error)

    def _close_tee(self) -> None:
        if self.tee is not None:
            self.tee.close()

    def _close_files(self) -> None:
        self._close_tee()
        self.attempts.close()
        if self.outputs is not None:
            self.outputs.close()

    def _called(self, task: int) -> str:
        return called(task, self.label(task))

    def _now(self) -> float:
        return self._clock.seconds()

    def _begin(self, actions: Iterable[Action]) -> None:
        self._tick.start()
        self._commits.take(actions)

    def _log_cut_off(self) -> None:
        """Log one line for all tasks that had no way to their peers of late; none where that is known."""
        cut_off, self._cut_off = self._cut_off, []
        failed = [(task, error) for task, error in cut_off if not self.job.is_held(task)]
        if len(failed) == 1:
            self._warn(failed[0][0], "{called} failed: {error}", error=failed[0][1])
        elif failed:
            task, error = failed[0]
            text = "{count} tasks failed: they have no way to their peers; {called}: {error}"
            self._warn(task, text, count=len(failed), error=error)

    def _warn(self, task: int, text: str, session: Session | None = None, **fields: object) -> None:
        """Log what is about a task: by what it is called, and for those who look for it by numbers.

        :param session: with the worker that did it.
        """
        at = {} if session is None else {"worker": session.number, "attempt": self.job.attempt_of(session.number)}
        self.log.warn(text, job=self.name, task=task, called=self._called(task), **at, **fields)

    def _time_passed(self) -> None:
        try:
            self._log_cut_off()
            self._commits.take(self.job.time_passed(self._now()))
            why = None if self.job.over else self._overspent()
            if why is not None:
                self.abort(why)
        except Exception as error:  # noqa: BLE001 - else the clock is not looked at any more, and the job hangs
            self.log.failure("looking at the clock failed in job {job}", job=self.name)
            self.broken(error)

    def _act(self, action: Action) -> None:
        self._executor.act(action)

"""The lifecycle takes a job from its beginning to its end: started, resumed, concluded after each event, finished."""

from collections.abc import Collection, Generator
from itertools import chain

from mu_twisted.base.steps import STEP
from mu_twisted.jobs._actions import Finish, StopLaunches, UseLargerFunction
from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._halt import halt_reason
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._records import (
    AttemptEnded,
    AttemptOutcome,
    Cancelled,
    Closed,
    Enlarged,
    Extended,
    Finished,
    KeptOpen,
    Retried,
    Started,
)
from mu_twisted.jobs._scaling import Scaling
from mu_twisted.jobs._tasks import SETTLED, Task, TaskState
from mu_twisted.jobs._timers import TimerKind


class JobLifecycle:
    """The decisions about the job as a whole.

    :param data: the job.
    """

    def __init__(self, data: JobData, chains: Chains, outcomes: Outcomes, scaling: Scaling) -> None:
        self._data = data
        self._chains = chains
        self._outcomes = outcomes
        self._scaling = scaling
        self._taken_up = self._retried = False
        self._extra = 0

    def start(self, *, keep_open: bool = False) -> None:
        """A new job begins.

        :param keep_open: whether more tasks may be added.
        """
        self._next_generation()
        if keep_open:
            self._data.record(KeptOpen())
            self._data.linger()
        self._data.enqueue([task for task in self._data.ledger.tasks.values() if task.state is TaskState.WAITING])
        self.conclude(self._data.policy.overprovision)

    def taking_up(self) -> Generator[None, None, None]:
        """All tasks of a restored job, once: what was under way waits again, at no cost, and workers that were there or
        on their way may come back. Pauses now and then.
        """
        if self._taken_up:
            return
        self._taken_up = True
        data, ledger = self._data, self._data.ledger
        self._extra = data.policy.overprovision if ledger.generation < 0 else 0
        self._next_generation()
        back: list[LaunchId] = []
        for at, task in enumerate(ledger.tasks.values()):
            back += self._interrupted(task)
            if at % STEP == 0:
                yield
        for at, task in enumerate(ledger.tasks.values()):
            self._take_in(task)
            if at % STEP == 0:
                yield
        self._chains.complete_gangs("the coordinator was restarted")
        back += yield from data.launches.unseen(min(data.limit, data.useful) - len(back))
        for at, launch_id in enumerate(back):
            data.launches.expect_back(launch_id)
            data.timers.push(data.now + data.policy.redial_timeout, TimerKind.LAUNCH, launch_id)
            if at % STEP == 0:
                yield

    def resume(self) -> None:
        """A restored job, whose tasks have been taken up, goes on."""
        data = self._data
        if data.holds or data.ledger.tally[TaskState.HELD]:  # that may have changed since they were taken up
            data.apply_holds()
        self._use_function()
        self.conclude(self._extra)

    def retrying(self, only: Collection[int] | None = None) -> Generator[None, None, None]:
        """The tasks that have failed are wanted all the same. Pauses now and then.

        :param only: of these tasks, and of those that they cannot be done without; None: all.
        :raises JobError: none of them has failed, or so many others have that the job would be halted at once.
        """
        data, ledger = self._data, self._data.ledger
        wanted = None if only is None else (yield from self._needed(only))
        failed: list[Task] = []
        for at, task in enumerate(ledger.tasks.values()):
            if task.state is TaskState.FAILED and (wanted is None or task.number in wanted):
                failed.append(task)
            if at % STEP == 0:
                yield
        left = ledger.tally[TaskState.FAILED] - len(failed)
        if not failed:
            raise JobError("none of these tasks has failed")
        if halt_reason(data.policy, left, len(ledger.tasks)) is not None:
            raise JobError(f"{left} other tasks have failed too, for which --halt would end the job: retry all of them")
        self._retried = True
        data.record(Retried(tuple([task.number for task in failed])))
        yield
        self._use_function()
        self._next_generation()
        waiting = [task for task in failed if task.state is TaskState.WAITING]
        for first in range(0, len(waiting), STEP):
            data.enqueue(waiting[first : first + STEP])
            yield
        self._chains.complete_gangs("tasks that it is joined with by pipes are tried again")
        self._chains.store_lost("the job was over, and its messages gone with it")

    def _needed(self, tasks: Collection[int]) -> Generator[None, None, set[int]]:
        """These tasks, those whose messages they need, as these went with the job, those that run at the same time, and
        the failed ones that they come after.
        """
        ledger = self._data.ledger
        found: set[int] = set()
        stack = [task for task in tasks if task in ledger.tasks]
        while stack:
            task = stack.pop()
            if task in found:
                continue
            found.add(task)
            failed = (one for one in ledger.precedence.before(task) if ledger.tasks[one].state is TaskState.FAILED)
            needs = chain(failed, ledger.lineage.producers(task), ledger.gangs.following(task))
            stack += [one for one in needs if one not in found]
            if len(found) % STEP == 0:
                yield
        return found

    def retry(self) -> None:
        """The tasks that are to be retried wait again: they get their workers."""
        if self._retried:
            self._retried = False
            self.conclude()

    def extend(self, count: int, inputs: str) -> None:
        """So many tasks are added; workers are launched for them at once."""
        data, ledger = self._data, self._data.ledger
        first = ledger.numbers[-1] + 1
        data.record(Extended(first, count, inputs))
        tasks = [ledger.tasks[number] for number in range(first, first + count)]
        data.backlog.extend(tasks)
        data.renew_lease()
        data.linger()
        self._scaling.begin()
        data.enqueue(tasks)
        self.conclude()

    def close(self, reason: str) -> None:
        """No more tasks are added: the job is over when those are that there are."""
        self._data.record(Closed(reason))
        self.conclude()

    def cancel(self, reason: str) -> None:
        """The user does not want the job any more."""
        self._data.record(Cancelled(reason))
        self.finish(reason)

    def conclude(self, extra: int = 0) -> None:
        """Decide what follows from an event for workers that have nothing to do.

        :param extra: workers to ask for beyond those that are needed.
        """
        data, scaling = self._data, self._scaling
        if data.ledger.kept_open:
            if not data.ledger.open:
                scaling.assign()  # those are dismissed that have lingered
                return
            data.linger()
        if not data.ledger.open and not self._enlarge():
            self.finish(self._summary())
            return
        halted = halt_reason(data.policy, data.ledger.tally[TaskState.FAILED], len(data.ledger.tasks))
        if halted is not None:
            self._halt(halted)
            return
        scaling.assign()
        if self._is_refused_throughout():
            self.finish(f"no launch was accepted: {data.launches.refusal}")
            return
        scaling.launch(extra)
        if scaling.has_given_up and not data.launches and not scaling.paused:
            self.finish(self._summary())

    def finish(self, error: str | None) -> None:
        """The job is over."""
        self.leave("the job is over")
        self._data.record(Finished(error))
        self._data.do(Finish())

    def leave(self, reason: str) -> None:
        """End what is under way, dismiss all workers, and expect no others."""
        data = self._data
        for attempt in [attempt for attempts in data.attempts.values() for attempt in attempts]:
            data.end(attempt, AttemptOutcome.SUPERSEDED if attempt.superseded else AttemptOutcome.REVOKED, error=reason)
        if data.launches:
            data.do(StopLaunches())
        for worker in list(data.pool.members.values()):
            data.dismiss(worker, reason)
        data.reset()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _enlarge(self) -> bool:
        """All tasks are settled: begin those again, once, that have died for want of memory. Tells if there are any."""
        data, ledger = self._data, self._data.ledger
        if not data.policy.retry_memory or ledger.enlarged is not None:
            return False
        starved = ledger.starved & ledger.failures.keys()
        if not starved:
            return False
        joined = {member for one in starved for member in ledger.gangs.members(one)} & ledger.failures.keys()
        behind = ledger.precedence.behind(joined) & ledger.failures.keys()
        joined |= {member for one in behind for member in ledger.gangs.members(one)} & ledger.failures.keys()
        tasks = sorted((ledger.tasks[one] for one in joined | behind), key=lambda one: one.rank)
        self.leave("what is left to do needs more memory")
        data.record(Enlarged(tuple(task.number for task in tasks)))
        self._use_function()
        self._next_generation()
        data.enqueue([task for task in tasks if task.state is TaskState.WAITING])
        self._chains.complete_gangs("tasks that it is joined with by pipes need more memory")
        return True

    def _use_function(self) -> None:
        if self._data.ledger.enlarged is not None:
            self._data.do(UseLargerFunction())

    def _halt(self, reason: str) -> None:
        data = self._data
        if data.policy.halt_running or not any(data.attempts.values()):
            self.finish(reason)
            return
        for worker in list(data.pool.idle.values()):
            data.dismiss(worker, "the job is being halted")

    def _next_generation(self) -> None:
        data, ledger = self._data, self._data.ledger
        data.record(Started(ledger.generation + 1))
        data.launches.begin(ledger.generation, ledger.launched, ledger.seen)
        self._scaling.begin()

    def _interrupted(self, task: Task) -> list[LaunchId]:
        """End what was under way when the coordinator ended; the launch ids of the workers that ran it."""
        data = self._data
        outcome = AttemptOutcome.REVOKED if task.won is None else AttemptOutcome.SUPERSEDED
        running = dict(task.running)
        for attempt in running:
            data.record(AttemptEnded(task.number, attempt, outcome, 0.0, error="the coordinator was restarted"))
        if task.won is not None and running:
            # Its other worker may still be at it, until it is back and cleared or has ended by itself.
            data.timers.push(data.now + data.policy.redial_timeout, TimerKind.SETTLE, task)
        else:
            self._outcomes.settle(task)
        return [launch_id for launch_id in running.values() if launch_id is not None]

    def _take_in(self, task: Task) -> None:
        """Do what had been decided about the task but was not recorded any more."""
        if task.state is TaskState.WAITING:
            if task.failures > self._data.policy.retries:
                self._outcomes.give_up(task)
            else:
                self._data.enqueue([task])
        elif task.state is TaskState.FAILED:
            self._chains.fail_dependents(task, task.error)
        if task.state in SETTLED:
            self._chains.settled(task)

    def _is_refused_throughout(self) -> bool:
        launches = self._data.launches
        no_worker = not launches and not self._data.pool.members
        return no_worker and not launches.any_accepted and not launches.any_connected and launches.refusal is not None

    def _summary(self) -> str | None:
        ledger = self._data.ledger
        failed = ledger.tally[TaskState.FAILED]
        if not failed and not ledger.open:
            return None
        text = f"{failed + ledger.open} of {len(ledger.tasks)} tasks failed"
        if ledger.open:
            why = self._data.launches.refusal or "their workers never dialled in"
            text += f", {ledger.open} of them because no worker came: {why}"
        return text

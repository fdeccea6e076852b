"""A job decides which worker gets which task, what is tried again, when it is over and how it went.

Every method that takes ``now``, seconds of a clock that never goes back, reports an event and returns what to do about
it. The decisions stand in the modules beside this one.
"""

from collections.abc import Callable, Collection, Container, Generator, Iterable, Mapping, Sequence
from random import Random

from mu_twisted.base.steps import exhaust
from mu_twisted.jobs._actions import Action, Dismiss, GiveToken, Record
from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._gangs import Pipe
from mu_twisted.jobs._job_data import LEASE, JobData
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._launches import Arrival
from mu_twisted.jobs._ledger import Ledger
from mu_twisted.jobs._lifecycle import JobLifecycle
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._policy import JobPolicy
from mu_twisted.jobs._precedence import Groups
from mu_twisted.jobs._records import JobRecord, Submitted
from mu_twisted.jobs._scaling import Scaling
from mu_twisted.jobs._stages import stage_runs
from mu_twisted.jobs._stragglers import Stragglers
from mu_twisted.jobs._timeouts import Timeouts
from mu_twisted.jobs._timers import TimerKind
from mu_twisted.jobs._view import JobView
from mu_twisted.jobs._waiting import Waiting
from mu_twisted.jobs._worker_pool import PoolWorker, Waits, WorkerSlot


class Job(JobView):
    """The decisions of one job.

    :param name: the job's identifier.
    :param order: task numbers in the order in which they are to be assigned, each once.
    :param policy: how hard it tries; None: as the options' defaults say.
    :param consumes: for tasks that take messages, those that send them; these are assigned first.
    :param messages: the same for tasks that may take messages of one another.
    :param after: tasks, each time with those that are begun when all of them are done.
    :param stages: the parts of the job by name, in the order in which they are shown, each with its tasks, ascending.
    :param pipes: that join tasks, which run at the same time.
    :param side_effects: whether a task may not be tried twice at once.
    :param random: a number from 0 to 1 at each call; None: from a generator whose seed is the name.
    :raises JobError: there is no task, or a number stands in ``order`` twice, or tasks wait for one another, or more
        run at the same time than there may be workers.
    """

    def __init__(
        self,
        name: str,
        order: Sequence[int],
        policy: JobPolicy | None = None,
        *,
        consumes: Mapping[int, Sequence[int]] | None = None,
        messages: Mapping[int, Sequence[int]] | None = None,
        after: Groups = (),
        stages: Iterable[tuple[str, Iterable[int]]] = (),
        pipes: Sequence[Pipe] = (),
        side_effects: bool = False,
        random: Callable[[], float] | None = None,
    ) -> None:
        submitted = _submitted(name, order, policy, consumes, messages, after, stages, pipes, side_effects)
        self._adopt(Ledger(submitted), random)

    @classmethod
    def making(
        cls,
        name: str,
        order: Sequence[int],
        policy: JobPolicy | None = None,
        *,
        consumes: Mapping[int, Sequence[int]] | None = None,
        messages: Mapping[int, Sequence[int]] | None = None,
        after: Groups = (),
        stages: Iterable[tuple[str, Iterable[int]]] = (),
        pipes: Sequence[Pipe] = (),
        side_effects: bool = False,
    ) -> "Generator[None, None, Job]":
        """As the constructor, with pauses in which others may have their turn: a job may have a million tasks."""
        job = cls.__new__(cls)
        submitted = _submitted(name, order, policy, consumes, messages, after, stages, pipes, side_effects)
        job._adopt((yield from Ledger.making(submitted)), None)
        return job

    @classmethod
    def restore(cls, records: Iterable[JobRecord], *, random: Callable[[], float] | None = None) -> "Job":
        """The job that these records describe; :meth:`resume` goes on with it.

        :raises RecordError: they describe none, or what cannot have happened.
        """
        return exhaust(cls.restoring(records, random=random))

    @classmethod
    def restoring(
        cls, records: Iterable[JobRecord], *, random: Callable[[], float] | None = None
    ) -> "Generator[None, None, Job]":
        """As :meth:`restore`, with pauses in which others may have their turn."""
        ledger = yield from Ledger.folding(records)
        yield
        job = cls.__new__(cls)
        job._adopt(ledger, random, is_recorded=True)
        return job

    def _adopt(self, ledger: Ledger, random: Callable[[], float] | None, *, is_recorded: bool = False) -> None:
        data = self._data = JobData(ledger, random or Random(ledger.submitted.job).random)
        self._chains = Chains(data)
        self._outcomes = Outcomes(data, self._chains)
        self._waiting = Waiting(data, self._chains, self._outcomes)
        self._scaling = Scaling(data)
        self._stragglers = Stragglers(data)
        self._timeouts = Timeouts(data, self._outcomes, self._scaling)
        self._lifecycle = JobLifecycle(data, self._chains, self._outcomes, self._scaling)
        self._begun = self._stopped = False
        self._is_recorded = is_recorded

    # -- from beginning to end -------------------------------------------------------------------------------------

    def start(self, now: float, *, keep_open: bool = False) -> list[Action]:
        """The job begins.

        :param keep_open: whether :meth:`extend` may add tasks, until :meth:`close`.
        """
        self._begin()
        if self._goes_on(now):
            self._lifecycle.start(keep_open=keep_open)
        return self._data.take()

    def extend(self, count: int, inputs: str, now: float) -> list[Action]:
        """The user adds so many tasks, with the numbers after the last.

        :param inputs: what they are to work on, as the pipeline takes it.
        :raises JobError: the job takes no more.
        """
        if not self._goes_on(now) or not self._data.ledger.kept_open:
            raise JobError("no more tasks can be added to the job: it is closed")
        self._lifecycle.extend(count, inputs)
        return self._data.take()

    def close(self, now: float) -> list[Action]:
        """The user adds no more tasks; of a job that is closed already nothing comes."""
        if self._goes_on(now) and self._data.ledger.kept_open:
            self._lifecycle.close("")
        return self._data.take()

    def asked_for(self, now: float) -> None:
        """The program that may add tasks has asked for what has become of the others: it is there."""
        self._data.advance(now)
        self._data.renew_lease()

    def resume(self, now: float) -> list[Action]:
        """A restored job goes on: what was under way waits again, at no cost, and its workers may come back."""
        exhaust(self.taking_up(now))
        self._begin()
        if self._goes_on(now):
            self._lifecycle.resume()
        return self._data.take()

    def taking_up(self, now: float) -> Generator[None, None, None]:
        """The long part of :meth:`resume`, which may come before it: with pauses in which others may have their turn,
        but this job none.
        """
        self._data.advance(now)
        if not self.over:
            yield from self._lifecycle.taking_up()

    def retry(self, now: float) -> list[Action]:
        """The job is over, and its failed tasks are wanted all the same: each has all its retries again."""
        exhaust(self.retrying(now))
        self._lifecycle.retry()
        return self._data.take()

    def retrying(self, now: float, only: Collection[int] | None = None) -> Generator[None, None, None]:
        """The long part of :meth:`retry`, as :meth:`taking_up` is of :meth:`resume`.

        :param only: of these tasks, and of failed ones that they cannot be done without; None: all.
        :raises JobError: it cannot be only these.
        """
        self._data.advance(now)
        if self.over and self.failures:
            self._begin()
            yield from self._lifecycle.retrying(only)

    def note_changes(self, into: set[int] | None) -> None:
        """Have the numbers of tasks whose state changes, or that begin another attempt, added to a set from now on.

        :param into: None: no more.
        """
        self._data.ledger.note_changes(into)

    def abort(self, error: str, now: float) -> list[Action]:
        """Something makes going on useless: every task that is not done has failed.

        :param error: one line for the user.
        """
        self._begin()
        if self._goes_on(now):
            self._lifecycle.finish(error)
        return self._data.take()

    def cancel(self, reason: str, now: float) -> list[Action]:
        """The user does not want the job any more.

        :param reason: one line; becomes the job's error.
        """
        self._begin()
        if self._goes_on(now):
            self._lifecycle.cancel(reason)
        return self._data.take()

    def stop(self, now: float) -> list[Action]:
        """The coordinator ends, the job does not: its records go on with it. Nothing is decided after this."""
        if self._goes_on(now):
            self._lifecycle.leave("the coordinator is stopped")
            self._stopped = True
        return self._data.take()

    def time_passed(self, now: float) -> list[Action]:
        """The clock has moved. To be reported once a second."""
        if self._goes_on(now):
            self._timeouts.look()
            self._stragglers.look()
            self._scaling.retire_expiring()
            if self._data.is_abandoned:
                self._lifecycle.close(f"its program has not been heard of for {LEASE:g} s")
            self._waiting.look()
            self._lifecycle.conclude()
            self._chains.preempt()
        return self._data.take()

    def allow_workers(self, most: int | None, now: float) -> list[Action]:
        """Other jobs have use for workers too: this one may have so many. Those that work finish their tasks.

        :param most: workers at once; None: as many as its policy says.
        """
        if most == self._data.ceiling:
            return []
        self._data.set_ceiling(most)
        if self._goes_on(now):
            self._lifecycle.conclude()
        return self._data.take()

    # -- launches and workers --------------------------------------------------------------------------------------

    def launch_accepted(self, launch_id: LaunchId, now: float) -> list[Action]:
        """Lambda has taken the event: from now on the worker may come, and is due after the start timeout."""
        if self._goes_on(now) and self._data.launches.accept(launch_id):
            self._data.timers.push(now + self._data.policy.start_timeout, TimerKind.LAUNCH, launch_id)
            if self._scaling.rest_is_due:
                self._lifecycle.conclude()
        return self._data.take()

    def launch_refused(self, launch_id: LaunchId, reason: str, now: float) -> list[Action]:
        """The launch has failed for good; no worker will come of it."""
        if self._goes_on(now) and self._data.launches.refuse(launch_id, reason):
            self._lifecycle.conclude()
        return self._data.take()

    def worker_greeted(
        self,
        worker: int,
        launch_id: LaunchId | None,
        now: float,
        *,
        reusable: bool = True,
        seconds_left: float | None = None,
        redial: bool | None = None,
        takes_token: bool = False,
        proven: bool = False,
    ) -> list[Action]:
        """A worker has greeted: for the first time, after it had lost us, or after :class:`Warm`, :class:`Interrupt`.

        :param worker: a number that stands for its connection.
        :param launch_id: what its event said; None for a worker that does not say it (the original's).
        :param reusable: whether it can be cleared for another task and answers pings; the original's cannot.
        :param seconds_left: of its function's time; None if it does not say.
        :param redial: whether it says that it has been here before; None if it does not say.
        :param takes_token: whether it can be given the token of its launch id; see :meth:`token_taken`.
        :param proven: whether it has shown that token.
        """
        if not self._goes_on(now):
            return [Dismiss(worker, "the job is over" if self.over else "the coordinator is not ready")]
        deadline = None if seconds_left is None else now + seconds_left
        member = self._data.pool.members.get(worker)
        if member is None:
            newcomer = PoolWorker(worker, launch_id, reusable, deadline)
            self._arrived(newcomer, seconds_left, redial, takes_token=takes_token, proven=proven)
            self._lifecycle.conclude()
        elif member.slot is WorkerSlot.WARMING:
            member.greeted_again(deadline)
            self._outcomes.cleared(member)
            self._lifecycle.conclude()
        return self._data.take()

    def token_taken(self, worker: int) -> None:
        """The worker has the token: its launch id is good for no other worker from now on, unless it shows that."""
        member = self._data.pool.members.get(worker)
        if member is not None and member.launch_id is not None:
            self._data.launches.bind(member.launch_id, worker)

    def heard(self, worker: int) -> None:
        """The worker has said something, whatever it was."""
        member = self._data.pool.members.get(worker)
        if member is not None:
            member.heard()

    def task_done(self, worker: int, now: float, remark: str = "") -> list[Action]:
        """The worker's machine has reached its end; ``remark`` is what it leaves for the job's report."""
        found = self._working(worker)
        if self._goes_on(now) and found is not None:
            self._outcomes.done(*found, remark)
            self._lifecycle.conclude()
        return self._data.take()

    def task_failed(
        self, worker: int, error: str, now: float, *, kind: Failure = Failure.REPLY, status: int | None = None
    ) -> list[Action]:
        """The worker's machine has ended with an error; the worker itself is still there.

        :param error: one line for the user.
        :param status: the exit status that a failure of kind :attr:`Failure.EXIT` is about.
        """
        found = self._working(worker)
        if self._goes_on(now) and found is not None:
            self._outcomes.failed(*found, kind, status, error)
            self._lifecycle.conclude()
        return self._data.take()

    def worker_lost(self, worker: int, reason: str, now: float) -> list[Action]:
        """The connection has ended, from either side.

        :param reason: what a task that was under way has failed of.
        """
        member = self._data.pool.members.get(worker)
        if self._goes_on(now) and member is not None:
            self._data.forget(member)
            self._outcomes.lost(member, Failure.LOST, reason)
            self._lifecycle.conclude()
        return self._data.take()

    # -- messages between tasks ------------------------------------------------------------------------------------

    def messages_lost(self, task: int, now: float) -> list[Action]:
        """The rendezvous does not have a message of this task any more that a task wants again."""
        found = self._data.ledger.tasks.get(task)
        if self._goes_on(now) and found is not None:
            if self._chains.messages_lost(found):
                self._outcomes.give_up(found)
            self._lifecycle.conclude()
        return self._data.take()

    def messages_resent(self, task: int, now: float) -> list[Action]:
        """Whatever was gone of the messages of this task is there again: if it runs for that alone, it need not."""
        found = self._data.ledger.tasks.get(task)
        if self._goes_on(now) and found is not None:
            self._chains.messages_resent(found)
            self._lifecycle.conclude()
        return self._data.take()

    def task_waits(self, worker: int, waits: Waits, now: float) -> None:
        """The worker's task does nothing but wait for these messages; empty: it does so no more."""
        found = self._working(worker)
        if found is not None:
            found[1].wait(waits, now)

    def store_named(self, store: str, now: float, shard: int = 0, tasks: Container[int] | None = None) -> list[Action]:
        """A shard of the rendezvous keeps messages under this token; a new one means that those before are gone.

        :param tasks: whose messages it keeps; None: those of all.
        """
        if self._goes_on(now):
            new = self._chains.store_named(store, shard, tasks)
            back = self._chains.store_reachable(shard)  # after it, so that nothing is begun only to be revoked
            if new or back:
                self._lifecycle.conclude()
        else:
            self._data.holds.remove(shard)
        return self._data.take()

    def store_unreachable(
        self, why: str, now: float, shard: int = 0, tasks: Container[int] | None = None
    ) -> list[Action]:
        """A shard of the rendezvous cannot be reached: tasks that need it are held until :meth:`store_named`.

        May be reported before the job begins, and again when the reason is another.

        :param why: one line for the user.
        :param tasks: whose messages it keeps; None: those of all.
        """
        goes_on = self._goes_on(now)
        if not goes_on:
            self._data.holds.add(shard, why, tasks, self._data.now)
        elif self._chains.store_unreachable(shard, why, tasks):
            self._lifecycle.conclude()
        return self._data.take()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._begun = True
        if not self._is_recorded:
            self._is_recorded = True
            self._data.do(Record(self._data.ledger.submitted))

    def _goes_on(self, now: float) -> bool:
        self._data.advance(now)
        return self._begun and not (self.over or self._stopped)

    def _arrived(
        self, worker: PoolWorker, seconds_left: float | None, redial: bool | None, *, takes_token: bool, proven: bool
    ) -> None:
        data = self._data
        arrival, before = data.launches.arrive(worker.launch_id, worker.number, redial, proven=proven)
        if arrival is Arrival.DOUBLED:
            why = f"launch {worker.launch_id} has been used: its event was delivered twice"
            data.do(Dismiss(worker.number, why))
            return
        if arrival is Arrival.STRANGE:
            data.do(Dismiss(worker.number, "its launch is none of this job's"))
            return
        larger = data.ledger.enlarged
        if larger is not None and worker.launch_id is not None and int(worker.launch_id.partition("-")[0]) < larger:
            data.do(Dismiss(worker.number, "its function is too small for what is left to do"))
            return
        old = data.pool.members.get(before) if before is not None else None
        if old is not None:
            data.abort(old, "its worker has dialled in again")
            self._outcomes.lost(old, Failure.LOST, "its worker lost the connection, and dialled in again")
        self._scaling.worker_connected(seconds_left, new=arrival is Arrival.NEW)
        data.pool.add(worker)
        if arrival is Arrival.BACK and worker.launch_id is not None:
            self._outcomes.reconnected(worker.launch_id)
        if not self._scaling.has_room():
            data.dismiss(worker, "there are as many workers as the job has use for")
            return
        if takes_token and not proven and worker.launch_id is not None:
            data.do(GiveToken(worker.number))
        if worker.reusable:
            self._timeouts.keep(worker)
        if arrival is Arrival.BACK:
            data.clear(worker, "it had lost the connection, and may still be at its last task")


def _submitted(
    name: str,
    order: Sequence[int],
    policy: JobPolicy | None,
    consumes: Mapping[int, Sequence[int]] | None,
    messages: Mapping[int, Sequence[int]] | None,
    after: Groups,
    stages: Iterable[tuple[str, Iterable[int]]],
    pipes: Sequence[Pipe],
    side_effects: bool,
) -> Submitted:
    groups = tuple((tuple(before), tuple(behind)) for before, behind in after)
    policy = policy or JobPolicy()
    edges = _edges(consumes), side_effects, _edges(messages)
    return Submitted(name, tuple(order), policy, *edges, groups, stage_runs(stages), tuple(pipes))


def _edges(edges: Mapping[int, Sequence[int]] | None) -> tuple[tuple[int, tuple[int, ...]], ...]:
    return tuple((task, tuple(producers)) for task, producers in sorted((edges or {}).items()) if producers)

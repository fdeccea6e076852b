"""Chains decide for tasks that need one another's messages: which run again, fail together, or are preempted.

The job does not learn that a task waits for an encoder's state; but one that consumes those of a task which is neither
done nor active, directly or through others, cannot finish. So its worker may be taken away where that one needs one.
"""

from collections.abc import Container, Iterator, Sequence

from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._job_data import MAX_ERROR, JobData
from mu_twisted.jobs._records import AttemptOutcome, Reopened, ResultStands, StoreNamed, TaskFailed, TasksFailed
from mu_twisted.jobs._tasks import PENDING, SETTLED, Task, TaskState
from mu_twisted.jobs._worker_pool import Attempt
from mu_twisted.wording import failed_with

_LINE = "\n"


class Chains:
    """The decisions about producers and consumers.

    :param data: the job.
    """

    def __init__(self, data: JobData) -> None:
        self._data = data
        self._lineage = data.ledger.lineage
        self._gangs = data.ledger.gangs

    def settled(self, task: Task) -> None:
        """The task is done or failed: its producers need not run again on its account."""
        tasks, stack = self._data.ledger.tasks, [task.number]
        if task.number in self._gangs and self._rests(task):
            stack += self._let_rest(task)
        while stack:
            for number in self._lineage.producers(stack.pop()):
                producer = tasks[number]
                if producer.has_result and producer.state not in SETTLED and self._rests(producer):
                    stack += self._let_rest(producer)

    def fail(self, task: Task, error: str) -> None:
        """The task has failed for good, and all that need its messages fail with it, instead of waiting for ever."""
        if task.has_result:
            self._stand(task)
            error = f"had to send its messages again, {error}"
        else:
            self._data.record(TaskFailed(task.number, error))
        self.fail_dependents(task, error)
        self.settled(task)

    def fail_dependents(self, task: Task, error: str) -> None:
        """All that need messages of the task, which has failed for good, or come after it, have failed."""
        tasks = self._data.ledger.tasks
        cause = error.partition(_LINE)[0]
        failed, seen = [task], {task.number}
        together: dict[str, list[int]] = {}
        while failed:
            one = failed.pop()
            for number in self._dependents(one):
                other = tasks[number]
                if number in seen or other.state in SETTLED:
                    continue
                seen.add(number)
                failed.append(other)
                if other.state is TaskState.BLOCKED:
                    how = "which it comes after"
                elif number in self._gangs.members(task.number):
                    how = "which it is joined with by pipes"
                else:
                    how = "whose messages it needs"
                why = failed_with(task.number, how, cause)[:MAX_ERROR]
                if other.number in self._data.attempts or other.has_result:
                    self._fail_consumer(other, why)
                else:
                    together.setdefault(why, []).append(number)
        for why, numbers in together.items():
            self._data.record(TasksFailed(tuple(numbers), why))
        seen.remove(task.number)
        if self._lineage:
            for number in seen:
                self.settled(tasks[number])

    def _dependents(self, task: Task) -> Iterator[int]:
        """Those that cannot be done without it, directly."""
        yield from self._gangs.others(task.number)
        yield from self._lineage.consumers(task.number)
        if not task.has_result:
            yield from self._data.ledger.precedence.close(task.number)

    def _fail_consumer(self, consumer: Task, why: str) -> None:
        self._revoke(consumer, why)
        if consumer.has_result:
            self._stand(consumer)
        else:
            self._data.record(TaskFailed(consumer.number, why))

    def messages_lost(self, task: Task) -> bool:
        """Messages that the task had sent are wanted again, and gone.

        :returns: whether the task is to be given up, as it has no rerun and no retry left.
        """
        if not self._is_needed(task) or task.state not in (TaskState.DONE, TaskState.ACTIVE):
            return False
        used_up = task.free >= self._data.policy.reruns
        if task.state is TaskState.DONE:
            self._reopen([task.number], "its messages were lost", costs=used_up)
        else:
            self._revoke(task, "its messages were lost", kind=Failure.CHANNEL, costs=used_up)
            self._data.enqueue([task])
        self.begin_gang_again(task, f"messages of task {task.number}, which it is joined with by pipes, were lost")
        if used_up:
            self._data.ledger.note_error(task, "its messages were lost again and again")
        return task.failures > self._data.policy.retries

    def messages_resent(self, task: Task) -> None:
        """All that the task had sent is there again: if it has a result, that stands, whatever it is at."""
        alone = len(self._gangs.members(task.number)) == 1
        if alone and task.has_result and task.state is TaskState.ACTIVE:
            self._revoke(task, "its messages are sent again")
            self._stand(task)
            self.settled(task)

    def store_unreachable(self, shard: int, why: str, of: Container[int] | None) -> bool:
        """A shard cannot be asked now: tasks that would exchange messages over it are held, until it is named again.

        Those that are under way go on; they may not need it yet.

        :param of: the tasks whose messages it keeps; None: all.
        :returns: whether other tasks may be held than before.
        """
        data = self._data
        if not data.holds.add(shard, why, of, data.now):
            return False
        data.apply_holds()
        return True

    def store_reachable(self, shard: int) -> bool:
        """A shard has answered: what was held for it is ready.

        :returns: whether it could not be asked before.
        """
        data = self._data
        if not data.holds.remove(shard):
            return False
        data.apply_holds()
        return True

    def store_named(self, store: str, shard: int, of: Container[int] | None) -> bool:
        """A shard of the rendezvous keeps messages under this token; a new one means that those before are gone.

        :param of: the tasks whose messages it keeps; None: all.
        :returns: whether it is new, be it the first.
        """
        known = self._data.ledger.stores.get(shard)
        if store == known:
            return False
        if known is not None:
            everything = "all messages of the job were lost"
            self.store_lost(everything if of is None else f"all messages on shard {shard} were lost", of)
        # The last of the records: as long as it is not kept, the loss is found again after a restart.
        self._data.record(StoreNamed(store, shard))
        return True

    def store_lost(self, reason: str, of: Container[int] | None = None) -> None:
        """All messages are gone: what is still needed is sent again, by tasks that are done as well.

        :param of: only messages of these tasks are; they have no peers but one another. None: those of all.
        """
        if not self._lineage:
            return
        tasks = self._data.ledger.tasks
        hit = tasks if of is None else [number for number in tasks if number in of]
        again = bool(self._data.ledger.tally[TaskState.DONE])
        while again:
            open_ = [number for number in hit if tasks[number].state not in SETTLED]
            done = self._lineage.upstream(open_, lambda number: tasks[number].state is TaskState.DONE)
            self._reopen(sorted(done, key=lambda number: tasks[number].rank), reason)
            for number in done:
                self.begin_gang_again(tasks[number], reason)
            again = bool(done and self._gangs)  # others of their gangs run again too, and need messages
        for number in list(self._data.attempts):
            if (of is None or number in of) and self._is_needed(tasks[number]) and number in self._data.attempts:
                self._revoke(tasks[number], reason)
                self._data.enqueue([tasks[number]])
                self.begin_gang_again(tasks[number], reason)

    def preempt(self) -> None:
        """Where nothing can go on because producers have no worker, the latest tasks give theirs up."""
        data = self._data
        # Where there are gangs, workers may be idle as there are not enough for one.
        busy = (data.pool.idle and not self._gangs) or data.pool.warming or data.launches
        if not self._lineage or busy or data.ledger.over or not data.attempts or data.backlog.first() is None:
            return
        blocked = self._blocked()
        if blocked is None:
            return
        tasks = data.ledger.tasks
        victims = sorted(data.attempts, key=lambda number: tasks[number].rank)
        chosen: set[int] = set()
        free = len(data.pool.idle)
        for task in data.backlog.lowest(len(victims)):
            if not victims or tasks[victims[-1]].rank < task.rank:
                return
            members = self._gangs.members(task.number)
            if not all(
                producer in chosen or producer in members or tasks[producer].state is TaskState.DONE
                for member in members
                for producer in self._lineage.consumed(member)
            ):
                continue
            later = [number for number in victims if tasks[number].rank > task.rank]
            if free + len(later) < len(members):
                return
            chosen.update(members)
            free -= len(members)
            while free < 0:
                victim = tasks[victims[-1]]
                gone = [number for number in self._gangs.members(victim.number) if number in data.attempts]
                self._revoke(victim, f"task {task.number}, whose messages it needs, has no worker")
                data.enqueue([victim])
                self.begin_gang_again(victim, f"task {task.number}, whose messages it needs, has no worker")
                victims = [number for number in victims if number not in gone]
                free += len(gone)

    def give_way(self, task: Task, other: Task) -> None:
        """The task has its worker taken away, which the other one gets, whose message it waits for."""
        reason = f"task {other.number}, whose messages it waits for, has no worker"
        self._revoke(task, reason)
        members = [self._data.ledger.tasks[number] for number in self._gangs.members(other.number)]
        self._data.backlog.prefer(min(members, key=lambda member: member.rank))
        self._data.enqueue([task])
        self.begin_gang_again(task, reason)

    # -- gangs ---------------------------------------------------------------------------------------------------------

    def begin_gang_again(self, task: Task, reason: str) -> None:
        """The task waits again: those that it is joined with by pipes end, and begin again with it, at no cost.

        Not where all of them have results, and no task needs their messages again.

        :param reason: why the others end, one line.
        """
        if task.number not in self._gangs:
            return
        if self._rests(task):
            self._let_rest(task)
            return
        tasks = self._data.ledger.tasks
        others = [tasks[number] for number in self._gangs.others(task.number)]
        for other in others:
            self._revoke(other, reason)
        self._reopen([other.number for other in others if other.state is TaskState.DONE], reason)
        self._data.enqueue(one for one in (task, *others) if one.state is TaskState.WAITING)

    def complete_gangs(self, reason: str) -> None:
        """Let what is done of a gang run again with those that are not.

        :param reason: one line.
        """
        tasks = self._data.ledger.tasks
        for members in self._gangs.all:
            states = {tasks[number].state for number in members}
            if TaskState.DONE in states and not states.isdisjoint(PENDING):
                self.begin_gang_again(next(tasks[one] for one in members if tasks[one].state in PENDING), reason)

    def _rests(self, task: Task) -> bool:
        """Whether the task, and all that run at the same time, have results, and no task needs their messages again."""
        tasks = [self._data.ledger.tasks[number] for number in self._gangs.members(task.number)]
        return all(one.has_result and not self._is_needed(one) for one in tasks)

    def _let_rest(self, task: Task) -> list[int]:
        """End what the task's gang runs again; its results stand. Returns the tasks that were not done."""
        tasks = [self._data.ledger.tasks[number] for number in self._gangs.members(task.number)]
        again = [one for one in tasks if one.state not in SETTLED]
        for one in again:
            self._revoke(one, "its messages are not needed any more")
            self._stand(one)
        return [one.number for one in again]

    # -- inside ----------------------------------------------------------------------------------------------------

    def _is_needed(self, task: Task) -> bool:
        return self._data.ledger.undone_consumers.get(task.number, 0) > 0

    def _blocked(self) -> set[int] | None:
        """The active tasks if each of them waits for a task that is not active; else None."""
        data, tasks = self._data, self._data.ledger.tasks
        for number in data.attempts:
            if all(tasks[producer].state is TaskState.DONE for producer in self._lineage.consumed(number)):
                return None
        absent = [number for number, task in tasks.items() if task.state in PENDING]
        blocked = set(self._lineage.dependent(absent, lambda number: tasks[number].state is TaskState.ACTIVE))
        return blocked if blocked.issuperset(data.attempts) else None

    def _reopen(self, numbers: Sequence[int], reason: str, *, costs: bool = False) -> None:
        if numbers:
            self._data.record(Reopened(tuple(numbers), reason, costs))
            self._data.enqueue(self._data.ledger.tasks[number] for number in numbers)

    def _stand(self, task: Task) -> None:
        self._data.record(ResultStands((task.number,)))

    def _revoke(self, task: Task, reason: str, *, kind: Failure | None = None, costs: bool = False) -> None:
        """End the task's attempts; their workers take others."""
        for attempt in list(self._data.attempts.get(task.number, ())):
            self._take_back(attempt, reason, kind, costs)

    def _take_back(self, attempt: Attempt, reason: str, kind: Failure | None, costs: bool) -> None:
        data, worker = self._data, attempt.worker
        data.end(attempt, AttemptOutcome.REVOKED, costs=costs, kind=kind, error=reason)
        if worker.reusable:
            data.clear(worker, reason)
        else:
            data.dismiss(worker, reason)

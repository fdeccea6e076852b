"""The ledger is the job by its records: each is applied here, when it is decided as when the journal is read back.

Refuses what cannot have happened, so that a corrupt journal is found and not believed.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from mu_twisted.base.steps import STEP, exhaust
from mu_twisted.jobs._errors import JobError, RecordError
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._gangs import Gangs
from mu_twisted.jobs._launch_id import LaunchId
from mu_twisted.jobs._lineage import Lineage
from mu_twisted.jobs._precedence import Precedence, check_together
from mu_twisted.jobs._records import (
    Assigned,
    AttemptEnded,
    AttemptOutcome,
    Cancelled,
    Closed,
    Enlarged,
    Extended,
    Finished,
    JobRecord,
    KeptOpen,
    Launched,
    Refunded,
    Remarked,
    Reopened,
    ResultReached,
    ResultStands,
    Retried,
    Started,
    StoreNamed,
    Submitted,
    TaskFailed,
    TasksFailed,
)
from mu_twisted.jobs._stages import Stages
from mu_twisted.jobs._tasks import PENDING, SETTLED, TRANSITIONS, Task, TaskState
from mu_twisted.wording import is_out_of_memory

HALTED = "halted: "
"""Begins the error of a job that was ended for its failures or its cost."""
_SOURCES = {state: frozenset(was for was, to in TRANSITIONS if to is state) for state in TaskState}
MAX_TEXTS = 32 << 20
"""Characters of errors and remarks that are kept in memory for one job, all its tasks together."""
SHORT_TEXT = 80
"""Characters of each that comes after them; the records have the whole."""


class Durations:
    """Seconds of finished attempts."""

    def __init__(self) -> None:
        # The shorter half as a heap of negatives: its top is the median, the lower one where there are two.
        self._shorter: list[float] = []
        self._longer: list[float] = []
        self.longest = 0.0

    def __len__(self) -> int:
        return len(self._shorter) + len(self._longer)

    def add(self, seconds: float) -> None:
        """One more, in O(log n)."""
        self.longest = max(self.longest, seconds)
        longest_short = -heapq.heappushpop(self._shorter, -seconds)
        heapq.heappush(self._longer, longest_short)
        if len(self._longer) > len(self._shorter):
            heapq.heappush(self._shorter, -heapq.heappop(self._longer))

    @property
    def median(self) -> float | None:
        """None as long as nothing has finished."""
        return -self._shorter[0] if self._shorter else None


class Ledger:
    """Every task of a job and what of its workers must outlive the coordinator.

    :param submitted: the first record.
    :raises JobError: what was submitted is no job.
    """

    def __init__(self, submitted: Submitted) -> None:
        exhaust(self._make(submitted))

    def _make(self, submitted: Submitted) -> Generator[None, None, None]:
        self.submitted = submitted
        self.gangs = Gangs(submitted.order, submitted.pipes)
        self.gangs.check_size(submitted.policy.max_workers)
        self.unsettled_by_gang_size = Counter[int]()
        """For each size of gangs, their tasks that are neither done nor failed."""
        for gang in self.gangs.all:
            self.unsettled_by_gang_size[len(gang)] += len(gang)
        self.lineage = yield from Lineage.making(
            submitted.order, dict(submitted.consumes), dict(submitted.messages), self.gangs
        )
        yield
        self.precedence = yield from Precedence.making(self.lineage.order, submitted.after)
        if (self.lineage or self.gangs) and self.precedence:
            yield from check_together(self.lineage, self.precedence)
        self.tasks: dict[int, Task] = {}
        for rank, number in enumerate(self.precedence.order):
            self.tasks[number] = Task(number, rank)
            if rank % STEP == 0:
                yield
        yield
        self.undone_consumers = self.lineage.consumer_counts()
        yield
        self.numbers = sorted(self.tasks)
        self.tally = dict.fromkeys(TaskState, 0) | {TaskState.WAITING: len(self.tasks)}
        for number in self.precedence.behind_gates():
            self.tasks[number].state = TaskState.BLOCKED
            self.tally[TaskState.BLOCKED] += 1
        self.tally[TaskState.WAITING] -= self.tally[TaskState.BLOCKED]
        self.stages = Stages(submitted.stages)
        yield from self.stages.taking(self.tasks)
        self.failures: dict[int, str] = {}
        self.settled: list[int] = []
        """Tasks in the order in which they were done or failed for good; one that is tried again comes again."""
        self.remarks: dict[int, str] = {}
        self._characters = 0
        self.durations = Durations()
        self.generation = -1
        self.starved: set[int] = set()
        self.enlarged: int | None = None
        self.launched: dict[int, int] = {}
        self.seen: set[LaunchId] = set()
        self.speculated = 0
        self.results = 0
        self.stores: dict[int, str] = {}
        self._ready: list[Task] = []
        self.cancelled = False
        self.over = False
        self.unfinished = 0
        """Tasks that count as failed and had not when the job was ended."""
        self.kept_open = False
        """Whether more tasks may be added, so that the job is not over when those are that there are."""
        self.extensions: list[str] = []
        """What the tasks that were added are to work on."""
        self.error: str | None = None
        self._changed: set[int] | None = None

    @classmethod
    def fold(cls, records: Iterable[JobRecord]) -> "Ledger":
        """The job that these records describe.

        :raises RecordError: they describe none, or what cannot have happened.
        """
        return exhaust(cls.folding(records))

    @classmethod
    def making(cls, submitted: Submitted) -> "Generator[None, None, Ledger]":
        """As the constructor, with pauses in which others may have their turn."""
        ledger = cls.__new__(cls)
        yield from ledger._make(submitted)
        return ledger

    @classmethod
    def folding(cls, records: Iterable[JobRecord]) -> "Generator[None, None, Ledger]":
        """As :meth:`fold`, with pauses in which others may have their turn."""
        ledger: Ledger | None = None
        for at, record in enumerate(records):
            if ledger is not None:
                ledger.apply(record)
            elif isinstance(record, Submitted):
                try:
                    ledger = yield from cls.making(record)
                except JobError as error:
                    raise RecordError(f"what was submitted is no job: {error}") from None
            else:
                raise RecordError(f"a job's first record says what was submitted, not {record!r}"[:300])
            if at % STEP == 0:
                yield
        if ledger is None:
            raise RecordError("there is no record of the job")
        ledger.take_ready()  # some have begun since; the others are found by their states
        return ledger

    def apply(self, record: JobRecord) -> None:
        """Apply what the record says has happened.

        :raises RecordError: it cannot have, after all before it.
        """
        try:
            _APPLY[type(record)](self, record)
        except KeyError:
            raise RecordError(f"{record!r}"[:300] + " cannot come here: it names what is not there") from None

    @property
    def open(self) -> int:
        """Tasks that are neither done nor failed."""
        tally = self.tally
        return sum(tally[state] for state in PENDING) + tally[TaskState.ACTIVE]

    def move(self, task: Task, state: TaskState) -> None:
        """Move the task to another state.

        :raises RecordError: it cannot go there, see :data:`TRANSITIONS`.
        """
        was = task.state
        if (was, state) not in TRANSITIONS:
            raise RecordError(f"task {task.number} is {was.value}: it cannot become {state.value} from there")
        if self.stages:
            self.stages.moved((task,), state)
        task.state = state
        if self._changed is not None:
            self._changed.add(task.number)
        self.tally[was] -= 1
        self.tally[state] += 1
        if (was in SETTLED) is not (state in SETTLED):
            change = -1 if state in SETTLED else 1
            if self.lineage and not self.over:
                for producer in self.lineage.producers(task.number):
                    self.undone_consumers[producer] += change
            if self.gangs:
                self._count_in_gangs((task.number,), change)

    def move_all(self, tasks: Sequence[Task], state: TaskState) -> None:
        """Move these tasks, each of which is named once, to another state.

        :raises RecordError: one of them cannot go there; then none is moved.
        """
        sources = Counter([task.state for task in tasks])
        wrong = sources.keys() - _SOURCES[state]
        if wrong:
            self.move(next(task for task in tasks if task.state in wrong), state)
        if (self.lineage and not self.over) or self.gangs:
            settled = state in SETTLED
            change = -1 if settled else 1
            crossing = [task.number for task in tasks if (task.state in SETTLED) is not settled]
            if self.lineage and not self.over:
                self.lineage.count_for_producers(crossing, self.undone_consumers, change)
            if self.gangs:
                self._count_in_gangs(crossing, change)
        if self.stages:
            self.stages.moved(tasks, state)
        for task in tasks:
            task.state = state
        if self._changed is not None:
            self._changed.update([task.number for task in tasks])
        for was, count in sources.items():
            self.tally[was] -= count
        self.tally[state] += len(tasks)

    def _count_in_gangs(self, numbers: Iterable[int], change: int) -> None:
        for number in numbers:
            if number in self.gangs:
                self.unsettled_by_gang_size[len(self.gangs.members(number))] += change

    @property
    def text_room(self) -> int:
        """Characters of errors and remarks that can still be kept whole."""
        return MAX_TEXTS - self._characters

    def note_changes(self, into: set[int] | None) -> None:
        """Add the numbers of tasks that move, or begin another attempt, to a set from now on.

        :param into: None: no more.
        """
        self._changed = into

    def take_ready(self) -> list[Task]:
        """The tasks, once, that have become ready as those that they come after are done."""
        ready, self._ready = self._ready, []
        return ready

    def note_error(self, task: Task, error: str) -> None:
        """Give the task an error that no record holds; a later one takes its place.

        :param error: one line for the user.
        """
        task.error = error

    # -- one method a record ---------------------------------------------------------------------------------------

    def _submitted(self, record: Submitted) -> None:
        raise RecordError("a job is submitted once")

    def _started(self, record: Started) -> None:
        _require(record.generation > self.generation, record)
        self.generation = record.generation

    def _launched(self, record: Launched) -> None:
        launched = self.launched.get(record.generation, 0)
        _require(record.generation == self.generation and record.first == launched, record)
        self.launched[record.generation] = record.first + record.count

    def _assigned(self, record: Assigned) -> None:
        task = self.tasks[record.task]
        _require(not self.over and task.state not in SETTLED and record.attempt >= task.attempts, record)
        _require(len(task.running) == record.speculative and task.won is None, record)
        task.attempts = record.attempt + 1
        task.running[record.attempt] = record.launch_id
        if record.launch_id is not None:
            self.seen.add(record.launch_id)
        self.speculated += record.speculative
        if self._changed is not None:
            self._changed.add(task.number)
        if not record.speculative:
            self.move(task, TaskState.ACTIVE)

    def _attempt_ended(self, record: AttemptEnded) -> None:
        task = self.tasks[record.task]
        del task.running[record.attempt]
        if record.outcome is AttemptOutcome.DONE:
            _require(task.won is None, record)
            task.won = record.attempt
            task.seconds = record.seconds
            task.error = self._kept("", task.error)
            self.durations.add(record.seconds)
            return
        if record.outcome is AttemptOutcome.SUPERSEDED:
            _require(task.won is not None, record)
            return
        if record.outcome is AttemptOutcome.FAILED:
            short = record.kind is Failure.EXIT and record.status is not None and is_out_of_memory(record.status)
            self.starved.add(task.number) if short else self.starved.discard(task.number)
        task.failures += record.costs
        task.free += record.kind is Failure.CHANNEL and not record.costs
        if record.outcome is AttemptOutcome.FAILED:
            task.error = self._kept(record.error, task.error)
        if not task.running:
            _require(task.won is None, record)
            self.move(task, TaskState.WAITING)

    def _remarked(self, record: Remarked) -> None:
        _require(record.attempt in self.tasks[record.task].running, record)
        self.remarks[record.task] = self._kept(record.text, self.remarks.get(record.task, ""))

    def _refunded(self, record: Refunded) -> None:
        task = self.tasks[record.task]
        _require(task.failures > 0 and not task.running, record)
        task.failures -= 1
        task.free += 1

    def _result_reached(self, record: ResultReached) -> None:
        task = self.tasks[record.task]
        _require(task.won == record.attempt and not task.running and not task.has_result, record)
        task.won = None
        task.has_result = True
        self.results += 1
        self.settled.append(task.number)
        self.move(task, TaskState.DONE)
        ready = [self.tasks[number] for number in self.precedence.done(task.number)]
        ready = [one for one in ready if one.state is TaskState.BLOCKED]
        self.move_all(ready, TaskState.WAITING)
        self._ready += ready

    def _result_stands(self, record: ResultStands) -> None:
        for number in record.tasks:
            task = self.tasks[number]
            _require(task.has_result and not task.running, record)
            task.won = None
            task.error = self._kept("", task.error)
            self.move(task, TaskState.DONE)

    def _task_failed(self, record: TaskFailed) -> None:
        task = self.tasks[record.task]
        _require(task.state not in SETTLED and not task.running and task.won is None, record)
        self._fail(task, record.error)

    def _tasks_failed(self, record: TasksFailed) -> None:
        tasks = [self.tasks[number] for number in record.tasks]
        unsettled = not any(
            task.state in SETTLED or task.running or task.has_result or task.won is not None for task in tasks
        )
        _require(len(set(record.tasks)) == len(tasks) and unsettled, record)
        self.move_all(tasks, TaskState.FAILED)
        for task in tasks:
            task.error = self._kept(record.error, task.error)
            self.failures[task.number] = task.error
            self.settled.append(task.number)

    def _reopened(self, record: Reopened) -> None:
        for number in record.tasks:
            task = self.tasks[number]
            _require(task.state is TaskState.DONE, record)
            task.failures += record.costs
            task.free += not record.costs
            self.move(task, TaskState.WAITING)

    def _retried(self, record: Retried) -> None:
        self.over = self.cancelled = False
        self.unfinished = 0
        self.error = None
        self.stores.clear()
        tasks = [self.tasks[number] for number in record.tasks]
        _require(len(set(record.tasks)) == len(tasks) and {task.state for task in tasks} <= {TaskState.FAILED}, record)
        for task in tasks:
            task.failures = task.free = 0
        if len(tasks) == len(self.failures):
            self.failures.clear()
        else:
            for task in tasks:
                del self.failures[task.number]
        self._begin_again(tasks)

    def _enlarged(self, record: Enlarged) -> None:
        tasks = [self.tasks[number] for number in record.tasks]
        _require(not self.over and self.enlarged is None, record)
        _require(len(set(record.tasks)) == len(tasks) and {task.state for task in tasks} <= {TaskState.FAILED}, record)
        self.enlarged = self.generation + 1
        for task in tasks:
            task.failures = task.free = 0
            del self.failures[task.number]
        self._begin_again(tasks)

    def _kept_open(self, record: KeptOpen) -> None:
        _require(not (self.over or self.lineage or self.precedence or self.gangs), record)
        self.kept_open = True

    def _extended(self, record: Extended) -> None:
        numbers = range(record.first, record.first + record.count)
        _require(self.kept_open and not self.over and record.count > 0, record)
        _require(record.first == self.numbers[-1] + 1, record)
        for number in numbers:
            self.tasks[number] = Task(number, len(self.tasks))
        self.numbers.extend(numbers)
        self.tally[TaskState.WAITING] += record.count
        self.extensions.append(record.inputs)

    def _closed(self, record: Closed) -> None:
        _require(self.kept_open, record)
        self.kept_open = False

    def _begin_again(self, tasks: Sequence[Task]) -> None:
        """Let failed tasks wait once more: for a worker, or for those that they come after."""
        if not self.precedence:
            self.move_all(tasks, TaskState.WAITING)
            return
        blocked = self.precedence.is_blocked
        self.precedence.reopen(task.number for task in tasks)
        self.stages.blocked_again()
        self.move_all([task for task in tasks if not blocked(task.number)], TaskState.WAITING)
        self.move_all([task for task in tasks if blocked(task.number)], TaskState.BLOCKED)

    def _store_named(self, record: StoreNamed) -> None:
        self.stores[record.shard] = record.store

    def _cancelled(self, record: Cancelled) -> None:
        self.cancelled = True

    def _finished(self, record: Finished) -> None:
        _require(not self.over, record)
        self.over = True
        self.kept_open = False
        self.error = record.error
        why = record.error or "the job was over"
        ended_on_purpose = self.cancelled or why.startswith(HALTED)
        of_fresh = why if ended_on_purpose else "no worker came for it"
        failed = []
        # One pass that does little for each: there may be very many, most of which never had an attempt.
        for task in [task for task in self.tasks.values() if task.state not in SETTLED]:
            if task.attempts:
                task.running.clear()
                if task.has_result or task.won is not None:
                    if not task.has_result:
                        self.results += 1
                        self.settled.append(task.number)
                        self.precedence.done(task.number)
                    task.has_result = True
                    task.won = None
                    self.move(task, TaskState.DONE)
                    continue
                if not task.error:
                    task.error = self._kept(why, "")
            elif task.error != of_fresh and not (task.error and ended_on_purpose):
                task.error = self._kept(of_fresh, task.error)
            self.unfinished += ended_on_purpose and not task.failures
            self.failures[task.number] = task.error
            self.settled.append(task.number)
            failed.append(task)
        self.move_all(failed, TaskState.FAILED)
        self.undone_consumers = dict.fromkeys(self.undone_consumers, 0)

    def _kept(self, text: str, before: str) -> str:
        """A text that a worker has a part in, as far as there is room for it.

        Decided from the records alone, so that it is the same when they are read back.

        :param before: the text whose place it takes.
        """
        self._characters -= len(before)
        if self._characters + len(text) > MAX_TEXTS:
            text = text[:SHORT_TEXT]
        self._characters += len(text)
        return text

    def _fail(self, task: Task, error: str) -> None:
        task.error = self.failures[task.number] = self._kept(error, task.error)
        self.settled.append(task.number)
        self.move(task, TaskState.FAILED)


def _require(condition: bool, record: JobRecord) -> None:
    if not condition:
        raise RecordError(f"{record!r}"[:300] + " cannot come here")


_APPLY: dict[type, Callable[[Ledger, Any], None]] = {
    Submitted: Ledger._submitted,
    Started: Ledger._started,
    Launched: Ledger._launched,
    Assigned: Ledger._assigned,
    AttemptEnded: Ledger._attempt_ended,
    Remarked: Ledger._remarked,
    Refunded: Ledger._refunded,
    ResultReached: Ledger._result_reached,
    ResultStands: Ledger._result_stands,
    TaskFailed: Ledger._task_failed,
    TasksFailed: Ledger._tasks_failed,
    Reopened: Ledger._reopened,
    Retried: Ledger._retried,
    Enlarged: Ledger._enlarged,
    KeptOpen: Ledger._kept_open,
    Extended: Ledger._extended,
    Closed: Ledger._closed,
    StoreNamed: Ledger._store_named,
    Cancelled: Ledger._cancelled,
    Finished: Ledger._finished,
}

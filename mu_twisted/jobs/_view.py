"""The view answers questions about a job, and changes nothing."""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest

from mu_twisted.base import counted
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._lineage import union
from mu_twisted.jobs._policy import JobPolicy
from mu_twisted.jobs._stages import StageView
from mu_twisted.jobs._tasks import PENDING, SETTLED, AttemptView, Counts, JobSnapshot, Task, TaskState, TaskView
from mu_twisted.jobs._waiting import Waiting
from mu_twisted.jobs._worker_pool import Attempt, PoolWorker, WorkerSlot

SHOWN_OTHERS = 40
"""Characters of the numbers of tasks that run at the same time as one."""
MAX_BROKEN = 3
"""Attempts of one task of a gang that end for a connection to a peer, before the gang has no direct paths any more."""


class JobView:
    """A job as others see it."""

    _data: JobData
    _waiting: Waiting

    @property
    def name(self) -> str:
        """The job's identifier."""
        return self._data.ledger.submitted.job

    @property
    def edges(self) -> Mapping[int, Sequence[int]]:
        """For tasks that exchange messages or bytes of pipes with others, those that send them, or are joined."""
        ledger = self._data.ledger
        return union(ledger.lineage.edges, ledger.gangs.edges)

    @property
    def policy(self) -> JobPolicy:
        """Its options."""
        return self._data.policy

    @property
    def over(self) -> bool:
        """Whether every task is done or has failed."""
        return self._data.ledger.over

    @property
    def error(self) -> str | None:
        """What went wrong, of a job that is over; None where every task is done."""
        return self._data.ledger.error

    @property
    def unfinished(self) -> int:
        """How many of the tasks that count as failed had not failed when the job was cancelled."""
        return self._data.ledger.unfinished

    @property
    def cancelled(self) -> bool:
        """Whether the user did not want it any more."""
        return self._data.ledger.cancelled

    @property
    def failures(self) -> Mapping[int, str]:
        """Tasks that have failed for good, each with its last error."""
        return self._data.ledger.failures

    @property
    def is_plain(self) -> bool:
        """Whether no task has to do with another, no stage is named, and no task was or may be added."""
        ledger = self._data.ledger
        together = ledger.lineage or ledger.precedence or ledger.gangs or ledger.stages
        return not (together or ledger.kept_open or ledger.extensions)

    @property
    def has_unannounced(self) -> bool:
        """Whether a task is done and its result not announced, though no attempt at it is under way: after a restart,
        the worker at another attempt may come back.
        """
        return self._data.ledger.tally[TaskState.ACTIVE] > len(self._data.attempts)

    @property
    def text_room(self) -> int:
        """Characters of errors and remarks that are kept whole beside those that there are."""
        return self._data.ledger.text_room

    @property
    def remarks(self) -> Mapping[int, str]:
        """What tasks have left for the job's report."""
        return self._data.ledger.remarks

    @property
    def wanted_workers(self) -> int:
        """Workers that the job would have if no other did."""
        data = self._data
        return 0 if self.over else min(data.alone, data.needed)

    @property
    def least_workers(self) -> int:
        """Workers without which the job does not get on: those of its largest gang that is not done; else 1."""
        unsettled = self._data.ledger.unsettled_by_gang_size
        return 0 if self.over else max((size for size, count in unsettled.items() if count), default=1)

    @property
    def in_flight(self) -> int:
        """Workers that are there, on their way, or asked for."""
        return len(self._data.pool) + len(self._data.launches)

    @property
    def lacks_workers(self) -> bool:
        """Whether one more worker would have something to do, and may stay."""
        data = self._data
        return not self.over and len(data.pool) < min(data.limit, data.needed)

    @property
    def any_connected(self) -> bool:
        """Whether a worker has ever come, before a restart too: it had a task then."""
        return self._data.launches.any_connected

    @property
    def is_reached(self) -> bool:
        """Whether launching is known to work: a worker has come, or a launch was accepted."""
        return self._data.launches.any_connected or self._data.launches.any_accepted

    @property
    def held_for(self) -> str | None:
        """What tasks are held for, on one line; None where the stores of all messages can be reached."""
        return None if self.over else self._data.holds.explanation(self._data.ledger.tally[TaskState.HELD])

    @property
    def waits_for(self) -> str | None:
        """How many tasks do nothing but wait for messages, and what the first of them waits for; else what a gang waits
        for that is next; None: nothing waits so.
        """
        waiting = [one for attempts in self._data.attempts.values() for one in attempts if one.waits]
        if not waiting:
            return self._gang_waits
        first = min(waiting, key=lambda attempt: attempt.waits_since)
        text = f"task {first.task} {self._waiting.explain(first)}"
        return text if len(waiting) == 1 else f"{len(waiting)} tasks wait for messages; {text}"

    @property
    def _gang_waits(self) -> str | None:
        """What the first gang waits for, where it is the next to be begun."""
        first = None if self.over else self._data.backlog.first()
        if first is None or first.number not in self._data.ledger.gangs:
            return None
        return f"task {first.number} {self._waits_with_gang(first)}"

    def is_held(self, task: int) -> bool:
        """Whether the task is not begun before the store of its messages can be reached."""
        return self._data.holds.cover(task)

    def counts(self) -> Counts:
        """How many tasks stand where."""
        tally = self._data.ledger.tally
        return Counts(
            waiting=sum(tally[state] for state in PENDING),
            active=tally[TaskState.ACTIVE],
            done=tally[TaskState.DONE],
            failed=tally[TaskState.FAILED],
            workers=len(self._data.pool),
            backing_off=tally[TaskState.BACKING_OFF],
            held=tally[TaskState.HELD],
            blocked=tally[TaskState.BLOCKED],
        )

    def snapshot(self) -> JobSnapshot:
        """The whole, without its tasks one by one."""
        data, ledger = self._data, self._data.ledger
        unsent = data.launches.unsent
        return JobSnapshot(
            name=self.name,
            over=ledger.over,
            error=ledger.error,
            counts=self.counts(),
            results=ledger.results,
            idle=len(data.pool.idle),
            warming=data.pool.warming,
            unsent=unsent,
            accepted=len(data.launches) - unsent,
            launched=sum(ledger.launched.values()),
            speculated=ledger.speculated,
            median=ledger.durations.median,
        )

    def stages(self) -> list[StageView]:
        """The parts of the job by name, in the order in which they are to be shown."""
        return [self._stage(at) for at in range(len(self._data.ledger.stages.names))]

    def tasks(self, first: int = 0, count: int | None = None) -> list[TaskView]:
        """Tasks one by one, by number.

        :param first: how many to leave out.
        :param count: how many at most; None: all.
        """
        numbers = self._data.ledger.numbers[first : None if count is None else first + count]
        return [self._view(number) for number in numbers]

    def tasks_from(self, number: int) -> Iterator[TaskView]:
        """Tasks one by one, by number, from this number on."""
        numbers = self._data.ledger.numbers
        return (self._view(numbers[at]) for at in range(bisect_left(numbers, number), len(numbers)))

    def tasks_in_state(self, number: int, state: str) -> Iterator[TaskView | None]:
        """The same, with None in place of each task that is in another state: nothing else of it is looked at."""
        numbers, tasks = self._data.ledger.numbers, self._data.ledger.tasks
        for at in range(bisect_left(numbers, number), len(numbers)):
            one = numbers[at]
            yield self._view(one) if tasks[one].state.value == state else None

    def numbers(self) -> Sequence[int]:
        """All tasks' numbers, ascending."""
        return self._data.ledger.numbers

    def standing(self, number: int) -> tuple[TaskState, int]:
        """Where one task stands, and how many attempts it has had."""
        task = self._data.ledger.tasks[number]
        return task.state, task.attempts

    def brief(self, number: int) -> tuple[str, int, str]:
        """The state of one task, how many attempts it has had, and its error: all that there is to tell of it, where
        the job :attr:`is_plain`.
        """
        task = self._data.ledger.tasks[number]
        return task.state.value, task.attempts, task.error

    def message_peers(self, task: int) -> Sequence[int] | None:
        """The tasks that this one takes messages of by ``messages``, those that come next by their numbers first.

        None: it is to have direct paths to no task, since pipes of its gang have broken time and again. What is lost
        with a path of a pipe cannot be had from the rendezvous, as the rest of a message can.
        """
        ledger = self._data.ledger
        gang = ledger.gangs.members(task) if ledger.tasks[task].attempts > MAX_BROKEN and task in ledger.gangs else ()
        if any(ledger.tasks[one].free >= MAX_BROKEN for one in gang):
            return None
        lineage = ledger.lineage
        consumed = set(lineage.consumed(task))
        senders = sorted(each for each in lineage.producers(task) if each not in consumed and each != task)
        at = bisect_left(senders, task)
        return senders[at:] + senders[:at]

    def has_unsettled_consumers(self, task: int) -> bool:
        """Whether there are any :meth:`unsettled_consumers`, in O(1)."""
        ledger = self._data.ledger
        is_done = not ledger.over and ledger.tasks[task].state is TaskState.DONE
        return is_done and ledger.undone_consumers.get(task, 0) > 0

    def unsettled_consumers(self, task: int) -> list[int]:
        """The tasks that take messages of this one and may want them again; none where it is not done itself."""
        if not self.has_unsettled_consumers(task):
            return []
        tasks, lineage = self._data.ledger.tasks, self._data.ledger.lineage
        return [each for each in lineage.consumers(task) if tasks[each].state not in SETTLED]

    def worker_slots(self) -> dict[str, int]:
        """How many workers are connected, by what they are doing."""
        pool = self._data.pool
        quiet = {WorkerSlot.IDLE: len(pool.idle), WorkerSlot.WARMING: pool.warming, WorkerSlot.LEAVING: pool.leaving}
        quiet[WorkerSlot.WORKING] = len(pool.members) - sum(quiet.values())
        return {slot.value: quiet[slot] for slot in WorkerSlot}

    def longest_running(self, most: int, now: float) -> list[AttemptView]:
        """The attempts that have run longest, the longest first.

        :param most: how many, at most.
        :param now: seconds.
        """
        running = (each for attempts in self._data.attempts.values() for each in attempts if not each.superseded)
        first = nsmallest(most, running, key=lambda each: (each.began, each.task, each.number))
        return [
            AttemptView(
                each.task,
                each.number,
                max(0.0, now - each.began),
                each.worker.launch_id,
                each.speculative,
                self._waiting.explain(each),
            )
            for each in first
        ]

    @property
    def settled(self) -> Sequence[int]:
        """Tasks in the order in which they were done or failed for good; one that was tried again stands here again."""
        return self._data.ledger.settled

    def has_result(self, number: int) -> bool:
        """Whether a task has been done; it may run again for its messages."""
        return self._data.ledger.tasks[number].has_result

    @property
    def kept_open(self) -> bool:
        """Whether more tasks may be added."""
        return self._data.ledger.kept_open

    @property
    def extensions(self) -> Sequence[str]:
        """What the tasks that were added are to work on, in the order in which they were added."""
        return self._data.ledger.extensions

    def task(self, number: int) -> TaskView:
        """One task."""
        return self._view(number)

    def task_of(self, worker: int) -> int | None:
        """The task that the worker is on, if any."""
        found = self._working(worker)
        return found[1].task if found is not None else None

    def attempt_of(self, worker: int) -> int | None:
        """The number of the attempt that the worker is on, counted from 0 in its task; None: it is on none."""
        found = self._working(worker)
        return found[1].number if found is not None else None

    def _working(self, worker: int) -> tuple[PoolWorker, Attempt] | None:
        member = self._data.pool.members.get(worker)
        if member is None or member.slot is not WorkerSlot.WORKING or member.attempt is None:
            return None
        return member, member.attempt

    def _view(self, number: int) -> TaskView:
        task = self._data.ledger.tasks[number]
        attempts = self._data.attempts.get(number, ())
        return TaskView(
            task=number,
            state=task.state,
            attempts=task.attempts,
            retries=task.failures,
            workers=tuple(attempt.worker.number for attempt in attempts),
            waits=self._waits(task, attempts[0] if attempts else None),
            error=task.error,
            seconds=task.seconds,
            stage=self._data.ledger.stages.names[task.stage] if task.stage >= 0 else None,
        )

    def _stage(self, at: int) -> StageView:
        stages = self._data.ledger.stages
        view = stages.view(at)
        if view.state == TaskState.WAITING.value:
            return replace(view, waits=self._waits_for_workers(stages.tally(at)))
        task = stages.first_blocked(at) if view.state == TaskState.BLOCKED.value else None
        return view if task is None else replace(view, waits=f"task {task.number} {self._waits(task, None)}")

    def _waits_for_workers(self, tally: Mapping[TaskState, int]) -> str:
        """Why no task of a stage is active, though some could be."""
        data = self._data
        if data.ledger.over or not tally[TaskState.WAITING]:
            held = data.holds.explanation(tally[TaskState.HELD])
            return held or "it failed, and is tried again after a pause"
        if data.pool.warming:
            return "a worker is made ready for its next task"
        if data.launches:
            return f"workers are on their way: {len(data.launches)}"
        if len(data.pool):
            return f"all workers are at work: {len(data.pool)}"
        return "workers are launched soon"

    def _waits(self, task: Task, attempt: Attempt | None) -> str:
        """What the task waits for, beside a worker; empty if for nothing."""
        if attempt is not None:
            return self._waiting.explain(attempt)
        ledger = self._data.ledger
        if task.state is not TaskState.BLOCKED:
            return self._waits_with_gang(task) if task.number in ledger.gangs else ""
        first = ledger.precedence.first_missing(task.number, lambda one: ledger.tasks[one].has_result)
        missing = ledger.precedence.missing(task.number)
        more = "" if missing == 1 else f", and {missing - 1} more"
        return f"comes after task {first}, which is {ledger.tasks[first].state.value}{more}"

    def _waits_with_gang(self, task: Task) -> str:
        """What a task waits for that is to run at the same time as others."""
        if task.state is not TaskState.WAITING:
            return ""
        ledger = self._data.ledger
        members = ledger.gangs.members(task.number)
        for one in members:
            state = ledger.tasks[one].state
            if state is not TaskState.WAITING:
                return f"runs at the same time as task {one}, which is {state.value}"
        free = counted(len(self._data.pool.idle), "is", "are")
        others = ", ".join(str(one) for one in members if one != task.number)[:SHOWN_OTHERS]
        return f"waits for {len(members)} workers at once, {free} free: it runs at the same time as {others}"

"""This module decides for tasks that wait for named messages: which give their workers up, and which wait in vain.

A worker says when its task does nothing but wait. What it waits for may come from a task that has no worker; in a
circle of tasks that need one another's messages, each sends before it waits, and what was sent is kept: so with fewer
workers than tasks they take turns.
"""

from collections.abc import Iterable

from mu_twisted.jobs._chains import Chains
from mu_twisted.jobs._failures import Failure
from mu_twisted.jobs._job_data import JobData
from mu_twisted.jobs._outcomes import Outcomes
from mu_twisted.jobs._tasks import PENDING, SETTLED, Task, TaskState
from mu_twisted.jobs._worker_pool import Attempt, Waits

GRACE = 2.0
"""Seconds that a task waits at least before its worker is given to the one that it waits for."""
ARRIVAL = 15.0
"""Seconds that it waits at least where a worker is on its way."""
STUCK = 30.0
"""Seconds after which a task is given up whose message nothing can bring any more."""
SHOWN = 3
"""Tasks of a circle that an error names."""


class Waiting:
    """The decisions about tasks that wait for messages.

    :param data: the job.
    """

    def __init__(self, data: JobData, chains: Chains, outcomes: Outcomes) -> None:
        self._data = data
        self._chains = chains
        self._outcomes = outcomes
        self._gave_way: dict[int, Waits] = {}
        self._in_vain: set[int] = set()
        self._settled = 0

    def look(self) -> None:
        """Some time has passed."""
        data = self._data
        waiting = [attempt for attempts in data.attempts.values() for attempt in attempts if attempt.waits]
        if not waiting or data.holds or data.ledger.over:
            return
        self._give_way(waiting)
        self._give_up(waiting)

    def explain(self, attempt: Attempt) -> str:
        """What the attempt waits for, and how it stands with that; one line, which is empty if it does not wait."""
        if not attempt.waits:
            return ""
        sender, name, _ = attempt.waits[0]
        if sender is None:
            text = f"waits for {name!r} of any task"
        else:
            text = f"waits for {name!r} of task {sender}, {self._standing(sender)}"
        more = len(attempt.waits) - 1
        return f"{text}, and for {more} more" if more else text

    # -- inside ----------------------------------------------------------------------------------------------------

    def _give_way(self, waiting: list[Attempt]) -> None:
        """Give the workers of tasks that wait for others to these, where they have none and none is to be had.

        As long as others are at work, one of which may soon be free, a task gives way when it has waited as long as it
        had worked: no more is lost by either than twice what had to be.
        """
        data = self._data
        grace = ARRIVAL if data.pool.idle or data.pool.warming or data.launches else GRACE
        working = len(waiting) < sum(map(len, data.attempts.values()))
        chosen: set[int] = set()
        for attempt in sorted(waiting, key=lambda attempt: attempt.waits_since):
            if attempt.worker.attempt is not attempt:
                continue  # another of its gang has given way
            waited, worked = data.now - attempt.waits_since, attempt.waits_since - attempt.began
            if waited < grace or (working and waited < worked):
                continue
            absent = [task for task in self._awaited(attempt) if task.state is TaskState.WAITING]
            absent = [task for task in absent if task.number not in chosen]
            if not absent or self._has_live_sender(attempt, waiting):
                continue
            if self._turns_in_vain(attempt):
                error = f"it {self.explain(attempt)}, and the tasks took turns without getting on"
                self._outcomes.failed(attempt.worker, attempt, Failure.REPLY, None, error)
                continue
            task = min(absent, key=lambda task: (task.attempts, task.rank))
            chosen.add(task.number)
            self._chains.give_way(data.ledger.tasks[attempt.task], task)

    def _turns_in_vain(self, attempt: Attempt) -> bool:
        """Whether the task has given way twice for the same message since any task has got on."""
        task, settled = attempt.task, sum(self._data.ledger.tally[state] for state in SETTLED)
        same = self._gave_way.get(task) == attempt.waits
        if not same or settled != self._settled:
            self._in_vain.clear()
        self._settled, self._gave_way[task] = settled, attempt.waits
        if task in self._in_vain:
            return True
        if same:
            self._in_vain.add(task)
        return False

    def _give_up(self, waiting: list[Attempt]) -> None:
        """Fail the tasks that wait for what cannot come any more."""
        data = self._data
        stuck = [attempt for attempt in self._without_hope(waiting) if data.now - attempt.waits_since >= STUCK]
        errors = [(attempt, f"{self.explain(attempt)}{self._reason(attempt)}") for attempt in stuck]
        for attempt, error in errors:
            if attempt.worker.attempt is attempt:
                self._outcomes.failed(attempt.worker, attempt, Failure.REPLY, None, f"it {error}")

    def _without_hope(self, waiting: list[Attempt]) -> list[Attempt]:
        """Those for whom no task is at work, or will be, directly or through others that wait."""
        left = {attempt.task: attempt for attempt in waiting}
        moved = True
        while moved:
            hopeful = [task for task, attempt in left.items() if self._may_come(attempt, left)]
            for task in hopeful:
                del left[task]
            moved = bool(hopeful)
        return list(left.values())

    def _may_come(self, attempt: Attempt, hopeless: dict[int, Attempt]) -> bool:
        for task in self._awaited(attempt):
            if task.state in PENDING or (task.state is TaskState.ACTIVE and task.number not in hopeless):
                return True
        return False

    def _has_live_sender(self, attempt: Attempt, waiting: list[Attempt]) -> bool:
        """Whether one of those whose message it waits for, whichever comes first, is at work."""
        waits = {one.task for one in waiting}
        return any(task.state is TaskState.ACTIVE and task.number not in waits for task in self._awaited(attempt))

    def _awaited(self, attempt: Attempt) -> Iterable[Task]:
        """The tasks whose message would let it go on."""
        tasks, lineage = self._data.ledger.tasks, self._data.ledger.lineage
        senders: set[int] = set()
        for sender, _, _ in attempt.waits:
            senders.update(lineage.producers(attempt.task) if sender is None else (sender,))
        return [tasks[number] for number in sorted(senders) if number in tasks]

    def _standing(self, number: int) -> str:
        task = self._data.ledger.tasks.get(number)
        if task is None:
            return "which the job does not have"
        if task.state is TaskState.DONE:
            return "which is done and has not sent it"
        if task.state is TaskState.ACTIVE:
            waits = any(attempt.waits for attempt in self._data.attempts.get(number, ()))
            return "which waits too" if waits else "which is at work"
        return f"which is {task.state.value}" if task.state is not TaskState.WAITING else "which has no worker yet"

    def _reason(self, attempt: Attempt) -> str:
        """Why it waits in vain, as far as its own words do not say it."""
        return self._circle(attempt) if attempt.waits[0][0] is not None else ": none that may send it is at work"

    def _circle(self, attempt: Attempt) -> str:
        """The tasks that it waits for through others, as far as they wait, too."""
        chain: list[str] = []
        seen = {attempt.task}
        while attempt.waits and attempt.waits[0][0] is not None:
            others = self._data.attempts.get(attempt.waits[0][0], ())
            if not others or others[0].task in seen or not others[0].waits or len(chain) == SHOWN:
                break
            attempt = others[0]
            seen.add(attempt.task)
            chain.append(f"task {attempt.task} {self.explain(attempt)}")
        return "".join(f"; {link}" for link in chain)

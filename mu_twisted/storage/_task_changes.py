"""What a job's last records change of its tasks is folded here, for tasks that do not depend on one another.

A running job's file of tasks is behind its records. What they have changed since is found without all that decides on
jobs, from the few records that concern a task as it is shown. A record of any other kind is refused.
"""

from collections.abc import Iterable

import msgspec

from mu_twisted.statuses import TaskStatus

_IRRELEVANT = frozenset({"started", "launched", "forgiven", "store", "cancelled"})
"""Records that change no task as it is shown."""
_AGAIN = frozenset({"retried", "enlarged"})
_DECISIVE = frozenset({"done", "beaten"})
"""Outcomes of attempts that may have decided about their task."""
_UNDECIDED = "what follows from the end of an attempt may not be on record"


class UnfoldedRecord(Exception):
    """What a record changes is not known here."""


class _ShownFields(msgspec.Struct, gc=False):
    type: str
    task: int = -1
    attempt: int = -1
    tasks: tuple[int, ...] = ()
    outcome: str = ""
    costs: bool = False
    error: str | None = None
    text: str = ""


class _ShownRow(msgspec.Struct, gc=False):
    record: _ShownFields


class TaskChanges:
    """What records have changed, in their order.

    Each change says what is so from then on, and not by how much it differs: where a task is known as it was after some
    of these records, all of them lead to the same.

    :param rows: of the journal, as JSON.
    :param room: characters that errors and remarks may have; beyond that not all of them are kept.
    :raises UnfoldedRecord: what these change is not known.
    :raises msgspec.MsgspecError: one is damaged.

    :ivar done: how many more tasks are done, and ``failed`` how many more have failed.
    :ivar settled: tasks in the order in which they were settled.
    """

    def __init__(self, rows: Iterable[str], room: int) -> None:
        self.done = self.failed = 0
        self.settled: list[int] = []
        self._states: dict[int, str] = {}
        self._attempts: dict[int, int] = {}
        self._errors: dict[int, str] = {}
        decode = msgspec.json.Decoder(_ShownRow).decode
        states, attempts, settled = self._states, self._attempts, self.settled
        superseded: set[int] = set()
        decides = False  # whether more may follow from the record before than is on record
        for row in rows:
            record = decode(row).record
            kind = record.type
            if decides and kind == "started":
                raise UnfoldedRecord(_UNDECIDED)
            decides = kind == "attempt-ended" and (record.costs or record.outcome in _DECISIVE)
            if kind == "assigned":
                states[record.task] = "waiting"  # of a job that does not run none is active
                attempts[record.task] = record.attempt + 1
            elif kind == "attempt-ended":
                if record.outcome == "done":
                    self._errors[record.task] = ""
                elif record.outcome == "failed":
                    self._errors[record.task] = record.error or ""
                    room -= len(record.error or "")
                elif record.outcome == "beaten":
                    superseded.add(record.task)
            elif kind == "result":
                superseded.discard(record.task)
                states[record.task] = "done"
                settled.append(record.task)
                self.done += 1
            elif kind == "task-failed":
                self._fail((record.task,), record.error or "")
                room -= len(record.error or "")
            elif kind == "tasks-failed":
                self._fail(record.tasks, record.error or "")
                room -= len(record.error or "") * len(record.tasks)
            elif kind in _AGAIN:
                states.update(dict.fromkeys(record.tasks, "waiting"))
                self.failed -= len(record.tasks)
            elif kind == "remarked":
                room -= len(record.text)
            elif kind not in _IRRELEVANT:
                raise UnfoldedRecord(kind)
        if room < 0:
            raise UnfoldedRecord("not all errors are kept")
        if decides or superseded:
            raise UnfoldedRecord(_UNDECIDED)

    def moved_to(self, state: str) -> list[int]:
        """The tasks that were moved and are in this state now."""
        return [number for number, now in self._states.items() if now == state]

    def applied(self, task: TaskStatus) -> TaskStatus:
        """A task as it is after them."""
        number = task.task
        if number not in self._states and number not in self._errors:
            return task
        error = self._errors.get(number, task.error) or None
        attempts = self._attempts.get(number, task.attempts)
        return msgspec.structs.replace(task, state=self._states.get(number, task.state), attempts=attempts, error=error)

    def _fail(self, tasks: Iterable[int], error: str) -> None:
        for number in tasks:
            self._states[number] = "failed"
            self._errors[number] = error
            self.settled.append(number)
            self.failed += 1

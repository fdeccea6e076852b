"""Failure groups sort failed tasks by what they failed of, as one cause often fails many.

Errors that differ only in numbers, in the names of workers' directories, in the names of tasks' own inputs, and in the
order of the lines of output in them, count as one reason.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mu_twisted.base import counted
from mu_twisted.base.steps import Steps, exhaust

SHOWN_REASONS = 10
"""Reasons that are listed where not all of them are asked for."""
_SHOWN_RANGES = 5
HOW_IT_DEPENDS = {
    "which it comes after": "which they come after",
    "which it is joined with by pipes": "which they are joined with by pipes",
    "whose messages it needs": "whose messages they need",
}
"""How a task depends on the one that it has failed with, and how several do."""
_DEPENDENT = re.compile(rf"task [0-9]+, ({'|'.join(HOW_IT_DEPENDS)}), failed: ")
_VARYING = re.compile(
    r"mu_worker_\w+(?:/(?:in|out)[0-9]*-[\w.-]*\w)?"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    r"|0[xX][0-9a-fA-F]+"
    r"|(?<!\w)(?=[a-fA-F]*[0-9])[0-9a-fA-F]{8,}(?!\w)"
    r"|[0-9]+"
)
"""A worker's directory, with the file of an input or an output in it; a UUID; an address; a hash; a number."""
_SHORT = 4
"""Characters of a name that is looked for in an error: a shorter one may be any word."""
_FEW = 10
"""Tasks after which grouping may be interrupted: their errors may be long."""


class FailedTask(NamedTuple):
    """A task that has failed.

    :param error: what the last of its attempts failed of.
    :param label: what the user knows it by; None: by its number.
    """

    task: int
    attempts: int
    error: str
    label: str | None = None


@dataclass(frozen=True)
class FailureGroup:
    """Failed tasks that have failed of one reason.

    :param reason: their errors, with ``#`` for what may differ.
    :param tasks: the lowest first, one at least.
    """

    reason: str
    tasks: list[FailedTask]

    @property
    def attempts(self) -> tuple[int, int]:
        """The fewest and the most attempts that one of them has had."""
        counts = [task.attempts for task in self.tasks]
        return min(counts), max(counts)


def reason_of(error: str, label: str | None = None) -> str:
    """What an error has in common with those of other tasks that failed of the same.

    :param label: what the user knows the task by.
    """
    if label is not None:
        for name in (label, label.rpartition("/")[2]):
            if len(name) >= _SHORT and name in error:
                error = re.sub(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", "#", error)
    return _VARYING.sub("#", error)


def failed_with(task: int, how: str, cause: str) -> str:
    """The error of a task that has failed as one that it depends on has.

    :param task: that one.
    :param how: one of :data:`HOW_IT_DEPENDS`.
    :param cause: what that one has failed of.
    """
    return f"task {task}, {how}, failed: {cause}"


def failure_groups(failed: Iterable[tuple[int, int, str] | FailedTask]) -> list[FailureGroup]:
    """The failed tasks by what they failed of: the reason that most have comes first, then that of the lowest task.

    Those that have failed only as others have (:func:`failed_with`) come behind all others: the cause stands first.
    """
    return exhaust(grouping(failed))


def grouping(failed: Iterable[tuple[int, int, str] | FailedTask]) -> Steps[list[FailureGroup]]:
    """As :func:`failure_groups`, with pauses."""
    groups: dict[tuple[str, frozenset[str]], FailureGroup] = {}
    for at, task in enumerate(sorted(FailedTask(*one) for one in failed)):
        reason = reason_of(task.error, task.label)
        first, *output = reason.split("\n")
        # In which order the threads of a program print is none of it.
        groups.setdefault((first, frozenset(output)), FailureGroup(reason, [])).tasks.append(task)
        if at % _FEW == 0:
            yield
    found = list(groups.values())
    return sorted(found, key=lambda group: (_DEPENDENT.match(group.tasks[0].error) is not None, -len(group.tasks)))


def failure_lines(failed: Iterable[tuple[int, int, str] | FailedTask], most: int = SHOWN_REASONS) -> list[str]:
    """The failed tasks, a line for each reason, in the order of :func:`failure_groups`.

    :param most: reasons that are listed.
    :returns: the lines, the last of them about the tasks of all other reasons, if there are any.
    """
    ordered = failure_groups(failed)
    lines = [_line(group) for group in ordered[:most]]
    others = sum(len(group.tasks) for group in ordered[most:])
    if others:
        reasons = len(ordered) - most
        lines.append(f"and {counted(others, 'more task')} of {counted(reasons, 'other reason')}")
    return lines


def called(task: int, label: str | None) -> str:
    """A task as its user knows it: ``photos/a.png (task 7)``, or ``task 7``."""
    return f"task {task}" if label is None else f"{label or repr(label)} (task {task})"


def failure_line(task: tuple[int, int, str] | FailedTask) -> str:
    """One failed task."""
    number, attempts, error, label = FailedTask(*task)
    return f"{called(number, label)} {_how_far(attempts, attempts)}: {error}"


def output_hint(job: str, failed: Iterable[FailedTask]) -> str | None:
    """The command that shows the rest where the end of an output stands in these tasks' errors.

    :returns: one line; None: none of them has it.
    """
    cut = [task for task in failed if "\n" in task.error]
    if not cut:
        return None
    which = f"--task {cut[0].task}" if len(cut) == 1 else "--failed"
    return f"`mu output {job} {which}` shows more of what {'it' if len(cut) == 1 else 'they'} printed"


def ranges(numbers: Sequence[int]) -> list[str]:
    """Ascending numbers, those that follow one another as one: ``["0-3", "7"]``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _line(group: FailureGroup) -> str:
    tasks = group.tasks
    if len(tasks) == 1:
        return failure_line(tasks[0])
    labels = [task.label for task in tasks if task.label is not None]
    shown = labels if len(labels) == len(tasks) else ranges([task.task for task in tasks])
    where = ", ".join(shown[:_SHOWN_RANGES]) + (", ..." if len(shown) > _SHOWN_RANGES else "")
    first = tasks[0]
    reason = first.error
    depends = _DEPENDENT.match(reason)
    if any(task.error != reason for task in tasks):
        head, line, rest = reason.partition("\n")
        reason = f"{head} (that of {called(first.task, first.label)}){line}{rest}"
    if depends is not None:
        reason = reason.replace(depends[1], HOW_IT_DEPENDS[depends[1]], 1)
    return f"{len(tasks)} tasks {_how_far(*group.attempts)} ({where}): {reason}"


def _how_far(least: int, most: int) -> str:
    return f"failed {after_attempts(least, most)}" if most else after_attempts(least, most)


def after_attempts(least: int, most: int) -> str:
    """How far tasks came that have failed after so many attempts; that they did not begin after none."""
    if not most:
        return "did not begin"
    return f"after {counted(most, 'attempt') if least == most else f'{least} to {most} attempts'}"

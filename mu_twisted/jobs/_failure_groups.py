"""This module tells failed tasks by what they failed of, as one cause often fails many.

Errors that differ only in numbers, and in the names of workers' directories, count as one reason.
"""

import re
from collections.abc import Iterable, Sequence

SHOWN_REASONS = 10
"""Reasons that are listed where not all of them are asked for."""
_SHOWN_RANGES = 5
_VARYING = re.compile(r"mu_worker_\w+|[0-9]+")

FailedTask = tuple[int, int, str]
"""A task's number, its attempts, and what the last of them failed of."""


def failure_lines(failed: Iterable[FailedTask], most: int = SHOWN_REASONS) -> list[str]:
    """The failed tasks, a line for each reason: the one that most tasks have comes first.

    :param most: reasons that are listed.
    :returns: the lines, the last of them about the tasks of all other reasons, if there are any.
    """
    groups: dict[str, list[FailedTask]] = {}
    for task in sorted(failed):
        groups.setdefault(_VARYING.sub("#", task[2]), []).append(task)
    ordered = sorted(groups.values(), key=len, reverse=True)  # stable: the lowest task first among equals
    lines = [_line(group) for group in ordered[:most]]
    others = sum(len(group) for group in ordered[most:])
    if others:
        reasons = len(ordered) - most
        lines.append(f"and {others} more {_plural(others, 'task')} of {reasons} other {_plural(reasons, 'reason')}")
    return lines


def failure_line(task: FailedTask) -> str:
    """One failed task."""
    number, attempts, error = task
    return f"task {number} failed after {attempts} {_plural(attempts, 'attempt')}: {error}"


def ranges(numbers: Sequence[int]) -> list[str]:
    """Ascending numbers, those that follow one another as one: ``["0-3", "7"]``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return [str(first) if first == last else f"{first}-{last}" for first, last in found]


def _line(group: Sequence[FailedTask]) -> str:
    if len(group) == 1:
        return failure_line(group[0])
    numbers = [number for number, _, _ in group]
    shown = ranges(numbers)
    where = ", ".join(shown[:_SHOWN_RANGES]) + (", ..." if len(shown) > _SHOWN_RANGES else "")
    least, most = min(tries for _, tries, _ in group), max(tries for _, tries, _ in group)
    attempts = f"{most} {_plural(most, 'attempt')}" if least == most else f"{least} to {most} attempts"
    first = group[0]
    reason = first[2]
    if any(error != reason for _, _, error in group):
        head, line, rest = reason.partition("\n")
        reason = f"{head} (that of task {first[0]}){line}{rest}"
    return f"{len(group)} tasks failed after {attempts} ({where}): {reason}"


def _plural(number: int, word: str) -> str:
    return word if number == 1 else f"{word}s"

"""The times that a coordinator writes with ``-O`` are drawn here: a line for each task, a letter for each state."""

import json
from collections.abc import Iterable
from itertools import pairwise

WIDTH = 72
"""Columns of the time."""


def timeline(lines: Iterable[str], *, unit: str = "task", width: int = WIDTH) -> list[str]:
    """Draw states over time.

    :param lines: JSON, one attempt each, as ``-O`` writes them; of each task the latest attempt is drawn.
    :param unit: what a task is called.
    :param width: columns of the time.
    :returns: a scale, a line for each task in order, and what the letters mean.
    """
    tasks = {}
    for line in lines:
        record = json.loads(line)
        tasks[record["task"]] = [(float(time), _words(text)) for time, text in record["states"]]
    if not any(tasks.values()):
        return []
    begin = min(states[0][0] for states in tasks.values() if states)
    end = max(states[-1][0] for states in tasks.values() if states)
    step = max(end - begin, 1e-3) / width
    label = max(len(f"{unit} {task}") for task in tasks) + 1
    scale = f"{end - begin:.2f} s"
    drawn = [" " * label + "0 s" + scale.rjust(width - 3)]
    shown: dict[str, str] = {}
    for task, states in sorted(tasks.items()):
        row = [" "] * width
        for (since, words), (until, _) in pairwise(states):
            letter = _letter(words)
            shown.setdefault(letter, _meaning(words))
            first = int((since - begin) / step)
            for column in range(first, max(first + 1, int((until - begin) / step))):
                row[min(column, width - 1)] = letter
        drawn.append(f"{unit} {task}".ljust(label) + "".join(row).rstrip())
    digits = sorted(letter for letter in shown if letter.isdigit())
    legend = [f"{letter} {meaning}" for letter, meaning in shown.items() if not letter.isdigit()]
    if digits:
        numbers = digits[0] if len(digits) == 1 else f"{digits[0]}-{digits[-1]}"
        legend.append(f"{numbers} {shown[digits[0]]}")
    return [*drawn, " " * label + " · ".join(legend)]


def _words(text: str) -> str:
    """The words of ``3:(encoding)``."""
    return text.partition(":")[2].strip("()") or "?"


def _letter(words: str) -> str:
    """The last digit of its number, else its first letter."""
    return words[-1] if words[-1].isdigit() else words[0]


def _meaning(words: str) -> str:
    return words.rstrip("0123456789") + "N" if words[-1].isdigit() else words

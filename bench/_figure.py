"""A figure is one result of a bench."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass
class Figure:
    """What was measured.

    :param target: the most that it may be; None: none is set.
    :param note: what has to be known with it, as the spread of its runs.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def missed(self) -> bool:
        """Whether it is above its target."""
        return self.target is not None and self.value > self.target

    def __str__(self) -> str:
        target = "" if self.target is None else f"   (target: at most {self.target:g}{', MISSED' * self.missed})"
        note = f"   ({self.note})" if self.note else ""
        return f"{self.name:72} {self.value:10.3f} {self.unit}{target}{note}"


def median_of(name: str, values: Sequence[float], unit: str, target: float | None = None, note: str = "") -> Figure:
    """The figure of several runs: their median, with their spread in the note.

    :param values: one of each run, at least one.
    """
    spread = f"{min(values):.3f} to {max(values):.3f} in {len(values)} run{'s' * (len(values) > 1)}"
    return Figure(name, statistics.median(values), unit, target, f"{spread}; {note}" if note else spread)


def least_of(name: str, values: Sequence[float], unit: str, target: float | None = None) -> Figure:
    """The figure of many short runs, of CPU in absolute terms: what else the machine does only adds to that."""
    note = f"least of {len(values)}, their median {statistics.median(values):.3f}"
    return Figure(name, min(values), unit, target, note)


def ratio_of(
    name: str, above: Sequence[float], below: Sequence[float], target: float | None = None, note: str = ""
) -> Figure:
    """The figure of runs that were taken in turn: the median of their ratios, since what else the machine does falls on
    both of a pair."""
    return median_of(name, [one / other for one, other in zip(above, below, strict=True)], "times", target, note)

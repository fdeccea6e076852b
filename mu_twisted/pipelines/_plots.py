"""The plots of a job's report are checked here, as they are an author's."""

from collections.abc import Sequence
from itertools import pairwise
from math import isfinite
from typing import TypeVar

from mu_twisted.statuses import Plot

T = TypeVar("T")

MAX_PLOTS = 6
"""Of a job."""
MAX_SERIES = 12
"""Of a plot."""
MAX_POINTS = 120
"""Of a series."""
MAX_LABEL = 60
"""Characters of a text."""


def thinned(points: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """As many of the points as a series may have: of neighbours the lowest."""
    count = min(len(points), MAX_POINTS)
    bounds = [at * len(points) // count for at in range(count + 1)] if count else []
    return tuple(min(points[first:last], key=lambda point: point[1]) for first, last in pairwise(bounds))


def checked_plots(plots: object) -> tuple[Plot, ...]:
    """The plots, as values of no class but our own.

    :raises TypeError: something is none, or a number is not finite.
    :raises ValueError: there are too many, or a text is too long.
    """
    if not isinstance(plots, tuple | list):
        raise TypeError(f"expected a tuple of plots, got {type(plots).__name__}")
    return tuple(_checked(plot) for plot in _within("a job", "plots", plots, MAX_PLOTS))


def _checked(plot: object) -> Plot:
    if not isinstance(plot, Plot):
        raise TypeError(f"expected a Plot, got {type(plot).__name__}")
    series = {
        _text(name): tuple(_point(point) for point in _within("a series", "points", points, MAX_POINTS))
        for name, points in _within("a plot", "series", list(plot.series.items()), MAX_SERIES)
    }
    return Plot(_text(plot.title), _text(plot.across), _text(plot.up), series)


def _within(whole: str, what: str, some: Sequence[T], most: int) -> Sequence[T]:
    if len(some) > most:
        raise ValueError(f"{whole} has at most {most} {what}, not {len(some)}")
    return some


def _text(text: str) -> str:
    if not isinstance(text, str) or len(text) > MAX_LABEL:
        raise ValueError(f"a plot's texts have at most {MAX_LABEL} characters")
    return str.__str__(text)


def _point(point: tuple[float, float]) -> tuple[float, float]:
    across, up = (float(number) for number in point)
    if not isfinite(across) or not isfinite(up):
        raise TypeError("a point of a plot is two finite numbers")
    return across, up

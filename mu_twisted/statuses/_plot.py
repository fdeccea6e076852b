"""Plots are what a job's report draws beside its text: series of points."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Plot:
    """A plot of one or several series.

    :param title: what it shows.
    :param across: what the first number of a point is, with its unit.
    :param up: what the second one is.
    :param series: by its name, its points in the order in which a line joins them.
    """

    title: str
    across: str
    up: str
    series: Mapping[str, tuple[tuple[float, float], ...]]

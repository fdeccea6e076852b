"""Plots of a pipeline's report: which are taken, what is made of many points, and how they are drawn."""

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.cli.report import standalone
from mu_twisted.cli.report._plot import plot as draw
from mu_twisted.fsm import TerminalState
from mu_twisted.pipelines import Pipeline, PipelineError, Plot, Report, thinned
from mu_twisted.pipelines._plots import MAX_LABEL, MAX_PLOTS, MAX_POINTS, MAX_SERIES

ONE = Plot("Title", "task", "dB", {"a": ((0, 1.5), (1, 2))})
NUMBERS = st.floats(-1e12, 1e12)
POINTS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3 * MAX_POINTS)


def told(plots: Any) -> Report:
    pipeline = Pipeline(name="p", summary="", first=TerminalState, report=lambda *_: Report("text", plots=plots))
    return pipeline.last_word({}, {})


def test_plots_are_taken_as_values() -> None:
    assert told((ONE,)).plots == (Plot("Title", "task", "dB", {"a": ((0.0, 1.5), (1.0, 2.0))}),)
    assert told([ONE] * MAX_PLOTS).plots == told((ONE,)).plots * MAX_PLOTS
    assert told(()) == Report("text")


@pytest.mark.parametrize(
    ("plots", "said"),
    [
        (None, "expected a tuple of plots, got NoneType"),
        (["no"], "expected a Plot, got str"),
        ([ONE] * (MAX_PLOTS + 1), "a job has at most 6 plots, not 7"),
        ([Plot("t", "x", "y", {str(one): () for one in range(MAX_SERIES + 1)})], "a plot has at most 12 series"),
        ([Plot("t", "x", "y", {"a": ((0, 0),) * (MAX_POINTS + 1)})], "a series has at most 120 points, not 121"),
        ([Plot("t" * (MAX_LABEL + 1), "x", "y", {})], "at most 60 characters"),
        ([Plot("t", 5, "y", {})], "at most 60 characters"),  # type: ignore[arg-type]
        ([Plot("t", "x", "y", {"a": ((0, float("nan")),)})], "two finite numbers"),
        ([Plot("t", "x", "y", {"a": ((float("inf"), 0),)})], "two finite numbers"),
        ([Plot("t", "x", "y", {"a": [(1, 2, 3)]})], "too many values"),  # type: ignore[list-item]
        ([Plot("t", "x", "y", {"a": [("a", 2)]})], "could not convert"),  # type: ignore[list-item]
        ([Plot("t", "x", "y", [])], "no attribute"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_plot_is_one_line(plots: Any, said: str) -> None:
    with pytest.raises(PipelineError, match="the report of pipeline p failed") as refused:
        told(plots)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


@given(POINTS)
def test_of_many_points_the_lowest_of_neighbours_are_left(points: list[tuple[float, float]]) -> None:
    left = thinned(points)
    assert len(left) == min(len(points), MAX_POINTS)
    assert set(left) <= set(points)
    if points:
        assert min(up for _, up in left) == min(up for _, up in points)
    if len(points) <= MAX_POINTS:
        assert left == tuple(points)


@given(st.dictionaries(st.text(max_size=MAX_LABEL), POINTS, max_size=MAX_SERIES), st.text(max_size=MAX_LABEL))
def test_whatever_is_plotted_is_a_drawing_in_its_frame(series: dict[str, list[Any]], text: str) -> None:
    drawn = draw({"title": text, "across": text, "up": text, "series": series})
    if not any(series.values()):
        assert drawn == ""
        return
    root = ElementTree.fromstring(standalone(drawn))
    tag = "{http://www.w3.org/2000/svg}"
    width, height = (float(side) for side in root.attrib["viewBox"].split()[2:])
    lines = root.findall(f"{tag}polyline")
    assert [len(line.attrib["points"].split()) for line in lines] == [len(points) for points in series.values()]
    for line in lines:
        for point in line.attrib["points"].split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= width
            assert 0 <= y <= height
    ticks = [one for one in root.findall(f"{tag}text") if one.attrib["class"] == "tick"]
    assert len(ticks) <= 40

"""The benches, which nothing else runs, find what they stand on, and say what came of them."""

import importlib
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from warm_processes import LIMIT

BENCH = Path(__file__).resolve().parents[2] / "bench"
MODULES = sorted(path.stem for path in BENCH.glob("*.py") if path.stem not in ("__main__", "link_worker"))


@pytest.mark.parametrize("name", MODULES)
def test_a_bench_can_be_imported(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    importlib.import_module(f"bench.{name}")


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCH.parent))
    return importlib.import_module


def test_a_figure_of_several_runs_is_their_median_with_the_spread(bench: Any) -> None:
    figure = bench("bench._figure").median_of("cost", [9.0, 1.0, 2.0], "us", 1.5)
    assert (figure.value, figure.missed) == (2.0, True)
    assert "1.000 to 9.000 in 3 runs" in str(figure)
    assert "MISSED" in str(figure)


def test_a_ratio_is_of_runs_that_followed_one_another(bench: Any) -> None:
    # A machine that is ten times slower in the second pair changes nothing.
    figure = bench("bench._figure").ratio_of("ratio", [2.0, 20.0, 2.2], [1.0, 10.0, 1.0], 2.0)
    assert (figure.value, figure.missed) == (2.0, False)


def test_the_plot_has_a_line_for_each_server_over_all_numbers_of_workers(bench: Any, tmp_path: Path) -> None:
    costs = {"C": {100: [9.0, 8.0], 10_000: [12.0, 11.0]}, "core": {100: [30.0, 28.0], 10_000: [33.5, 33.0]}}
    bench("bench.plot").draw(tmp_path / "plot.svg", costs, "load <1 & rising")
    root = ET.parse(tmp_path / "plot.svg").getroot()  # noqa: S314 - it was just written
    lines = [line.get("points", "").split() for line in root.iter("{http://www.w3.org/2000/svg}polyline")]
    assert [len(line) for line in lines] == [2, 2]
    heights = [[float(point.split(",")[1]) for point in line] for line in lines]
    assert all(low > high for low, high in heights)  # it rises, and upwards is less in SVG
    assert heights[0][1] > heights[1][0]
    assert "load <1 & rising" in "".join(root.itertext())


@pytest.mark.parametrize("words", [["coordinater"], ["plot"], ["relay", "--svg", "x.svg"], ["--limit", "0"]])
def test_a_wrong_use_of_the_benches_is_told_with_status_2(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *words],
        cwd=BENCH.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("python -m bench: error: ")

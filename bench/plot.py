"""The plot shows what a message costs the coordinator against the number of workers, beside C and Twisted's TLS.

Drawn by ``python -m bench plot --svg FILE``, of what it has measured in that run: bench.coordinator's processes, all
workers active.
"""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bench.coordinator import SERVERS, prepared, sample

NUMBERS = (100, 300, 1000, 3000, 10_000)
"""Workers."""
_LABELS = {"C": "server in C", "core": "coordinator, core", "twisted": "coordinator, Twisted's TLS"}
_WIDTH, _HEIGHT = 720, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 190, 40, 56
_STYLE = """
svg { --paper: #fff; --text: #16191f; --line: #dfe3e8; --C: #5b6770; --core: #0b6e4f; --twisted: #b4540a; }
@media (prefers-color-scheme: dark) {
  svg { --paper: #14171c; --text: #e6e9ee; --line: #343b45; --C: #a9b4c0; --core: #4cc79b; --twisted: #f0a05a; }
}
rect { fill: var(--paper); }
text { font: 13px sans-serif; fill: var(--text); }
.line { stroke: var(--line); }
.tick { stroke: var(--text); }
"""
"""Of a light page, and of a dark one."""

Costs = Mapping[str, Mapping[int, Sequence[float]]]
"""Microseconds a message of each run, by server and number of workers."""


def measured(runs: int) -> Costs:
    """Measure; takes some minutes.

    :param runs: of each server with each number of workers, in turn.
    """
    with prepared() as work:
        samples = sample(work, SERVERS, [(number, number) for number in NUMBERS], runs)
    return {
        server: {number: [run["message"] for run in samples[server, number, number]] for number in NUMBERS}
        for server in SERVERS
    }


def draw(target: Path, costs: Costs, conditions: str) -> None:
    """Write the plot: medians as lines, and the spread of the runs as bars.

    :param target: the file, SVG.
    :param conditions: what has to be known with it; one line.
    :raises OSError: it cannot be written.
    """
    target.write_text("\n".join(_svg(costs, conditions)) + "\n", encoding="utf-8")


def _svg(costs: Costs, conditions: str) -> Iterator[str]:
    numbers = sorted(next(iter(costs.values())))
    most = max(value for of in costs.values() for values in of.values() for value in values)
    step = _step(most)
    top = math.ceil(most / step) * step
    floor, low, high = _HEIGHT - _BOTTOM, math.log(numbers[0]), math.log(numbers[-1])

    def x(number: int) -> float:
        return _LEFT + (math.log(number) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def y(cost: float) -> float:
        return floor - cost / top * (floor - _TOP)

    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">'
    yield f"<title>CPU per message against the number of workers</title><desc>{_escaped(conditions)}</desc>"
    yield f"<style>{_STYLE}</style>"
    yield f'<rect width="{_WIDTH}" height="{_HEIGHT}"/>'
    yield f'<text x="{_LEFT}" y="22">CPU per message, microseconds</text>'
    for at in range(round(top / step) + 1):
        line = f"{y(at * step):.1f}"
        yield f'<path d="M{_LEFT} {line}H{_WIDTH - _RIGHT}" class="line"/>'
        yield f'<text x="{_LEFT - 8}" y="{y(at * step) + 4:.1f}" text-anchor="end">{at * step:g}</text>'
    for number in numbers:
        yield f'<path d="M{x(number):.1f} {floor}v5" class="tick"/>'
        yield f'<text x="{x(number):.1f}" y="{floor + 20}" text-anchor="middle">{number:,}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:g}" y="{_HEIGHT - 14}" text-anchor="middle">workers, all active</text>'
    for server, of in costs.items():
        colour = f"var(--{server})"
        points = [(x(number), y(statistics.median(of[number]))) for number in numbers]
        path = " ".join(f"{across:.1f},{up:.1f}" for across, up in points)
        yield f'<polyline points="{path}" fill="none" style="stroke: {colour}" stroke-width="2"/>'
        for number, (across, up) in zip(numbers, points, strict=True):
            spread = f"M{across:.1f} {y(min(of[number])):.1f}V{y(max(of[number])):.1f}"
            yield f'<path d="{spread}" style="stroke: {colour}"/>'
            yield f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3.5" style="fill: {colour}"><title>'
            yield f"{_LABELS[server]}, {number} workers: {statistics.median(of[number]):.1f} us</title></circle>"
        label = _escaped(_LABELS[server])
        yield f'<text x="{points[-1][0] + 10:.1f}" y="{points[-1][1] + 4:.1f}">{label}</text>'
    yield "</svg>"


def _step(most: float) -> float:
    """Between two lines, such that there are four to ten of them."""
    power = 10.0 ** math.floor(math.log10(most))
    return next(power * part for part in (0.1, 0.2, 0.5, 1.0) if most <= power * part * 10)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")

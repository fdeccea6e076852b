"""A plot of a pipeline's is drawn here as SVG: lines through its points, on axes with round numbers.

Pure: what the control API says of it goes in, text comes out. All texts are strangers'.
"""

from collections.abc import Mapping, Sequence
from html import escape
from math import ceil, floor, log10

from mu_twisted.base import printable
from mu_twisted.base.json_types import Json
from mu_twisted.cli.report._svg import COLOURS, WIDTH, opened

LEFT, TOP, HEIGHT, RIGHT = 72, 24, 220, 16
"""In pixels of a picture that is scaled."""
MOST_DOTS = 40
"""Points of a series that are drawn one by one, not only as a line."""


def plot(given: Mapping[str, Json]) -> str:
    """The drawing.

    :param given: title, ``across``, ``up``, and ``series``: names with their points.
    """
    series: Mapping[str, Sequence[tuple[float, float]]] = given["series"]
    points = [point for some in series.values() for point in some]
    if not points:
        return ""
    across, up = (_axis([point[at] for point in points]) for at in (0, 1))
    width = WIDTH - LEFT - RIGHT

    def place(point: Sequence[float]) -> tuple[float, float]:
        x = LEFT + (point[0] - across[0]) / (across[-1] - across[0]) * width
        return x, TOP + HEIGHT - (point[1] - up[0]) / (up[-1] - up[0]) * HEIGHT

    rows = 1 + len(series) // 5
    parts = [opened(WIDTH, TOP + HEIGHT + 48 + 18 * rows, escape(printable(given["title"])))]
    for value in up:
        y = place((across[0], value))[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + width}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_number(value)}</text>')
    for value in across:
        x = place((value, up[0]))[0]
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{TOP + HEIGHT + 16}" text-anchor="middle">{_number(value)}</text>'
        )
    parts.append(f'<text class="tick" x="{LEFT}" y="12">{escape(printable(given["up"]))}</text>')
    parts.append(
        f'<text class="tick" x="{LEFT + width}" y="{TOP + HEIGHT + 34}" text-anchor="end">'
        f"{escape(printable(given['across']))}</text>"
    )
    for at, (name, some) in enumerate(series.items()):
        colour = COLOURS[at % len(COLOURS)]
        dashes = ' stroke-dasharray="5 3"' if at >= len(COLOURS) else ""
        placed = [place(point) for point in some]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"{dashes}/>')
        for (x, y), point in zip(placed, some, strict=True):
            if len(some) <= MOST_DOTS:
                label = f"{escape(printable(name))}: {_number(point[0])}, {_number(point[1])}"
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{label}</title></circle>')
        left, top = LEFT + at % 5 * 170, TOP + HEIGHT + 52 + 18 * (at // 5)
        parts.append(f'<rect x="{left}" y="{top - 9}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text class="key" x="{left + 15}" y="{top}">{escape(printable(name)[:24])}</text>')
    return "".join([*parts, "</svg>"])


def _axis(values: Sequence[float]) -> list[float]:
    """Round numbers, three to twelve of them, from below the least value to above the greatest."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = abs(low) / 10 or 1.0
        low, high = low - half, high + half
    step = 10.0 ** floor(log10((high - low) / 2))
    for times in (5, 2):
        if (high - low) / (step * times) >= 3:
            step *= times
            break
    first, last = floor(low / step), ceil(high / step)
    return [number * step for number in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:.6g}"

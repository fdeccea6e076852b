"""A job's time is drawn here as SVG: its attempts as a Gantt chart, and how many tasks stood where.

Pure: what the control API's timeline says goes in, text comes out. Names of tasks and states are strangers' text.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import NamedTuple

from mu_twisted.base import printable
from mu_twisted.base.json_types import Json

WIDTH = 960
LABEL = 170
"""Of the tasks' names; as all lengths here, in pixels of a picture that is scaled."""
AXIS = 24
MAX_ROWS = 160
"""Tasks that are drawn; of more, those of the critical path, those that failed, and the slowest."""
MAX_BARS = 60
"""Bars of one task, the last ones."""
MAX_COLOURS = 6
"""States that have a colour of their own, those that took longest; the others share one."""
NAMED_SHARE = 0.005
"""Of all bars' time that a state has which has a colour."""
NAME = 26
"""Characters of a task's name."""
STATE = 40
"""Characters of a state's name."""
COLOURS = ("#2a7fd4", "#7bb8ee", "#0a8f6c", "#b07aa1", "#e0a100", "#5a6f8c")
OTHER = "#9aa4b3"
FAILED = "#cf4a00"
STYLE = """
svg { font: 11px system-ui, "Helvetica Neue", "DejaVu Sans", sans-serif; }
.name, .tick, .key { fill: var(--text, #16191f); }
.tick, .key { fill: var(--muted, #5a6372); }
.grid { stroke: var(--line, #e3e6eb); }
.path { stroke: var(--text, #16191f); fill: none; stroke-width: 1.5; }
.around { stroke: var(--surface, #fff); fill: none; stroke-width: 4; opacity: .75; }
.right { fill: var(--active, #2a7fd4); }
.row { fill: var(--sunken, #f0f2f5); }
.open { fill: none; stroke: var(--accent, #0b5cad); stroke-dasharray: 2 2; }
.area { opacity: .9; }
"""


class Bar(NamedTuple):
    """A span of one attempt.

    :param kind: the state's name; where states are not known, how the attempt ended.
    """

    begin: float
    end: float
    kind: str


class GanttRow(NamedTuple):
    """One task: what it is called, and its bars; ``ends`` are when attempts at it ended, and whether they failed."""

    task: int
    name: str
    bars: Sequence[Bar]
    ends: Sequence[tuple[float, bool]]


def standalone(drawing: str) -> str:
    """A drawing as a file of its own, on white."""
    head, _, rest = drawing.partition(">")
    style, end, rest = rest.partition("</style>")
    paper = f'{style}{end}<rect width="100%" height="100%" fill="#fff"/>'
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} xmlns="http://www.w3.org/2000/svg">{paper}{rest}\n'


def seconds(value: float) -> str:
    """A span of time, in few characters, as many digits behind the point as others of its length."""
    if value < 100:
        return f"{value:.{2 if value < 9.995 else 1}f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def name_of(timeline: Mapping[str, Json], task: int) -> str:
    """What the user knows a task by."""
    label = timeline["labels"].get(str(task))
    return printable(label) if label else f"task {task}"


def rows_of(timeline: Mapping[str, Json]) -> list[GanttRow]:
    """The tasks that are drawn, in the order in which they began."""
    attempts, outcomes, now = timeline["attempts"], timeline["outcomes"], timeline["now"]
    states = {(one["task"], one["attempt"]): one["states"] for one in timeline["states"]}
    spans: dict[int, list[tuple[float, float, str, int]]] = {}
    for task, attempt, begin, end, outcome in zip(
        *(attempts[column] for column in ("task", "attempt", "begin", "end", "outcome")), strict=True
    ):
        spans.setdefault(task, []).append((begin, now if end is None else end, outcomes[outcome], attempt))
    chosen = _chosen(timeline, spans)
    rows = []
    for task in sorted(chosen, key=lambda one: (spans[one][0][0], one)):
        bars: list[Bar] = []
        for begin, end, outcome, attempt in spans[task]:
            bars += _bars(begin, end, outcome, states.get((task, attempt), ()))
        ends = [(end, outcome == "failed") for _, end, outcome, _ in spans[task] if outcome != "running"]
        rows.append(GanttRow(task, name_of(timeline, task), bars[-MAX_BARS:], ends))
    return rows


def gantt(timeline: Mapping[str, Json]) -> str:
    """The Gantt chart. Where states of attempts are known, bars have their colours; the critical path is a line."""
    rows = rows_of(timeline)
    height = 16 if len(rows) <= 40 else 10
    span = max(timeline["now"], 1e-3)
    plot = WIDTH - LABEL - 16
    kinds = _colours(rows)
    bottom = AXIS + len(rows) * height
    key = _key(kinds, bottom + 22, has_failed=any(failed for row in rows for _, failed in row.ends))
    total = bottom + 22 + _key_height(kinds)

    def across(at: float) -> float:
        return float(LABEL + min(max(at / span, 0.0), 1.0) * plot)

    parts = [opened(WIDTH, total, "Gantt chart of the tasks"), _grid(span, plot, bottom)]
    middle: dict[int, float] = {}
    for index, row in enumerate(rows):
        top = AXIS + index * height
        middle[row.task] = top + height / 2
        parts.append(f"<g><title>{escape(row.name)}</title>")
        small = "" if height > 10 else ' font-size="9"'
        parts.append(
            f'<text class="name" x="{LABEL - 8}" y="{top + height - (4.5 if height > 10 else 1.5):.1f}" '
            f'text-anchor="end"{small}>{escape(_short(row.name))}</text>'
        )
        parts += [_bar(bar, across, top + 1, height - 2, kinds.get(bar.kind, OTHER)) for bar in row.bars]
        parts += [
            f'<rect x="{across(end) - 1.5:.1f}" y="{top}" width="3" height="{height}" fill="{FAILED}"/>'
            for end, failed in row.ends
            if failed
        ]
        parts.append("</g>")
    parts.append(_path(timeline["path"], across, middle))
    return "".join([*parts, key, "</svg>"])


def counts(timeline: Mapping[str, Json]) -> str:
    """How many tasks were done, failed and active over time."""
    series, tasks = timeline["series"], max(timeline["tasks"], 1)
    height, top = 180, 16
    plot = WIDTH - 56 - 48
    span = max(timeline["now"], 1e-3)
    most = max([*series["active"], 1])

    def line(values: Sequence[float], scale: float) -> list[tuple[float, float]]:
        points = [(56.0, float(top + height))]
        for index, value in enumerate(values):
            at = min((index + 1) * series["step"] / span, 1.0)
            points.append((56 + at * plot, top + height - value / scale * height))
        return points

    both = [done + failed for done, failed in zip(series["done"], series["failed"], strict=True)]
    parts = [opened(WIDTH, top + height + 44, "Tasks over time")]
    for share in (0.0, 0.5, 1.0):
        y = top + height * (1 - share)
        parts.append(f'<line class="grid" x1="56" x2="{56 + plot}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="48" y="{y + 4:.1f}" text-anchor="end">{round(tasks * share):,}</text>')
        active = f"{most * share:,.{1 if most < 10 else 0}f}".removesuffix(".0")
        parts.append(f'<text class="right" x="{56 + plot + 8}" y="{y + 4:.1f}">{active}</text>')
    for at in _ticks(span):
        x = 56 + at / span * plot
        parts.append(
            f'<text class="tick" x="{x:.1f}" y="{top + height + 16}" text-anchor="middle">{_moment(at)}</text>'
        )
    parts.append(_area(line(both, tasks), top + height, "var(--failed, #cf4a00)"))
    parts.append(_area(line(series["done"], tasks), top + height, "var(--done, #0a8f6c)"))
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in line(series["active"], most))
    parts.append(f'<polyline class="around" points="{points}"/>')
    parts.append(f'<polyline points="{points}" fill="none" stroke="var(--active, #2a7fd4)" stroke-width="1.5"/>')
    x = 56.0
    for name, colour in (
        ("done", "var(--done, #0a8f6c)"),
        *((("failed", "var(--failed, #cf4a00)"),) if any(series["failed"]) else ()),
        (f"active, at most {most:,}", "var(--active, #2a7fd4)"),
    ):
        y = top + height + 36
        parts.append(f'<rect x="{x}" y="{y - 9}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text class="key" x="{x + 16}" y="{y}">{name}</text>')
        x += 30 + 7 * len(name)
    return "".join([*parts, "</svg>"])


# -- inside ------------------------------------------------------------------------------------------------------------


def _chosen(timeline: Mapping[str, Json], spans: Mapping[int, Sequence[tuple[float, float, str, int]]]) -> set[int]:
    if len(spans) <= MAX_ROWS:
        return set(spans)
    path = [one["task"] for one in timeline["path"] if one["task"] in spans]
    failed = [task for task, some in spans.items() if some[-1][2] == "failed"]
    slow = sorted(spans, key=lambda task: spans[task][-1][1] - spans[task][-1][0], reverse=True)
    third = MAX_ROWS // 3
    return set(list(dict.fromkeys([*path[-third:], *failed[:third], *slow]))[:MAX_ROWS])


def _bars(begin: float, end: float, outcome: str, states: Sequence[Sequence[Json]]) -> list[Bar]:
    if len(states) < 2:
        return [Bar(begin, end, outcome)]
    ends = [float(at) for at, _ in states[1:]] + [end]
    return [
        Bar(float(at), max(float(at), until), printable(str(name)))
        for (at, name), until in zip(states, ends, strict=True)
        if until > float(at) or until == end
    ]


def _colours(rows: Iterable[GanttRow]) -> dict[str, str]:
    """The colour of each kind of bar that has one of its own, the kind that took longest first."""
    took: Counter[str] = Counter()
    for row in rows:
        for bar in row.bars:
            took[bar.kind] += bar.end - bar.begin  # type: ignore[assignment]
    known = {"failed": FAILED, "withdrawn": OTHER, "beaten": OTHER}
    free = iter(COLOURS)
    found: dict[str, str] = {}
    least = sum(took.values()) * NAMED_SHARE
    for kind, long in took.most_common():
        if long < least:
            break
        if kind in known:
            found[kind] = known[kind]
        elif len(found) < MAX_COLOURS:
            found[kind] = next(free, OTHER)
    return found


def _bar(bar: Bar, across: Callable[[float], float], top: float, height: float, colour: str) -> str:
    left, right = across(bar.begin), across(bar.end)
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{max(right - left, 0.8):.1f}" height="{height}" fill="{colour}">'
        f"<title>{escape(bar.kind)}: {seconds(bar.end - bar.begin)}</title></rect>"
    )


def _path(path: Sequence[Mapping[str, Json]], across: Callable[[float], float], middle: Mapping[int, float]) -> str:
    points: list[str] = []
    for one in path:
        y = middle.get(one["task"])
        if y is not None:
            points += [f"{across(one['begin']):.1f},{y:.1f}", f"{across(one['end']):.1f},{y:.1f}"]
    if not points:
        return ""
    along = " ".join(points)
    return (
        f'<polyline class="around" points="{along}"/>'
        f'<polyline class="path" points="{along}"><title>critical path</title></polyline>'
    )


def _tick(x: float, y: float, text: str) -> str:
    return f'<text class="tick" x="{x:.1f}" y="{y}" text-anchor="middle">{text}</text>'


def _ticks(span: float) -> list[float]:
    """Round times, five to eight of them."""
    step = 10.0 ** len(str(int(span)))
    for divided in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000):
        if span * divided >= 5 * step:
            step /= divided
            break
    return [index * step for index in range(int(span / step) + 1)][:10]


def _moment(at: float) -> str:
    """A time of :func:`_ticks`."""
    return f"{at:.3g} s" if at < 100 else seconds(at)


def _grid(span: float, plot: float, bottom: float) -> str:
    parts = []
    for at in _ticks(span):
        x = LABEL + at / span * plot
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{AXIS - 4}" y2="{bottom}"/>')
        parts.append(_tick(x, 12, _moment(at)))
    return "".join(parts)


def _key_height(kinds: Mapping[str, str]) -> int:
    return 20 * (1 + len(kinds) // 6)


def _key(kinds: Mapping[str, str], y: float, *, has_failed: bool) -> str:
    parts, x = [], float(LABEL)
    named = [*kinds.items(), ("the attempt failed here", FAILED)] if has_failed else list(kinds.items())
    for name, colour in dict(named).items():
        text = name if len(name) <= STATE else f"{name[: STATE - 3]}..."
        if x + 24 + 6.5 * len(text) > WIDTH:
            x, y = float(LABEL), y + 18
        parts.append(f'<rect x="{x:.1f}" y="{y - 9:.1f}" width="10" height="10" rx="2" fill="{colour}"/>')
        parts.append(f'<text class="key" x="{x + 15:.1f}" y="{y:.1f}">{escape(text)}</text>')
        x += 32 + 6.5 * len(text)
    return "".join(parts)


def _area(points: Sequence[tuple[float, float]], bottom: float, colour: str) -> str:
    if len(points) < 2:
        return ""
    along = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polygon class="area" points="{along} {points[-1][0]:.1f},{bottom:.1f}" fill="{colour}"/>'


def opened(width: float, height: float, title: str) -> str:
    """The beginning of a drawing.

    :param title: escaped.
    """
    return f'<svg viewBox="0 0 {width} {height:.0f}" role="img" aria-label="{title}"><style>{STYLE}</style>'


def _short(name: str) -> str:
    return name if len(name) <= NAME else f"...{name[-(NAME - 3) :]}"

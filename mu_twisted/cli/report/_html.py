"""A job becomes one page of HTML here, which loads nothing and runs no script. All text in it is a stranger's."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files

from mu_twisted.base import byte_size, terminal_safe
from mu_twisted.cli import _format
from mu_twisted.cli._format import Fields
from mu_twisted.cli.report._plot import plot
from mu_twisted.cli.report._svg import counts, gantt, name_of, seconds
from mu_twisted.wording import after_attempts, called, explain_exit, how_long, price_text

MAX_TABLE = 30
"""Lines of a table."""
BYTES = {"retrieved": "From S3", "uploaded": "To S3", "received": "From tasks", "sent": "To tasks"}
"""The columns of what was moved, by kind."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(job: Fields, timeline: Fields | None, failures: Fields) -> str:
    """The page.

    :param job: the job's status, ``timeline`` and ``failures`` what the control API says of it; None: no task began.
    """
    sections = [_facts(job, timeline)]
    if failures["groups"]:
        sections.append(_failures(job, failures))
    sections += [_plot(one) for one in job.get("plots") or ()]
    if timeline is not None and timeline["attempts"]["task"]:
        sections += [
            _over_time(timeline),
            _gantt(timeline),
            *_path(timeline),
            *_stages(job, timeline),
            _slowest(timeline),
        ]
    styles = files("mu_twisted.web.dashboard").joinpath("tokens.css").read_text("utf-8")
    styles += files("mu_twisted.cli.report").joinpath("report.css").read_text("utf-8")
    name = _text(job["job"])
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{name} · mu</title><style>{styles}</style></head>\n<body><main>{_header(job)}\n"
        + "\n".join(sections)
        + f"\n<footer>Written by mu on {_when(time.time())}.</footer></main></body></html>\n"
    )


def _header(job: Fields) -> str:
    kind = {"done": "done", "failed": "failed", "running": "running"}.get(job["state"], "")
    state = "not done" if job["state"] == "interrupted" else job["state"]
    lines = [f'<h1>{_text(job["job"])}<span class="chip {kind}">{_text(state)}</span></h1>']
    ended = f", ended {_when(job['ended'])}" if job.get("ended") is not None else ""
    lines.append(f'<p class="muted">{_text(job["pipeline"])}, submitted {_when(job["submitted"])}{ended}</p>')
    for key in ("error", "note", "report"):
        if job.get(key):
            lines.append(f"<pre>{_text(job[key])}</pre>")
    return f"<header>{''.join(lines)}</header>"


def _facts(job: Fields, timeline: Fields | None) -> str:
    now = job["ended"] if job.get("ended") is not None else job["submitted"] + (timeline or {}).get("now", 0.0)
    cost = job.get("cost")
    ramp = _text(f"all workers after {seconds(job['ramp'])}").replace(" s", "&nbsp;s") if job.get("ramp") else ""
    facts = [
        ("Done", f"{job['done']:,}", f"of {job['tasks']:,} tasks"),
        ("Failed" if job["state"] != "cancelled" else "Not done", f"{job['failed']:,}", ""),
        ("Time", _text(how_long(max(0.0, now - job["submitted"]))), ramp),
    ]
    if job.get("skipped"):
        facts.append(("Skipped", f"{job['skipped']:,}", "their output was there"))
    if timeline is not None:
        facts.append(("Workers at once", f"{max([*timeline['series']['active'], 0]):,}", "with a task, at most"))
    if cost:
        requests = "1 request" if cost["requests"] == 1 else f"{cost['requests']:,} requests"
        price = price_text(cost["price"], cost["currency"]) if cost.get("price") is not None else "not known"
        facts.append(("Cost", _text(price), _text(f"{cost['gb_seconds']:.1f} GB-s, {requests}")))
    moved = job.get("bytes") or {}
    for name, out, into, verb in (
        ("Stored in S3", "uploaded", "retrieved", "fetched"),
        ("Sent to tasks", "sent", "received", "received"),
    ):
        if moved.get(into) or moved.get(out):
            facts.append((name, byte_size(moved.get(out, 0)), f"{byte_size(moved.get(into, 0))} {verb}"))
    shown = "".join(
        f"<div><dt>{name}</dt><dd>{value}{f'<small>{more}</small>' if more else ''}</dd></div>"
        for name, value, more in facts
    )
    return f'<section><dl class="facts">{shown}</dl></section>'


def _failures(job: Fields, failures: Fields) -> str:
    parts = []
    for group in failures["groups"]:
        sample = group["sample"]
        where = _first(group["tasks"], 12)
        count = "1 task" if group["count"] == 1 else f"{group['count']:,} tasks"
        head, _, rest = (sample["error"] or group["reason"]).partition("\n")
        parts.append(f'<div class="reason"><h3>{_text(head)}</h3>')
        parts.append(f'<p class="muted">{count} {after_attempts(*group["attempts"])}: {_text(where)}</p>')
        if group.get("labels"):
            names = list(group["labels"].values())
            others = f", and {group['count'] - len(names):,} more" if group["count"] > len(names) else ""
            parts.append(f"<p>{_text(', '.join(names))}{others}</p>")
        name = called(sample["task"], sample.get("label"))
        if group.get("output"):
            status = f", {_exit(group['status'])}" if group.get("status") is not None else ""
            parts.append(f'<p class="muted">The end of what {_text(name)} printed{status}:</p>')
            parts.append(f"<pre>{_text(group['output'])}</pre>")
        elif rest:
            parts.append(f"<pre>{_text(rest)}</pre>")
        else:
            parts.append(f'<p class="muted">Nothing is kept of what {_text(name)} printed.</p>')
        parts.append("</div>")
    more = f'<p class="muted">and {failures["more"]:,} more reasons</p>' if failures.get("more") else ""
    retry = f'<p class="muted">Run them again: <code>mu retry {_text(job["job"])}</code></p>'
    return f"<section><h2>What failed</h2>{''.join(parts)}{more}{retry}</section>"


def _plot(given: Fields) -> str:
    return f"<section><h2>{_text(given['title'])}</h2><figure>{plot(given)}</figure></section>"


def _over_time(timeline: Fields) -> str:
    return f"<section><h2>Over time</h2><figure>{counts(timeline)}</figure></section>"


def _gantt(timeline: Fields) -> str:
    tasks = len(set(timeline["attempts"]["task"]))
    drawn = gantt(timeline)
    shown = drawn.count("<g>")
    path = "those of the critical path, " if timeline["path"] else ""
    some = (
        f"{shown} of {tasks:,} tasks: {path}those that failed, and the slowest."
        if shown < tasks
        else "A row for each task, a bar for each attempt."
    )
    line = " The line is the critical path: what the job's length is due to." if timeline["path"] else ""
    return f'<section><h2>Where the time went</h2><p class="muted">{some}{line}</p><figure>{drawn}</figure></section>'


def _path(timeline: Fields) -> list[str]:
    path = timeline["path"]
    if not path:
        return []
    rows: list[Sequence[str]] = []
    before = 0.0
    for one in path:
        waited = max(0.0, one["begin"] - before)
        rows.append(
            [
                _text(called(one["task"], one.get("label"))),
                seconds(one["begin"]),
                seconds(waited),
                seconds(one["end"] - one["begin"]),
            ]
        )
        before = one["end"]
    table = _table(["Task", "Began at", "Waited before", "Took"], rows[-MAX_TABLE:], numbers=3)
    return [f"<section><h2>Critical path</h2>{table}</section>"]


def _stages(job: Fields, timeline: Fields) -> list[str]:
    stages = timeline["stages"]
    if len(stages) < 2:
        return []
    names = [stage.get("name") or f"tasks {_first(stage['tasks'])}" for stage in stages]
    rows = [
        [
            _text(name),
            _text(_first([names[before] for before in stage.get("after", ())]) or "-"),
            f"{stage['done']:,} of {stage['count']:,}",
            f"{stage['failed']:,}",
            *_span(stage),
        ]
        for name, stage in zip(names, stages, strict=True)
    ]
    head, rows = _with_bytes(
        ["Stage", "After", "Done", "Not done" if job["state"] in _format.ENDED else "Failed", "Began at", "Took"],
        rows,
        [one.get("bytes") for one in stages],
    )
    return [f"<section><h2>Stages</h2>{_table(head, rows[:64], numbers=len(head) - 2)}</section>"]


def _exit(status: int) -> str:
    """How a program ended, in few words."""
    return explain_exit(status).partition(":")[0]


def _first(names: Sequence[str], most: int = 6) -> str:
    """The first of some names, or ranges of tasks."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _span(stage: Fields) -> list[str]:
    if stage.get("begin") is None:
        return ["-", "-"]
    return [seconds(stage["begin"]), seconds(stage["end"] - stage["begin"])]


def _slowest(timeline: Fields) -> str:
    attempts, rows = timeline["attempts"], []
    places = timeline["slowest"][:MAX_TABLE]
    for index in places:
        begin, end = attempts["begin"][index], attempts["end"][index]
        task = attempts["task"][index]
        label = timeline["labels"].get(str(task))
        rows.append(
            [
                _text(called(task, label)),
                str(attempts["attempt"][index]),
                _text(timeline["outcomes"][attempts["outcome"][index]]),
                seconds(begin),
                seconds((timeline["now"] if end is None else end) - begin),
            ]
        )
    moved = [timeline["bytes"].get(str(index)) for index in places]
    head, rows = _with_bytes(["Task", "Attempt, from 0", "Ended", "Began at", "Took"], rows, moved)
    return f"<section><h2>The slowest attempts</h2>{_table(head, rows, numbers=len(head) - 3)}</section>"


def _with_bytes(
    head: Sequence[str], rows: Sequence[Sequence[str]], moved: Sequence[Mapping[str, int] | None]
) -> tuple[list[str], list[list[str]]]:
    """A table with a column for each kind of bytes that one of its rows has moved.

    :param moved: by each row, by kind; None: that is not known.
    """
    kinds = [kind for kind in BYTES if any(one and one.get(kind) for one in moved)]
    cells = [["-" if one is None else byte_size(one.get(kind, 0)) for kind in kinds] for one in moved]
    return [*head, *(BYTES[kind] for kind in kinds)], [[*row, *more] for row, more in zip(rows, cells, strict=True)]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int) -> str:
    """A table.

    :param rows: their cells are HTML.
    :param numbers: columns of numbers, the last ones.
    """
    kind: Callable[[int], str] = lambda at: ' class="number"' if at >= len(head) - numbers else ""  # noqa: E731
    top = "".join(f'<th scope="col"{kind(at)}>{text}</th>' for at, text in enumerate(head))
    body = "".join(
        "<tr>" + "".join(f"<td{kind(at)}>{cell}</td>" for at, cell in enumerate(row)) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(text: object) -> str:
    return escape(terminal_safe(str(text)))


def _when(at: float) -> str:
    return _text(_format.when(at))


__all__ = ["name_of", "page"]

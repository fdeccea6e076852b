"""Answers of a coordinator are formatted here as text. Knows no coordinator."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mu_twisted.base import counted, terminal_safe
from mu_twisted.base.json_types import Json
from mu_twisted.wire.byte_counts import counts_text
from mu_twisted.wording import (
    FailedTask,
    failure_line,
    failure_lines,
    how_long,
    output_hint,
    price_text,
    stages_under_way,
)

Fields = Mapping[str, Json]


def when(seconds: float) -> str:
    """A time of day, here."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Columns: text to the left, numbers to the right."""
    cells = [list(head), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    numeric = [all(row[column].isdigit() or row[column] == "-" for row in cells[1:]) for column in range(len(head))]
    lines = [
        "  ".join(
            row[column].rjust(widths[column]) if numeric[column] else row[column].ljust(widths[column])
            for column in range(len(head))
        )
        for row in cells
    ]
    return terminal_safe("\n".join(line.rstrip() for line in lines))


def result(job: Fields, *, priced: bool = False) -> str:
    """A job that is over, in one line.

    :param priced: whether it says what the job has cost, where that is known.
    """
    took = f" in {how_long(job['ended'] - job['submitted'])}" if job.get("ended") is not None else ""
    state = "" if job["state"] == "done" else f"{job['state']}, "
    price = (job.get("cost") or {}).get("price") if priced else None
    spent = "" if price is None else f", {price_text(price, job['cost'].get('currency'))}"
    return terminal_safe(f"{job['job']}: {state}{job['done']} of {job['tasks']} tasks done{_skipped(job)}{took}{spent}")


def progress(job: Fields) -> str:
    """A job that runs, in one line."""
    parts = [f"{job['done']} of {job['tasks']} tasks done"]
    parts += [f"{job[key]} {key}" for key in ("failed", "active", "waiting") if job[key]]
    parts.append(counted(job["workers"], "worker"))
    if job["launches"]:
        parts.append(f"{job['launches']} to come")
    going = stages_under_way(job.get("stages") or ())
    parts += [going] if going else []
    note = f" ({job['note']})" if job.get("note") else ""
    return " ".join(terminal_safe(f"{job['job']}: {', '.join(parts)}{note}").split())


def failed_count(job: Fields) -> int | str:
    """How many tasks of a job have failed, less those that were only not done when it was ended: ``-`` where an older
    record does not tell them apart.
    """
    if job["state"] not in ENDED:
        return int(job["failed"])
    return "-" if job.get("unfinished") is None else int(job["failed"] - job["unfinished"])


def details(job: Fields) -> str:
    """A job, all that is known."""
    rows = [("state", job["state"]), ("pipeline", job["pipeline"])]
    ended = job["state"] in ENDED
    counts = [f"{job[key]} {key}" for key in ("done", "active", "waiting", "failed") if job[key] and not ended]
    if ended:
        unfinished = job["failed"] if job.get("unfinished") is None else job["unfinished"]
        parts = ((job["done"], "done"), (job["failed"] - unfinished, "failed"), (unfinished, "not done"))
        counts += [f"{count} {what}" for count, what in parts if count]
    counts += [f"{job['skipped']} more skipped, as their output was there"] if job.get("skipped") else []
    rows.append(("tasks", f"{job['tasks']}: {', '.join(counts)}"))
    rows.append(("workers", f"{job['workers']} connected, {job['launches']} to come"))
    rows.append(("submitted", when(job["submitted"])))
    if job.get("ended") is not None:
        rows.append(("ended", f"{when(job['ended'])}, after {how_long(job['ended'] - job['submitted'])}"))
    rows.append(("cost", cost(job["cost"]) if job.get("cost") else None))
    rows.append(("data", counts_text(job["bytes"]) if job.get("bytes") else None))
    rows.append(("paths", paths(job["paths"]) if job.get("paths") else None))
    return listing(job["job"], [*rows, *((key, job.get(key)) for key in ("note", "report", "error"))])


def stages(job: Fields) -> list[str]:
    """The stages of a job as a table; nothing where it has none."""
    found = job.get("stages")
    if not found:
        return []
    ended = job["state"] in ENDED
    head = ["STAGE", "STATE", "TASKS", "DONE", "ACTIVE", "WAITING", "BLOCKED", "NOT DONE" if ended else "FAILED"]
    keys = ["tasks", "done", "active", "waiting", "blocked", "failed"]
    states = ["not done" if ended and stage["state"] == "failed" else stage["state"] for stage in found]
    rows = [[stage["name"], state, *(stage[key] for key in keys)] for stage, state in zip(found, states, strict=True)]
    lines = table(head, rows).split("\n")
    waits = [f"  {stage['waits']}" if stage.get("waits") else "" for stage in found]
    return [f"  {terminal_safe(line + more)}" for line, more in zip(lines, ["", *waits], strict=True)]


def paths(counts: Mapping[str, int]) -> str:
    """Between how many workers there were direct paths, and why not between others, in one line; each counts twice."""
    others = [f"{count} {_PATHS.get(outcome, outcome)}" for outcome, count in counts.items() if outcome != "direct"]
    relayed = f"; by the rendezvous: {', '.join(sorted(others))}" if others else ""
    return f"{counted(counts.get('direct', 0), 'end')} of direct ones{relayed}"


def cost(fields: Fields) -> str:
    """What a job has used of Lambda, in one line."""
    used = f"{fields['gb_seconds']:.1f} GB-seconds, {counted(fields['requests'], 'request')}"
    if fields.get("price") is None:
        return f"{used}; no price is known for its region"
    price = f"{fields['price']:.{2 if fields['price'] >= 1 else 6}f}"
    text = f"{used}: {price} {fields['currency']} by AWS's price list of {fields['prices_of']}"
    region = fields.get("estimated_by")
    return f"{text}, an estimate: the price of {region} stands in for that of its region" if region else text


def daemon(status: Fields) -> str:
    """The coordinator itself."""
    rate = status.get("launch_rate")
    transport = {"core": "the core", "twisted": "Twisted's TLS, which is slower"}.get(status.get("transport") or "")
    return listing(
        f"coordinator {status['version']}, process {status['pid']}",
        [
            ("workers", f"{status['workers']} connected, on port {status['port']}"),
            ("transport", transport),
            ("jobs", f"{status['jobs']} running"),
            ("launches", None if rate is None else f"at most {rate:g} a second at the moment"),
            ("note", status.get("note")),
        ],
    )


def listing(title: str, rows: Sequence[tuple[str, str | None]]) -> str:
    """A title, and below it what is known, in two columns."""
    shown = [(name, value.replace("\n", "\n" + " " * 12)) for name, value in rows if value]
    return terminal_safe("\n".join([title, *(f"  {name:9} {value}" for name, value in shown)]))


_PATHS = {
    "edm": "whose NATs map each destination to another port (edm)",
    "absent": "before their peers were there (absent)",
    "limit": "beyond a limit of the rendezvous (limit)",
    "off": "as the rendezvous allows none (off)",
    "timeout": "that did not meet in time (timeout)",
    "refused": "whose NATs refused (refused)",
    "lost": "after a path was lost (lost)",
    "unreachable": "while the rendezvous could not be reached (unreachable)",
}
ENDED = ("cancelled", "interrupted")
"""States of jobs whose tasks have failed as well in which only the job was ended."""


def failures(job: Fields, tasks: Iterable[Fields]) -> list[str]:
    """The failed tasks of a job by what they failed of; those that only ended with their job are none."""
    failed = _failed(job, tasks)
    hint = output_hint(job["job"], failed)
    return [terminal_safe(line) for line in (*failure_lines(failed), *([hint] if hint is not None else []))]


def each_failure(job: Fields, tasks: Iterable[Fields]) -> list[str]:
    """The failed tasks of a job, a line each."""
    return [terminal_safe(" ".join(failure_line(task).split())) for task in _failed(job, tasks)]


def _failed(job: Fields, tasks: Iterable[Fields]) -> list[FailedTask]:
    ended = job.get("error") if job["state"] in ENDED else None
    return [
        FailedTask(task["task"], task["attempts"], task.get("error") or "no reason given", task.get("label"))
        for task in tasks
        if task["state"] == "failed" and (ended is None or task.get("error") != ended)
    ]


def _skipped(job: Fields) -> str:
    return f", {job['skipped']} skipped" if job.get("skipped") else ""

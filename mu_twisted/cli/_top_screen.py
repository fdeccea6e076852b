"""The screen of ``mu top`` is drawn here from what a coordinator has answered. Knows neither coordinator nor keys."""

from collections.abc import Iterator, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mu_twisted.base import counted, printable
from mu_twisted.cli._format import Fields
from mu_twisted.wording import how_long, progress_bar

SLOW = 3.0
"""Times the median of its job after which a task is marked as slow."""
LATE = 0.1
"""Seconds of lag of the event loop that are marked."""
MANY = 20
"""Tasks that are listed where the height does not say."""


def screen(
    found: Fields,
    width: int,
    height: int | None,
    rates: Mapping[str, float],
    *,
    fault: str | None = None,
    ascii_only: bool = False,
) -> RenderableType:
    """What rich is to print.

    :param found: as :func:`mu_twisted.cli._top.look` returns it.
    :param width: columns; ``height``: lines, None: any number.
    :param rates: tasks that end a second, by job.
    :param fault: why ``found`` is not of now; None: it is.
    :param ascii_only: whether the terminal shows nothing else.
    """
    lines = list(_head(found["daemon"], fault))
    for each in found["jobs"]:
        lines += _job(each, width, rates.get(each["job"]["job"]), ascii_only=ascii_only)
    if found["more"]:
        lines.append(Text(f"and {counted(found['more'], 'job')} more", "dim"))
    if not found["jobs"]:
        lines.append(Text("no job runs", "dim"))
    room = MANY if height is None else height - len(lines) - 2  # an empty line, and the head of the table
    tasks = list(_tasks(found))
    # A coordinator does not list all of many.
    active = sum(max(each["job"]["active"], len(each["active"]["tasks"])) for each in found["jobs"])
    if height is not None:
        lines = lines[:height]
    if not tasks or room < 1:
        return Group(*lines)
    several = len(found["jobs"]) > 1
    if active <= min(room, len(tasks)) or (height is not None and room == 1):
        return Group(*lines, Text(), _table(tasks[:room], several))
    shown = tasks[: room if height is None else room - 1]
    more = f"and {counted(active - len(shown), 'active task')} more"
    return Group(*lines, Text(), _table(shown, several), Text(more, "dim", no_wrap=True, overflow="ellipsis"))


def _head(daemon: Fields, fault: str | None) -> Iterator[Text]:
    runs = counted(daemon["jobs"], "job runs", "jobs run")
    parts = [f"coordinator {daemon['version']}", runs, f"{counted(daemon['workers'], 'worker')} connected"]
    if daemon.get("launch_rate") is not None:
        parts.append(f"at most {daemon['launch_rate']:g} launches a second")
    lag = daemon.get("loop_lag")
    line = Text("  ".join(parts), "bold", no_wrap=True, overflow="ellipsis")
    if lag is not None:
        line.append(f"  loop lag {1000 * lag:.0f} ms", "yellow" if lag >= LATE else "")
    yield line
    for note in (daemon.get("note"), fault):
        if note:
            yield Text(printable(note), "yellow", no_wrap=True, overflow="ellipsis")


def _job(each: Fields, width: int, rate: float | None, *, ascii_only: bool) -> Iterator[Text]:
    job = each["job"]
    pieces = progress_bar(job, width, rate=rate, ascii_only=ascii_only)
    yield Text.assemble(*pieces, no_wrap=True, overflow="crop")
    if job["state"] != "running":
        yield Text(f"  {job['state']}", "dim")
        return
    workers = [f"{count} {what}" for what, count in each["active"]["workers"].items() if count]
    workers += [f"{job['launches']} to come"] if job["launches"] else []
    waiting = [counted(job["waiting"], "task waits", "tasks wait")] if job["waiting"] else []
    text = f"  workers: {', '.join(workers) or 'none'}{'; ' if waiting else ''}{''.join(waiting)}"
    yield Text(text, "dim", no_wrap=True, overflow="ellipsis")


def _tasks(found: Fields) -> Iterator[tuple[Fields, Fields]]:
    """Each active attempt with its job, those that have run longest first."""
    listed = [(each["job"], task) for each in found["jobs"] for task in each["active"]["tasks"]]
    yield from sorted(listed, key=lambda one: -one[1]["seconds"])


def _table(tasks: list[tuple[Fields, Fields]], several: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
    table.add_column("AGE", justify="right", no_wrap=True)
    if several:
        table.add_column("JOB", no_wrap=True, overflow="ellipsis")
    table.add_column("TASK", justify="right", no_wrap=True)
    table.add_column("INPUT", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("ATTEMPT, FROM 0", justify="right", no_wrap=True)
    table.add_column("WORKER", no_wrap=True)
    table.add_column("WAITS", no_wrap=True, overflow="ellipsis", ratio=1)
    for job, task in tasks:
        median = job.get("median")
        slow = median is not None and task["seconds"] > SLOW * median
        beside = " (beside another)" if task["speculative"] else ""
        cells = [
            how_long(task["seconds"]),
            *([job["job"]] if several else []),
            str(task["task"]),
            printable(task["label"] or ""),
            f"{task['attempt']}{beside}",
            task["launch"] or "",
            printable(task["waits"] or ""),
        ]
        table.add_row(*(Text(cell) for cell in cells), style="yellow" if slow else "")
    return table

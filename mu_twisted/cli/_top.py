"""``mu top`` shows what a coordinator's jobs do now, until the user has seen enough."""

import argparse
import json
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mu_twisted.base import terminal_safe
from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import Coordinator, CoordinatorError, RequestRefused, UsageError
from mu_twisted.wording import Rate

if TYPE_CHECKING:
    from rich.console import Console

INTERVAL = 1.0
"""Seconds between two looks."""
LONGEST = 3600.0
MAX_JOBS = 20
"""Running jobs of which the active tasks are asked for."""
MAX_TASKS = 200
"""Active tasks of each."""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "top",
        help="show what jobs do now, live",
        description="Show what a coordinator's jobs do now, until q is pressed: how far each is, its workers by what "
        "they are doing, the tasks that have run longest with their ages and what they wait for, and how late the "
        "coordinator's event loop is. Where standard output is no terminal, it is shown once.",
    )
    parser.add_argument("job", metavar="JOB", nargs="?", help="only this one")
    parser.add_argument("--once", action="store_true", help="show it once, and end")
    parser.add_argument(
        "--interval", metavar="SECONDS", type=_interval, default=INTERVAL, help="from one look to the next (default: 1)"
    )
    _client_options.add_options(parser)
    parser.set_defaults(run=run)


def _interval(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.1 <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(f"expected seconds from 0.1 to {LONGEST:g}, got {text!r}")
    return seconds


def run(options: argparse.Namespace) -> None:
    """Look once, or again and again."""
    coordinator = _client_options.coordinator(options)
    job = None if options.job is None else _client_options.job_name(options.job)
    found = look(coordinator, job)
    if options.json:
        print(json.dumps(found))
    elif options.once or not sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        console.print(_picture(console, found, None, {}))
    else:
        _watch(coordinator, job, found, options.interval)


def look(coordinator: Coordinator, job: str | None = None) -> JsonObject:
    """What a coordinator and its jobs do now.

    :param job: the only one that is looked at; None: all that run.
    :returns: ``daemon``, and ``jobs``, each the ``job`` and what is ``active`` in it.
    :raises CoordinatorError: it cannot be asked.
    """
    daemon = coordinator.get("daemon")
    jobs = coordinator.get("jobs", state="running")["jobs"] if job is None else [coordinator.get("jobs", job)]
    shown = []
    for each in jobs[-MAX_JOBS:]:
        try:
            active = coordinator.get("jobs", each["job"], "active", limit=MAX_TASKS)
        except RequestRefused:
            if job is not None:
                raise
            continue  # it was removed meanwhile
        shown.append({"job": each, "active": active})
    return {"daemon": daemon, "jobs": shown, "more": max(0, len(jobs) - MAX_JOBS)}


def _watch(coordinator: Coordinator, job: str | None, found: JsonObject, interval: float) -> None:
    from rich.console import Console
    from rich.live import Live

    if os.environ.get("TERM", "dumb") in ("dumb", "unknown"):
        raise UsageError("this terminal cannot be written anew (TERM): mu top --once")
    console, rates = Console(highlight=False), _Rates()
    fault: str | None = None
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_picture(console, found, console.height, rates.of(found), fault), refresh=True)
            if pressed(interval) == "q":
                return
            try:
                found, fault = look(coordinator, job), None
            except CoordinatorError as error:  # it may come back
                fault = terminal_safe(str(error))


def _picture(
    console: "Console",
    found: Mapping[str, Json],
    height: int | None,
    rates: Mapping[str, float],
    fault: str | None = None,
) -> Any:
    from mu_twisted.cli._top_screen import screen  # rich costs, and few commands need it

    ascii_only = not console.encoding.startswith("utf")
    return screen(found, console.width, height, rates, fault=fault, ascii_only=ascii_only)


class _Rates:
    """Of the jobs that are shown."""

    def __init__(self) -> None:
        self._rates: dict[str, Rate] = {}

    def of(self, found: Mapping[str, Json]) -> dict[str, float]:
        """Tasks that end a second, of the jobs of which it is known."""
        jobs = {each["job"]["job"]: each["job"] for each in found["jobs"]}
        self._rates = {name: self._rates.get(name, Rate()) for name in jobs}
        now = time.monotonic()
        rates = {name: rate.take(now, _ended(jobs[name])) for name, rate in self._rates.items()}
        return {name: rate for name, rate in rates.items() if rate is not None}


def _ended(job: _format.Fields) -> int:
    return int(job["done"] + job["failed"])


@contextmanager
def _keys() -> Iterator[Any]:
    """A function that waits so many seconds for a key, and returns it; None: there was none."""
    if not sys.stdin.isatty():
        yield time.sleep
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)

    def pressed(seconds: float) -> str | None:
        if not select.select([descriptor], [], [], seconds)[0]:
            return None
        key = os.read(descriptor, 1).decode("utf-8", "replace")
        return key or "q"  # the terminal is gone

    try:
        tty.setcbreak(descriptor)
        yield pressed
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

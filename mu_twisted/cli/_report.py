"""``mu report`` writes a job as one file: what failed and why, where the time went, and what it has cost."""

import argparse
import json
import os
import sys
from contextlib import suppress
from pathlib import Path

from mu_twisted.base import MuError
from mu_twisted.base.json_types import Json
from mu_twisted.cli import _client_options
from mu_twisted.cli._parser import CommandParsers, ParagraphFormatter
from mu_twisted.client import Coordinator, RequestRefused, UsageError

EPILOG = """\
examples:
  mu report map-78c6bf6a                    map-78c6bf6a.html in this directory
  mu report map-78c6bf6a -o - | lynx -stdin
  mu report xcenc-0b1b40d3 --svg fig3.svg   the Gantt chart alone, for a paper
"""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "report",
        help="write a job as one HTML file: failures, time, cost",
        formatter_class=ParagraphFormatter,
        description="Write one HTML file that needs nothing else: what failed by reason with one task's output, "
        "counts over time, a Gantt chart by state with the critical path where tasks wait for one another, "
        "stages, the slowest attempts, and the cost. For jobs that run and for those that are over, with a "
        "coordinator or without one. The file runs no script and loads nothing.",
        epilog=EPILOG,
    )
    parser.add_argument("job", metavar="JOB", help="its name")
    parser.add_argument("-o", "--output", metavar="FILE", help="the file (default: JOB.html; -: standard output)")
    parser.add_argument("--svg", metavar="FILE", help="write the Gantt chart alone, as SVG (-: standard output)")
    _client_options.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Ask for the job, and write it."""
    from mu_twisted.cli.report import gantt, standalone

    if options.svg is not None and options.output is not None:
        raise UsageError("--svg writes the chart, -o the whole: give one of them, or call the command twice")
    if "" in (options.svg, options.output):
        raise UsageError("expected the name of a file, got ''")
    coordinator, name = _client_options.coordinator(options), _client_options.job_name(options.job)
    if options.svg is not None:
        coordinator.get("jobs", name)
        timeline = _timeline(coordinator, name)
        if timeline is None or not timeline["attempts"]["task"]:
            raise MuError(f"no task of job {name} has begun: there is nothing to draw")
        target, text = options.svg, standalone(gantt(timeline))
    else:
        target = options.output or f"{name}.html"
        text = report_of(coordinator, name)
    if target == "-":
        sys.stdout.write(text)
        return
    write_whole(Path(target), text)
    print(json.dumps({"job": name, "file": str(Path(target).absolute())}) if options.json else target)


def report_of(coordinator: Coordinator, name: str) -> str:
    """The page of a job."""
    from mu_twisted.cli.report import page

    job = coordinator.get("jobs", name)
    return page(job, _timeline(coordinator, name), coordinator.get("jobs", name, "failures"))


def _timeline(coordinator: Coordinator, name: str) -> Json:
    """The job over time; None where there was nothing to do."""
    try:
        return coordinator.get("jobs", name, "timeline")
    except RequestRefused as error:
        if error.status == 409 and "nothing to do" in str(error):
            return None
        raise


def write_whole(path: Path, text: str) -> None:
    """Write the file as a whole or not at all.

    :raises MuError: it cannot be written.
    """
    fresh = path.parent / f".{path.name}.{os.getpid()}"
    try:
        if path.exists() and not path.is_file():
            path.write_text(text, "utf-8")  # a device or a pipe
            return
        fresh.write_text(text, "utf-8")
        fresh.replace(path)
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            fresh.unlink()
        raise MuError(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from None

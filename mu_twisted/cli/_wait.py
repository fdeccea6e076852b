"""``mu wait`` waits until a job is over, also across restarts of its coordinator."""

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable

from mu_twisted.base import terminal_safe
from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli._tee import teed
from mu_twisted.client import COMEBACK, Coordinator, ReconnectingClient, RequestRefused
from mu_twisted.wording import Piece, Rate, progress_bar

QUIET_STEP = 60.0
SHOWN_STEP = 1.0
"""Seconds of one request; with progress shown, from one picture to the next."""
MARGIN = 30.0
"""Seconds that an answer may be late."""
INTERRUPTED = 130
COLOURS = {"": "", "green": "32", "red": "31", "dim": "2"}
"""As terminals number them."""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "wait",
        help="wait until jobs are over",
        description="Wait until jobs are over, one after the other, and show meanwhile how far each is if standard "
        "error is a terminal. Exit status 0 if all their tasks are done, 1 if a job failed, was cancelled, or is held, "
        f"as it cannot go on now. The command bears a restart of the coordinator that takes less than {COMEBACK:g} s; "
        "interrupting it does not end the jobs.",
    )
    parser.add_argument("jobs", metavar="JOB", nargs="+", help="its name, as `mu submit` and `mu jobs` print it")
    _client_options.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Wait for one job after the other, and report each; one that is not there does not keep the others."""
    coordinator = _client_options.coordinator(options)
    status, found = 0, []
    for name in dict.fromkeys(options.jobs):
        try:
            found.append(coordinator.get("jobs", _client_options.job_name(name)))
        except RequestRefused as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
    for job in found:
        ended = wait_and_report(coordinator, job, as_json=options.json)
        if ended == INTERRUPTED:
            return INTERRUPTED
        status = max(status, ended)
    return status


def wait_and_report(
    coordinator: Coordinator, job: _format.Fields, *, as_json: bool, apart: bool = False, tee: bool = False
) -> int:
    """Wait for a job, say how it ended, and give the exit status of the command.

    :param job: as it was last seen.
    :param tee: whether what its programs print is printed meanwhile.
    :param apart: standard output is taken: all goes to standard error.
    """
    out = sys.stderr if apart else sys.stdout
    try:
        job = _until_over(coordinator, job, tee=tee)
    except KeyboardInterrupt:
        name = job["job"]
        print(f"interrupted; the job goes on: `mu wait {name}`, or `mu cancel {name}`", file=sys.stderr)
        return INTERRUPTED
    if job["failed"]:
        for line in _format.failures(job, coordinator.tasks(job["job"], "failed")):
            print(line, file=sys.stderr)
    if job.get("report") and not as_json:
        print(terminal_safe(job["report"]), file=out)
    if job.get("error"):
        print(f"error: {terminal_safe(job['error'])}", file=sys.stderr)
    print(json.dumps(job) if as_json else _format.result(job, priced=out.isatty()), file=out)
    return 0 if job["state"] == "done" else 1


def print_note(line: str) -> None:
    """Print a line for the user on standard error."""
    print(terminal_safe(line), file=sys.stderr, flush=True)


def _until_over(coordinator: Coordinator, job: _format.Fields, *, tee: bool) -> _format.Fields:
    line = ProgressLine()
    with teed(coordinator, job, line.say, tee=tee):
        return _shown_until_over(coordinator, job, line)


def _shown_until_over(coordinator: Coordinator, job: _format.Fields, line: "ProgressLine") -> _format.Fields:
    name = job["job"]
    client = ReconnectingClient(coordinator, lambda: line.show(f"{name}: waiting for the coordinator to come back"))
    step = SHOWN_STEP if line.shown else QUIET_STEP
    try:
        while job["state"] == "running":
            line.show_job(job)
            found = client.get("jobs", name, "wait", answer_timeout=step + MARGIN, timeout=step)
            if found is None:
                job = coordinator.get("jobs", name)  # as it has left it, if it has
                break
            job = found
    finally:
        line.clear()
    return job


class ProgressLine:
    """The last line of a terminal, written anew each time; nothing where there is no terminal."""

    def __init__(self) -> None:
        # The stream as it is now: twistd replaces sys.stderr by its log.
        self._stream = sys.stderr
        # A dumb terminal cannot take a line back.
        self.shown = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._plain = bool(os.environ.get("NO_COLOR"))
        self._ascii = not (getattr(sys.stderr, "encoding", None) or "").lower().startswith("utf")
        self._text: Callable[[int], str] | None = None
        self._rate = Rate()
        self._lock = threading.Lock()

    def show(self, text: str) -> None:
        """Show a text, as much of it as there is room for."""
        self._show(lambda width: text[:width])

    def show_job(self, job: _format.Fields) -> None:
        """Show how far a job is."""
        rate = self._rate.take(time.monotonic(), job["done"] + job["failed"])
        self._show(lambda width: self._painted(progress_bar(job, width, rate=rate, ascii_only=self._ascii)))

    def clear(self) -> None:
        """Show nothing any more."""
        self._show(None)

    def say(self, text: str) -> None:
        """Print a line above it, from any thread."""
        with self._lock:
            print(f"\r{text}\x1b[K" if self.shown else text, file=self._stream, flush=True)
            if self._text is not None:
                self._draw()

    def _show(self, text: Callable[[int], str] | None) -> None:
        with self._lock:
            self._text = text
            self._draw()

    def _draw(self) -> None:
        if self.shown:
            width = shutil.get_terminal_size().columns - 1  # a longer one would go on in the next line, and stay there
            text = "" if self._text is None else self._text(max(0, width))
            print(f"\r{text}\x1b[K", end="", file=self._stream, flush=True)

    def _painted(self, pieces: Iterable[Piece]) -> str:
        coloured = [(text, "" if self._plain else COLOURS[style]) for text, style in pieces]
        return "".join(f"\x1b[{colour}m{text}\x1b[m" if colour else text for text, colour in coloured)

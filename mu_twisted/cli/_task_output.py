"""``mu output`` shows what the programs of a job's tasks have printed, as far as it is kept."""

import argparse
import base64
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from mu_twisted.base import terminal_safe
from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.cli import _client_options
from mu_twisted.cli._jobs import task_number
from mu_twisted.cli._parser import CommandParsers, ParagraphFormatter
from mu_twisted.client import Coordinator, CoordinatorError, UsageError
from mu_twisted.wording import called, explain_exit

WORKER_KEEPS = 64 << 10
"""Bytes of a run that a worker keeps, the last ones: of so many there may have been more."""
BUDGET = "256 MiB"
EPILOG = """\
examples:
  mu output map-78c6bf6a                    of every task, each behind its name
  mu output map-78c6bf6a photos/a.png       of the task of that input
  mu output exec-0b1b40d3 7 --attempt all   of each attempt at task 7
  mu output map-78c6bf6a --failed | less
"""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "output",
        usage="mu output [options] JOB [TASK|INPUT]",
        help="show what the programs of tasks printed",
        formatter_class=ParagraphFormatter,
        description="Print what the programs of a task printed on standard output and error, or those of all tasks. "
        "The last 64 KiB of each run are kept, of one that ended well in a job of more than 100 tasks the last 4 KiB; "
        f"{BUDGET} of a job, of which the oldest go first, those of runs that ended well before the others. Shown is "
        "the attempt that has ended well, else the last. On a terminal what it would obey is escaped, elsewhere bytes "
        "are as they were.",
        epilog=EPILOG,
    )
    parser.add_argument("job", metavar="JOB", help="its name")
    parser.add_argument(
        "which", metavar="TASK|INPUT", nargs="?", help="a task's input, or its number where no input is called so"
    )
    parser.add_argument(
        "--task", metavar="N", type=task_number, help="the task with this number, whatever is called so"
    )
    parser.add_argument("--attempt", metavar="N", type=_attempt, help="that attempt, counted from 0, or `all`")
    parser.add_argument("--failed", action="store_true", help="only tasks of whose attempts none has ended well")
    _client_options.add_options(parser)
    parser.set_defaults(run=run)


def _attempt(text: str) -> str:
    if text != "all" and not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"expected an attempt's number, or all, got {text!r}")
    return text


def run(options: argparse.Namespace) -> int:
    """Print it page by page."""
    if options.which is not None and options.task is not None:
        raise UsageError("TASK and --task name two tasks: give one of them")
    one = options.which is not None or options.task is not None
    if one and options.failed:
        raise UsageError("--failed is about all tasks: give it without TASK")
    name = _client_options.job_name(options.job)
    pages = _Pages(_client_options.coordinator(options), name, options)
    if options.json:
        _print_json(pages)
    elif one:
        return _print_one(pages)
    else:
        _print_all(pages)
    return 0


class _Pages:
    """The runs that are asked for, each as JSON holds it.

    :ivar task: the number of the one task that is asked for, once the first page is there.
    """

    def __init__(self, coordinator: Coordinator, job: str, options: argparse.Namespace) -> None:
        self.coordinator = coordinator
        self.job = job
        self.task: int | None = None
        self.attempt = options.attempt
        self.failed = options.failed
        self._query: JsonObject = {}
        if options.task is not None:
            self._query["task"] = options.task
        if options.which is not None:
            # A name that is no UTF-8 as it is shown everywhere else.
            self._query["called"] = options.which.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        if options.attempt is not None:
            self._query["which"] = options.attempt
        if options.failed:
            self._query["failed"] = 1

    def __iter__(self) -> Iterator[list[Json]]:
        for page in self.coordinator.pages("jobs", self.job, "output", cursor="after", **self._query):
            self.task = page["task"]
            yield page["runs"]


def _print_one(pages: _Pages) -> int:
    printed = False
    lost = False
    for runs in pages:
        for number, run in enumerate(runs):
            if run["output"] is None:
                print(f"error: {_where(run)}: {_dropped(run)}", file=sys.stderr)
                lost = True
                continue
            if printed or number + 1 < len(runs) or pages.attempt == "all":
                _print_bytes(_headed(run))
            else:
                data = base64.b64decode(run["output"])
                cut = _cut(run, len(data))
                if cut:
                    print(f"note: {cut}", file=sys.stderr)
                _print_bytes(data)
                if not data:
                    print(f"{_where(run)} has printed nothing", file=sys.stderr)
            printed = True
    if lost:
        return 1
    if not printed:
        raise CoordinatorError(_why_nothing(pages))
    return 0


def _print_all(pages: _Pages) -> None:
    """What runs printed, and of those that printed nothing how they failed, if they did."""
    printed = ended = False
    for runs in pages:
        shown = [run for run in runs if run["size"] or run["status"]]
        printed, ended = printed or bool(shown), ended or bool(runs)
        _print_bytes(b"".join(map(_headed, shown)))
    if ended and not printed:
        print(f"the tasks of {pages.job} have printed nothing", file=sys.stderr)
        return
    if not printed and pages.attempt not in (None, "all"):
        raise CoordinatorError(f"nothing is kept of any task's attempt {pages.attempt}: attempts are counted from 0")
    if not printed:
        print(_why_no_run(pages), file=sys.stderr)


def _headed(run: Mapping[str, Json]) -> bytes:
    """What a run has printed, in whole lines behind one that names it."""
    data = b"" if run["output"] is None else base64.b64decode(run["output"])
    head = ", ".join(filter(None, (_where(run), _dropped(run) if run["output"] is None else _cut(run, len(data)))))
    end = b"\n" if data and not data.endswith(b"\n") else b""
    return f"==> {head} <==\n".encode("utf-8", "backslashreplace") + data + end


def _print_json(pages: _Pages) -> None:
    """One object on one line, however long, written as it comes."""
    separator = '{"runs": ['
    for runs in pages:
        for run in runs:
            fact = {key: value for key, value in run.items() if key != "output"}
            if run["output"] is None:
                fact["dropped"] = True
            else:
                data = base64.b64decode(run["output"])
                try:
                    fact["output"] = data.decode("utf-8")
                except UnicodeDecodeError:
                    fact["output_base64"] = run["output"]
            print(separator + json.dumps(fact), end="")
            separator = ", "
    print("]}" if separator == ", " else '{"runs": []}')


def _where(run: Mapping[str, Json]) -> str:
    parts = [called(run["task"], run["label"])]
    if run["attempt"]:
        parts.append(f"attempt {run['attempt']}")
    if run["run"]:
        parts.append(f"run {run['run']}")
    if run["status"]:
        parts.append(explain_exit(run["status"]).partition(":")[0])
    return terminal_safe(", ".join(parts))


def _cut(run: Mapping[str, Json], kept: int) -> str:
    """What is said of a run of which only the end is kept, so many bytes; empty of any other."""
    if kept < run["size"]:
        return f"the last {kept} of {run['size']} bytes"
    return f"the last {kept} bytes" if kept >= WORKER_KEEPS else ""


def _dropped(run: Mapping[str, Json]) -> str:
    return f"its {run['size']} bytes had to make room for others, as {BUDGET} are kept of a job"


def _print_bytes(data: bytes) -> None:
    """As they are, or as a terminal shows them."""
    out: Any = sys.stdout
    if out.isatty():
        text = data.decode("utf-8", "backslashreplace").replace("\r\n", "\n")
        print(terminal_safe(text), end="" if not text or text.endswith("\n") else "\n")
    else:
        out.write_bytes(data)


def _why_no_run(pages: _Pages) -> str:
    """Why nothing is kept of any task."""
    if pages.failed and not pages.coordinator.get("jobs", pages.job)["failed"]:
        return f"no task of {pages.job} has failed"
    return f"nothing is kept of what the tasks of {pages.job} printed"


def _why_nothing(pages: _Pages) -> str:
    """Why nothing is kept of the one task that was asked for."""
    job, task = pages.job, pages.task
    page = pages.coordinator.get("jobs", job, "tasks", cursor=task, limit=1)
    fact = page["tasks"][0]
    where = terminal_safe(called(fact["task"], fact.get("label")))
    if not fact["attempts"]:
        return f"{where} has not begun"
    if pages.attempt not in (None, "all") and int(pages.attempt) >= fact["attempts"]:
        return f"{where} has no attempt {pages.attempt}: it has begun {fact['attempts']}, counted from 0"
    if pages.attempt not in (None, "all"):
        return (
            f"nothing is kept of attempt {pages.attempt} at {where}: `mu logs {job} --task {task}` lists its attempts"
        )
    if fact["state"] in ("done", "failed"):
        return f"nothing is kept of {where}: `mu logs {job} --task {task}` shows what happened"
    return f"no program of {where} has ended yet"

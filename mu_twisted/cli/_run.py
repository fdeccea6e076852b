"""``mu run``: do a job, on the coordinator of this user where one runs, else by one that ends with it."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from mu_twisted.base import terminal_safe
from mu_twisted.cli import _client_options
from mu_twisted.cli._cloud import ensure_stack
from mu_twisted.cli._control import Coordinator, RequestRefused
from mu_twisted.cli._submit import submitted
from mu_twisted.cli._transport import CoordinatorError, NotServed, UnixTransport
from mu_twisted.cli._wait import wait_and_report
from mu_twisted.local import default_state_dir

ENDING = 10.0
"""Seconds that a coordinator may need to end, in which it takes no job and still has its state directory."""
PAUSE = 0.2


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "run", help="run a job to its end", add_help=False, prefix_chars="\0"
    )  # its words are the coordinator's, which has its own parser
    parser.add_argument("words", nargs=argparse.REMAINDER)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Hand the job over, or run it here."""
    from mu_twisted.daemons import run as daemon  # half a second that few need

    asked = daemon.Options()  # type: ignore[no-untyped-call]
    asked.parseOptions(options.words)
    return run_job(asked, options.words)


def run_job(asked: Any, words: list[str]) -> int:
    """Run the job that options ask for.

    :param asked: parsed :class:`mu_twisted.daemons.run.Options`; ``words`` are the same as typed.
    :returns: the exit status; where the job runs here, the process exits with its own.
    """
    from mu_twisted.daemons import run as daemon
    from mu_twisted.daemons.program import function_for

    given = asked["state-dir"]
    coordinator = Coordinator(UnixTransport(Path(given) if given else _client_options.default_directory()))
    found = _found(coordinator, asked)
    stack = _stack(asked, found)
    if asked["program"] is not None:
        asked.function = function_for(asked, asked.settings["regions"], stack, _tell)
    job = _handed_over(coordinator, asked, found) if found is not None else None
    if job is not None:
        if not asked["json"]:
            print(terminal_safe(job["job"]), flush=True)
        return wait_and_report(coordinator, job, as_json=bool(asked["json"]))
    daemon.run(words, asked.function)
    return 0


def _found(coordinator: Coordinator, asked: Any) -> Any:
    """What the coordinator says of itself that runs here; None where none runs.

    :raises MuError: it cannot take this job.
    """
    from mu_twisted.daemons import run as daemon

    try:
        found = coordinator.get("daemon")
    except NotServed:
        return None
    why = daemon.mismatch(asked, found)
    if why is not None:
        raise CoordinatorError(why)
    unused = daemon.ignored(asked)
    if unused:
        _tell(
            f"note: the coordinator that runs here (process {found['pid']}) has options of its own: "
            f"{' '.join(unused)} is not used"
        )
    return found


def _stack(asked: Any, found: Any) -> Path | None:
    """The directory of the embedded stack that the job uses, which runs then; None: it uses none."""
    if not asked["local"]:
        return None
    given = asked["state-dir"]
    own = Path(given) / "local" if given else default_state_dir(os.environ)
    directory = Path(found["local"]) if found is not None and found.get("local") else own
    ensure_stack(directory)
    return directory


def _tell(line: str) -> None:
    print(terminal_safe(line), file=sys.stderr, flush=True)


def _handed_over(coordinator: Coordinator, asked: Any, found: Any) -> Any:
    """The job as a coordinator that runs has taken it; None where it has ended meanwhile.

    :param found: what it says of itself.
    :raises MuError: it cannot be handed over.
    """
    until = time.monotonic() + ENDING
    while True:
        try:
            return submitted(coordinator, request_of(asked))
        except NotServed:
            return None
        except RequestRefused as error:
            if error.status != 503 or time.monotonic() > until:
                raise
            time.sleep(PAUSE)


def request_of(asked: Any) -> dict[str, Any]:
    """What the control API is to be told of a job.

    :param asked: parsed :class:`mu_twisted.daemons.run.Options`.
    """
    request = asked.request
    function = [f"--function={asked.function}"] if asked.function is not None else []
    times = asked.settings["times"]
    words = list(request.words)
    if times is not None and not Path(times).is_absolute():
        # It is the coordinator that writes the file.
        words = [f"--times={Path(times).absolute()}", *(word for word in words if word != f"--times={times}")]
    return {"pipeline": request.pipeline, "words": [*function, *words], "source": request.source}

"""``mu run`` does a job on this user's coordinator where one runs, else on one that ends with it."""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

from mu_twisted.base import terminal_safe
from mu_twisted.cli import _client_options
from mu_twisted.cli._cloud import ensure_stack
from mu_twisted.cli._submit import submitted
from mu_twisted.cli._wait import wait_and_report
from mu_twisted.client import Coordinator, CoordinatorError, NotServed, RequestRefused, UnixTransport, Unreachable
from mu_twisted.daemons import InUse, StateDirectory
from mu_twisted.daemons import default_state_dir as daemon_state_dir
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

    parsed = type("Options", (daemon.Options,), {"configured": options.configured})()
    parsed.parseOptions(options.words)
    return run_job(parsed, options.words)


def run_job(parsed: Any, words: list[str]) -> int:
    """Run the job that options ask for.

    :param parsed: parsed :class:`mu_twisted.daemons.run.Options`; ``words`` are the same as typed.
    :returns: the exit status; where the job runs here, the process exits with its own.
    """
    from mu_twisted.daemons import run as daemon
    from mu_twisted.daemons.program import function_for

    given = parsed["state-dir"]
    coordinator = Coordinator(UnixTransport(Path(given) if given else _client_options.default_directory()))
    found = _found(coordinator, parsed)
    stack = _stack(parsed, found)
    if parsed["program"] is not None:
        parsed.function = function_for(parsed, parsed.settings["regions"], stack, _tell)
    job = handed_over(coordinator, request_of(parsed)) if found is not None else None
    while job is None:
        state, found = free_or_served(coordinator, Path(given) if given else daemon_state_dir())
        if state is not None:
            daemon.run(words, parsed.configured, parsed.function, state)
            return 0
        _check(found, parsed)
        job = handed_over(coordinator, request_of(parsed))
    if not parsed["json"]:
        print(terminal_safe(job["job"]), flush=True)
    return wait_and_report(coordinator, job, as_json=bool(parsed["json"]))


def free_or_served(coordinator: Coordinator, directory: Path) -> tuple[StateDirectory | None, Any]:
    """The state directory, held by this process, or what the coordinator says of itself that was faster to have it.

    :raises mu_twisted.base.MuError: a process has the directory and does not serve it within :data:`ENDING` seconds.
    """
    until = time.monotonic() + ENDING
    while True:
        try:
            return StateDirectory(directory), None
        except InUse as error:
            held = error
        try:
            return None, coordinator.get("daemon", served=True)
        except Unreachable:
            if time.monotonic() > until:
                raise held from None
            time.sleep(PAUSE)


def _found(coordinator: Coordinator, parsed: Any) -> Any:
    """What the coordinator says of itself that runs here; None where none runs.

    :raises MuError: it cannot take this job.
    """
    try:
        found = coordinator.get("daemon")
    except NotServed:
        return None
    _check(found, parsed)
    return found


def _check(found: Any, parsed: Any) -> None:
    """See that a coordinator can take the job, and tell the user which of the options it does not use.

    :raises CoordinatorError: it cannot.
    """
    from mu_twisted.daemons import run as daemon

    why = daemon.mismatch(parsed, found)
    if why is not None:
        raise CoordinatorError(why)
    unused = daemon.ignored(parsed)
    if unused:
        _tell(
            f"note: the coordinator that runs here (process {found['pid']}) has options of its own: "
            f"{' '.join(unused)} is not used"
        )


def _stack(parsed: Any, found: Any) -> Path | None:
    """The directory of the embedded stack that the job uses, which runs then; None: it uses none."""
    from mu_twisted.daemons.run import local_stack

    if not parsed["local"]:
        return None
    directory = stack_of(local_stack(parsed), found)
    ensure_stack(directory)
    return directory


def stack_of(given: Path | None, found: Any) -> Path:
    """The directory of the embedded stack that a local job uses, whether it runs or not.

    :param given: the one that the options name; None: this user's own.
    :param found: what the coordinator that runs there says of itself; None: none runs.
    """
    if found is not None and found.get("local"):
        return Path(found["local"])
    return given or default_state_dir(os.environ)


def _tell(line: str) -> None:
    print(terminal_safe(line), file=sys.stderr, flush=True)


def handed_over(coordinator: Coordinator, request: dict[str, Any]) -> Any:
    """The job as a coordinator that runs has taken it; None where it has ended meanwhile.

    :param request: the job, as the control API takes it.
    :raises MuError: it cannot be handed over.
    """
    until = time.monotonic() + ENDING
    while True:
        try:
            return submitted(coordinator, request)
        except NotServed:
            return None
        except RequestRefused as error:
            if error.status != 503 or time.monotonic() > until:
                raise
            time.sleep(PAUSE)


def request_of(parsed: Any) -> dict[str, Any]:
    """The request that the control API takes for a job.

    :param parsed: parsed :class:`mu_twisted.daemons.run.Options`.
    """
    request = parsed.request
    function = [f"--function={parsed.function}"] if parsed.function is not None else []
    times = parsed.settings["times"]
    words = list(request.words)
    if times is not None and not Path(times).is_absolute():
        # It is the coordinator that writes the file.
        words = [f"--times={Path(times).absolute()}", *(word for word in words if word != f"--times={times}")]
    return {"pipeline": request.pipeline, "words": [*function, *words], "source": request.source}

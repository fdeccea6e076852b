"""``mu run`` does a job on this user's coordinator where one runs, else on one that ends with it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mu_twisted.base import terminal_safe
from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli._tee import follow
from mu_twisted.cli._wait import print_note, wait_and_report
from mu_twisted.client import (
    Coordinator,
    CoordinatorError,
    NotServed,
    UnixTransport,
    default_directory,
    free_or_served,
    handed_over,
)
from mu_twisted.client.cloud import ensure_stack, stack_of
from mu_twisted.daemons import default_state_dir

if TYPE_CHECKING:
    from mu_twisted.daemons.run import Options as RunOptions


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "run", help="run a job to its end", add_help=False, prefix_chars="\0"
    )  # its words are the coordinator's, which has its own parser
    parser.add_argument("words", nargs=argparse.REMAINDER, type=str)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Hand the job over, or run it here."""
    from mu_twisted.daemons import run as daemon  # half a second that few need

    parsed = type("Options", (daemon.Options,), {"configured": options.configured})()
    parsed.parseOptions(options.words)
    return run_job(parsed, options.words)


def run_job(parsed: RunOptions, words: list[str]) -> int:
    """Run the job that options ask for.

    :param parsed: parsed :class:`mu_twisted.daemons.run.Options`; ``words`` are the same as typed.
    :returns: the exit status; where the job runs here, the process exits with its own.
    """
    from mu_twisted.daemons import run as daemon
    from mu_twisted.daemons.program import function_for

    given = parsed["state-dir"]
    coordinator = Coordinator(UnixTransport(Path(given) if given else default_directory()))
    found = _found(coordinator, parsed)
    stack = _stack(parsed, found)
    if parsed["program"] is not None:
        assert parsed.settings is not None  # run takes no words without a pipeline
        parsed.function = function_for(parsed, parsed.settings["regions"], stack, print_note)
    job = handed_over(coordinator, request_of(parsed)) if found is not None else None
    while job is None:
        state, found = free_or_served(coordinator, Path(given) if given else default_state_dir())
        if state is not None:
            tee = partial(follow, coordinator) if parsed["tee"] else None
            daemon.run(words, parsed.configured, parsed.function, state, tee)
            return 0
        _check(found, parsed)
        job = handed_over(coordinator, request_of(parsed))
    if not parsed["json"]:
        print(terminal_safe(job["job"]), flush=True)
    return wait_and_report(coordinator, job, as_json=bool(parsed["json"]), tee=bool(parsed["tee"]))


def _found(coordinator: Coordinator, parsed: RunOptions) -> Json:
    """What the coordinator says of itself that runs here; None where none runs.

    :raises MuError: it cannot take this job.
    """
    try:
        found = coordinator.get("daemon")
    except NotServed:
        return None
    _check(found, parsed)
    return found


def _check(found: Mapping[str, Json], parsed: RunOptions) -> None:
    """See that a coordinator can take the job, and tell the user which of the options it does not use.

    :raises CoordinatorError: it cannot.
    """
    from mu_twisted.daemons import run as daemon

    why = daemon.mismatch(parsed, found)
    if why is not None:
        raise CoordinatorError(why)
    unused = daemon.ignored(parsed)
    if unused:
        print_note(
            f"note: the coordinator that runs here (process {found['pid']}) has options of its own: "
            f"{' '.join(unused)} is not used"
        )


def _stack(parsed: RunOptions, found: Json) -> Path | None:
    """The directory of the embedded stack that the job uses, which runs then; None: it uses none."""
    from mu_twisted.daemons.run import local_stack

    if not parsed["local"]:
        return None
    directory = stack_of(local_stack(parsed), found)
    ensure_stack(directory, print_note)
    return directory


def request_of(parsed: RunOptions) -> JsonObject:
    """The request that the control API takes for a job.

    :param parsed: parsed :class:`mu_twisted.daemons.run.Options`.
    """
    request, settings = parsed.request, parsed.settings
    assert request is not None
    assert settings is not None
    function = [f"--function={parsed.function}"] if parsed.function is not None else []
    times = settings["times"]
    words = list(request.words)
    if times is not None and not Path(times).is_absolute():
        # It is the coordinator that writes the file.
        words = [f"--times={Path(times).absolute()}", *(word for word in words if word != f"--times={times}")]
    return {"pipeline": request.pipeline, "words": [*function, *words], "source": request.source}

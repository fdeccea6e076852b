"""``mu cancel``, ``mu retry`` and ``mu rm`` change jobs that are on record."""

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import Coordinator, RequestRefused, UnixTransport, UsageError, free_or_served

Change = Callable[[Coordinator, str], Any]


def add(commands: CommandParsers) -> None:
    """Add the commands to the parser's."""
    _add(
        commands,
        "cancel",
        "end a job and every worker of it",
        "End jobs: their workers are sent a quit and are gone when the command ends. A job that is over stays as it "
        "is.",
        lambda coordinator, job: coordinator.post("jobs", job, "cancel"),
        _format.result,
    )
    _add(
        commands,
        "retry",
        "run the failed tasks of a job again",
        "Run those tasks again that failed or were cancelled, of jobs that are over. Tasks that are done stay done. A "
        "job that is held, as it could not go on when its coordinator was started, goes on. Where no coordinator runs, "
        "this command runs them itself, one job after the other, and ends with them.",
        lambda coordinator, job: coordinator.post("jobs", job, "retry"),
        _format.progress,
    )
    _add(
        commands,
        "rm",
        "delete the record of a job",
        "Delete the records of jobs that do not run, their logs included. What they stored in S3 stays.",
        _remove,
        lambda status: f"{status['job']}: removed",
    )


def _add(
    commands: CommandParsers, name: str, summary: str, text: str, change: Change, shown: Callable[[_format.Fields], str]
) -> None:
    parser = commands.add_parser(name, help=summary, description=text)
    parser.add_argument("jobs", metavar="JOB", nargs="+", help="its name, as `mu submit` and `mu jobs` print it")
    _client_options.add_options(parser)
    parser.set_defaults(run=lambda options: _run(options, change, shown))


def _remove(coordinator: Coordinator, job: str) -> _format.Fields:
    coordinator.delete("jobs", job)
    return {"job": job}


def _retry_here(coordinator: Coordinator, options: argparse.Namespace) -> int | None:
    """Run jobs on record again, in this process; one that is refused does not keep the others.

    :returns: the exit status; None where another command has begun to run jobs there, which is to be asked.
    """
    by_daemon: dict[tuple[str, ...], list[str]] = {}
    status = 0
    for job in options.jobs:
        try:
            record = coordinator.get("jobs", _client_options.job_name(job))
            if not record["failed"] and record["state"] != "held":
                raise RequestRefused(409, f"job {job} has no failed tasks")
            by_daemon.setdefault(coordinator.daemon_words(job), []).append(job)
        except RequestRefused as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
    if status:
        return status
    [(daemon, jobs), *others] = by_daemon.items()
    if others:
        raise UsageError(
            f"{jobs[0]} and {others[0][1][0]} were run with different options of their coordinators: retry them one "
            "after the other, or start one with `mu coordinator`"
        )
    assert isinstance(coordinator.transport, UnixTransport)
    from mu_twisted.daemons.run import retry  # half a second that few need

    state, _ = free_or_served(coordinator, coordinator.transport.state_dir)
    if state is None:
        return None
    retry(jobs, coordinator.transport.state_dir, daemon, state, as_json=options.json)
    return 0


def _run(options: argparse.Namespace, change: Change, shown: Callable[[_format.Fields], str]) -> int:
    """One job after the other; one that is refused does not keep the others."""
    options.jobs = list(dict.fromkeys(options.jobs))
    coordinator = _client_options.coordinator(options)
    if options.command == "retry" and coordinator.is_on_record:
        here = _retry_here(coordinator, options)
        if here is not None:
            return here
    status = 0
    for job in options.jobs:
        try:
            changed = change(coordinator, _client_options.job_name(job))
        except RequestRefused as error:
            print(f"error: {error}", file=sys.stderr)
            status = 1
        else:
            print(json.dumps(changed) if options.json else shown(changed))
    return status

"""``mu jobs``, ``mu status`` and ``mu logs`` show what a coordinator has on record."""

import argparse
import json
import sys

from mu_twisted.base import terminal_safe
from mu_twisted.base.json_types import JsonObject
from mu_twisted.cli import _client_options, _format
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import Coordinator, ReconnectingClient, UsageError

FOLLOW = 0.5
"""Seconds between two looks at a job whose events are followed."""


def add(commands: CommandParsers) -> None:
    """Add the commands to the parser's."""
    jobs = commands.add_parser(
        "jobs",
        help="list a coordinator's jobs",
        description="List all jobs on record, the oldest first, in columns. Records stay until `mu rm` or the "
        "coordinator's --keep.",
    )
    jobs.set_defaults(run=list_jobs)
    status = commands.add_parser(
        "status",
        help="show a job, or the coordinator itself",
        description="Show all that is known of a job, and how many tasks failed of what; --failed lists each of them. "
        "A job in stages has a table of these, which says what each of them waits for. Without JOB the coordinator "
        "itself: its workers, and why it takes no new job or launches slowly, if so.",
    )
    status.add_argument("job", metavar="JOB", nargs="?", help="its name, as `mu submit` and `mu jobs` print it")
    status.add_argument(
        "--failed", action="store_true", help="list each failed task with its last error, and nothing else"
    )
    status.set_defaults(run=show)
    logs = commands.add_parser(
        "logs",
        help="show what happened in a job",
        description="Print what happened in a job, one event a line; with --task all attempts at that task, with "
        "their states.",
    )
    logs.add_argument("job", metavar="JOB", help="its name")
    logs.add_argument("--task", metavar="N", type=task_number, help="one task's attempts, state by state")
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on with what happens, until the job is over; events only"
    )
    logs.add_argument("--failed", action="store_true", help="only what failed; events only")
    logs.set_defaults(run=show_log)
    for parser in (jobs, status, logs):
        _client_options.add_options(parser)


def task_number(text: str) -> int:
    """What an option takes that is a task's number."""
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"expected a task's number, got {text!r}")
    return int(text[:20])


def list_jobs(options: argparse.Namespace) -> None:
    """Print the table."""
    answer = _client_options.coordinator(options).get("jobs")
    if options.json:
        print(json.dumps(answer))
        return
    head = ["JOB", "STATE", "TASKS", "DONE", "FAILED", "WORKERS", "SUBMITTED"]
    keys = ["job", "state", "tasks", "done"]
    rows = [
        [*(job[key] for key in keys), _format.failed_count(job), job["workers"], _format.when(job["submitted"])]
        for job in answer["jobs"]
    ]
    print(_format.table(head, rows))


def show(options: argparse.Namespace) -> None:
    """Print what is known of a job or of the coordinator."""
    coordinator = _client_options.coordinator(options)
    if options.job is None and options.failed:
        raise UsageError("--failed lists the failed tasks of a job: mu status JOB --failed")
    if options.job is None:
        status = coordinator.get("daemon")
        print(json.dumps(status) if options.json else _format.daemon(status))
        return
    name = _client_options.job_name(options.job)
    job = coordinator.get("jobs", name)
    if options.failed:
        failed = coordinator.tasks(name, "failed") if job["failed"] else []
        for line in [json.dumps({"tasks": failed})] if options.json else _format.each_failure(job, failed):
            print(line)
        return
    if options.json:
        print(json.dumps({"job": job, "tasks": coordinator.tasks(name)}))
        return
    print(_format.details(job))
    for line in _format.stages(job):
        print(line)
    if job["failed"]:
        for line in _format.failures(job, coordinator.tasks(name, "failed")):
            print(line)


def show_log(options: argparse.Namespace) -> None:
    """Print the log, or events of it."""
    query = {} if options.task is None else {"task": options.task}
    coordinator, name = _client_options.coordinator(options), _client_options.job_name(options.job)
    if options.follow or options.failed:
        _show_events(coordinator, name, {**query, "failed": int(options.failed)}, options)
        return
    text = coordinator.text("jobs", name, "log", **query)
    if options.json:
        print(json.dumps({"log": text.splitlines()}))
        return
    sys.stdout.write(terminal_safe(text) if sys.stdout.isatty() else text)


def _show_events(coordinator: Coordinator, job: str, query: JsonObject, options: argparse.Namespace) -> None:
    """Print events as they come; with ``--json`` an object with some on each line."""
    client, ended = ReconnectingClient(coordinator), not options.follow
    page = coordinator.get("jobs", job, "events", **query)
    while True:
        if options.json and page["events"]:
            print(json.dumps({"log": page["events"]}), flush=True)
        elif page["events"]:
            text = "".join(f"{line}\n" for line in page["events"])
            sys.stdout.write(terminal_safe(text) if sys.stdout.isatty() else text)
            sys.stdout.flush()
        if not page["more"]:
            if page["over"] or not options.follow:
                return
            # Rather than a pause: a coordinator that ends with its job says that it is over before it does.
            found = client.get("jobs", job, "wait", timeout=FOLLOW)
            ended = found is None or found["state"] != "running"
        query["after"] = page["next"]
        found = None if ended else client.get("jobs", job, "events", **query)
        page = found or coordinator.get("jobs", job, "events", **query)  # as it has left it, if it has

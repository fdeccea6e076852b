"""A job of ``mu map`` is handed to a coordinator or run in this process, and waited for; its results are printed."""

import argparse
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any

from mu_twisted.base import MuError, terminal_safe
from mu_twisted.base.json_types import Json
from mu_twisted.cli._map_results import Results
from mu_twisted.cli._output import OutputLost
from mu_twisted.cli._tee import follow, teed
from mu_twisted.cli._wait import INTERRUPTED, print_note, wait_and_report
from mu_twisted.client import Coordinator, UnixTransport, free_or_served, handed_over
from mu_twisted.client.map_backend import MapBackend
from mu_twisted.client.map_job import MapJob, ReadyMapJob
from mu_twisted.daemons import StateDirectory, default_state_dir


def execute(ready: ReadyMapJob, options: argparse.Namespace) -> int:
    """Hand a job over or run it here, print results, report.

    :param options: those of the command.
    :returns: the exit status; where the job runs here, the process exits with its own.
    :raises MuError: it cannot be handed over, or its results cannot be had.
    """
    backend = ready.job.backend
    coordinator = backend.coordinator
    body = {**ready.body, "tee": True} if options.tee else ready.body
    taken = handed_over(coordinator, body) if backend.found is not None else None
    while taken is None:
        state, found = free_or_served(coordinator, options.state_dir or default_state_dir())
        if state is not None:
            return _run_here(ready, options, state)
        backend.check(found)
        note_own_s3(backend, options)
        taken = handed_over(coordinator, body)
    return _follow(ready.job, options, taken)


def note_own_s3(backend: MapBackend, options: argparse.Namespace) -> None:
    """Tell the user that workers of a coordinator which runs do not use the S3 that was typed."""
    found = backend.found
    if found is not None and "s3-endpoint-url" in options.typed:
        print_note(
            f"note: the coordinator that runs (process {found['pid']}) has options of its own: --s3-endpoint-url="
            f"{options.s3_endpoint_url} is for what this command itself reads and stores, and not for workers"
        )


def _run_here(ready: ReadyMapJob, options: argparse.Namespace, state: StateDirectory) -> int:
    """As ``mu run`` does; the process exits with the job's status."""
    from mu_twisted.daemons.run import run_map

    job = ready.job
    local = job.backend.local
    if local:
        job.backend.cloud()  # so that the stack runs
    given = {
        "state-dir": options.state_dir,
        "local-state-dir": options.local_state_dir,
        "s3-endpoint-url": options.s3_endpoint_url,
    }
    words = [f"--{key}={value}" for key, value in given.items() if value is not None]
    words += [f"--{key}" for key, value in (("local", local), ("json", options.json), ("tee", options.tee)) if value]
    tee = partial(follow, job.backend.coordinator) if options.tee else None
    printer = _printer(job, options)
    run_map([*words, "map", *ready.words], options.configured, job.inputs, options.name, printer, state, tee)
    return 0


def _printer(job: MapJob, options: argparse.Namespace) -> Any:
    """What prints the results of a job that runs here; None: they are not printed."""
    from mu_twisted.daemons.one_shot import ResultPrinter

    if job.results is None:
        return None
    here = Coordinator(UnixTransport(options.state_dir or default_state_dir()))
    results = _results(job, options, here)

    def print_all(status: Mapping[str, Json]) -> str | None:
        try:
            results.print_all(status)
        except (MuError, OutputLost) as error:
            return str(error)
        return None

    return ResultPrinter(print_all, job.results)


def _follow(job: MapJob, options: argparse.Namespace, taken: Mapping[str, Json]) -> int:
    """Wait for a job that a coordinator has."""
    coordinator = job.backend.coordinator
    name = terminal_safe(taken["job"])
    if options.no_wait:
        print(json.dumps(taken) if options.json else name)
        if job.results is not None:
            copied = f"`mu wait {name}; mu cp -r {job.results} results` copies them to results/"
            print(f"results will be in {job.results}, an object each: {copied}", file=sys.stderr)
        return 0
    if job.results is None:
        if not options.json:
            print(name, flush=True)
        return wait_and_report(coordinator, taken, as_json=options.json, tee=options.tee)
    results = _results(job, options, coordinator)
    try:
        with teed(coordinator, taken, results.say, tee=options.tee):
            results.print_all(taken)
    except KeyboardInterrupt:
        where = f"results come to {job.results}"
        print(f"interrupted; the job goes on: `mu wait {name}`, or `mu cancel {name}`; {where}", file=sys.stderr)
        return INTERRUPTED
    return wait_and_report(coordinator, taken, as_json=options.json, apart=True)


def _results(job: MapJob, options: argparse.Namespace, coordinator: Coordinator) -> Results:
    assert job.results is not None
    return Results(coordinator, job.clients(), job.results, job.settings, ordered=not options.unordered)

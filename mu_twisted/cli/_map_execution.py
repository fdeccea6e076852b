"""A job of ``mu map`` is handed to a coordinator or run in this process, and waited for; its results are printed."""

import json
import sys
from typing import Any

from mu_twisted.base import MuError, terminal_safe
from mu_twisted.cli._map_job import MapJob
from mu_twisted.cli._map_results import Results
from mu_twisted.cli._output import OutputLost
from mu_twisted.cli._run import free_or_served, handed_over
from mu_twisted.cli._wait import INTERRUPTED, wait_and_report
from mu_twisted.client import Coordinator, UnixTransport
from mu_twisted.daemons import StateDirectory, default_state_dir
from mu_twisted.pipelines import pack_inputs


def execute(job: MapJob) -> int:
    """Hand the job over or run it here, print results, report.

    :returns: the exit status; where the job runs here, the process exits with its own.
    :raises MuError: it cannot be handed over, or its results cannot be had.
    """
    coordinator = job.backend.coordinator
    taken = _handed_over(job) if job.backend.found is not None else None
    while taken is None:
        state, found = free_or_served(coordinator, job.options.state_dir or default_state_dir())
        if state is not None:
            return _run_here(job, state)
        job.backend.check(found)
        taken = _handed_over(job)
    return _follow(job, taken)


def _handed_over(job: MapJob) -> Any:
    """The job's status as the coordinator has taken it; None: it has ended meanwhile."""
    request: dict[str, Any] = {"pipeline": "map", "words": job.words}
    if job.inputs is not None:
        request["inputs"] = pack_inputs(job.inputs)
    if job.options.name is not None:
        request["name"] = job.options.name
    return handed_over(job.backend.coordinator, request)


def _run_here(job: MapJob, state: StateDirectory) -> int:
    """As ``mu run`` does; the process exits with the job's status."""
    from mu_twisted.daemons.run import run_map

    options, local = job.options, job.backend.local
    if local:
        job.backend.cloud()  # so that the stack runs
    given = {
        "state-dir": options.state_dir,
        "local-state-dir": options.local_state_dir,
        "s3-endpoint-url": options.s3_endpoint_url,
    }
    words = [f"--{key}={value}" for key, value in given.items() if value is not None]
    words += [f"--{key}" for key, value in (("local", local), ("json", options.json)) if value]
    run_map([*words, "map", *job.words], options.configured, job.inputs, options.name, _printer(job), state)
    return 0


def _printer(job: MapJob) -> Any:
    """What prints the results of a job that runs here; None: they are not printed."""
    from mu_twisted.daemons._one_shot import ResultPrinter

    if job.results is None:
        return None
    here = Coordinator(UnixTransport(job.options.state_dir or default_state_dir()))
    results = _results(job, here, None)

    def print_all(status: Any) -> str | None:
        try:
            results.begin(status)
            results.print_all()
        except (MuError, OutputLost) as error:
            return str(error)
        return None

    return ResultPrinter(print_all, job.results)


def _follow(job: MapJob, taken: Any) -> int:
    """Wait for a job that a coordinator has."""
    options, coordinator = job.options, job.backend.coordinator
    name = terminal_safe(taken["job"])
    if options.no_wait:
        print(json.dumps(taken) if options.json else name)
        if job.results is not None:
            print(f"results will be in {job.results}", file=sys.stderr)
        return 0
    if job.results is None:
        if not options.json:
            print(name, flush=True)
        return wait_and_report(coordinator, taken, as_json=options.json)
    try:
        _results(job, coordinator, taken).print_all()
    except KeyboardInterrupt:
        where = f"results come to {job.results}"
        print(f"interrupted; the job goes on: `mu wait {name}`, or `mu cancel {name}`; {where}", file=sys.stderr)
        return INTERRUPTED
    return wait_and_report(coordinator, taken, as_json=options.json, apart=True)


def _results(job: MapJob, coordinator: Coordinator, status: Any) -> Results:
    assert job.results is not None
    return Results(
        coordinator, status, job.backend.clients(), job.results, job.settings, ordered=not job.options.unordered
    )

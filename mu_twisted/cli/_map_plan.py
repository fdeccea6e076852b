"""``mu map --dry-run`` prints what a job would do, and what it may cost at most; it changes nothing."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from mu_twisted.aws import AwsControl, price_in
from mu_twisted.base import MuError, counted
from mu_twisted.cli import _format
from mu_twisted.client.map_job import UPLOADED, MapJob
from mu_twisted.pipelines import shown_input
from mu_twisted.pipelines.map import command_shown, output_key, results


def print_plan(job: MapJob, program: Mapping[str, Any], *, as_json: bool) -> None:
    """Print the plan of a job.

    :param program: what its function would be made of, as :func:`mu_twisted.client.map_job.function_options` has it.
    """
    rows = _rows(job, program)
    if as_json:
        print(json.dumps({key.replace(" ", "_"): value for key, value in rows}))
    else:
        print(_format.listing("would run", [(key, shown_input(value)) for key, value in rows]))


def _rows(job: MapJob, program: Mapping[str, Any]) -> list[tuple[str, str]]:
    settings = job.settings
    inputs, tasks, count = settings["inputs"], settings["tasks"], results(settings)
    workers = min(tasks, settings["max-workers"] or tasks) + settings["overprovision"]
    rows = [("inputs", f"{len(inputs)}, {inputs.label(0)}{_last(len(inputs), inputs.label)}")]
    if job.files:
        size = sum(file.size for file in job.files)
        rows.append(
            ("uploads", f"{counted(len(job.files), 'file')} of {size} bytes, to s3://{inputs.bucket}/{UPLOADED}")
        )
    if settings["target"] is not None and job.results is None:
        urls = [f"s3://{settings['bucket']}/{output_key(settings, at)}" for at in (0, count - 1)]
        rows.append(("outputs", urls[0] + _last(count, lambda at: urls[-1 if at else 0])))
    rows.append(("first", command_shown(settings, 0)))
    if count > 1:
        rows.append(("last", command_shown(settings, count - 1)))
    path = program["program"]
    function = str(settings["function"]) if path is None else f"a function of {path}"
    rows.append(("tasks", f"{tasks}, on {counted(workers, 'worker')} of {function}"))
    rows.append(("at most", _cost(job, program, tasks)))
    return rows


def _cost(job: MapJob, program: Mapping[str, Any], tasks: int) -> str:
    """What the job may cost at most: each attempt a launch of its own that lasts as long as it may."""
    settings = job.settings
    region = settings["regions"][0]
    try:
        function = _function(job, program, region)
    except MuError as error:
        return f"not known: {error}"
    price = price_in(region, function.architecture)
    if price is None:
        return f"not known: there is no price of {region}"
    longest = function.timeout.total_seconds()
    seconds = min(settings["task-timeout"] or longest, longest)
    attempts = tasks * (1 + settings["retries"])
    most = price.of(attempts, attempts * seconds, function.memory_mb, function.tmp_mb)
    return (
        f"{most:.2f} {price.currency} by AWS's price list of {price.date}: "
        f"{counted(attempts, 'attempt')} of {seconds:g} s with {function.memory_mb} MB"
    )


def _function(job: MapJob, program: Mapping[str, Any], region: str) -> Any:
    """The settings of the function that the job has, or would have.

    :raises MuError: Lambda does not say, or it could not be made.
    """
    from mu_twisted.daemons.program import spec_of

    cloud = job.backend.cloud()
    clients = cloud.clients(region)
    if program["program"] is not None:
        return spec_of(program, job.backend.local, os.environ)
    return AwsControl(clients).function_settings(job.settings["function"])


def _last(count: int, shown: Callable[[int], str]) -> str:
    return f" ... {shown(count - 1)}" if count > 1 else ""

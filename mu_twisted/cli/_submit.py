"""``mu submit`` submits a job to a running coordinator."""

import argparse
import json
from pathlib import Path
from typing import Any

from mu_twisted.base import terminal_safe
from mu_twisted.cli import _client_options
from mu_twisted.cli._configured import Configured
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli._tee import HELP
from mu_twisted.cli._wait import wait_and_report
from mu_twisted.client import NotServed, UsageError, pipeline_source, submitted

OWN_OPTIONS = ("--wait", "--tee", "--json", "--state-dir", "--server")
"""Of this command, which are not the job's."""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "submit",
        usage="mu submit [options] PIPELINE [job options]",
        help="submit a job to a running coordinator",
        description="Submit a job to a coordinator and print the job's name, which `mu wait`, `mu status`, `mu logs`, "
        "`mu cancel`, `mu retry` and `mu rm` take. The job goes on when this command ends, and survives "
        "restarts of the coordinator.",
        epilog="Example: mu submit exec -n 8 -b BUCKET -l FUNCTION --out '{n}.txt' -- 'date > {out}'",
    )
    parser.add_argument("--wait", action="store_true", help="wait until the job is over, as `mu wait` does")
    parser.add_argument("--tee", action="store_true", help=f"with --wait: {HELP}")
    _client_options.add_options(parser)
    parser.add_argument(
        "pipeline",
        metavar="PIPELINE",
        help="its name, or the path of a module (./mine.py), whose source is sent, and runs in the coordinator",
    )
    parser.add_argument(
        "words",
        metavar="job options",
        nargs=argparse.REMAINDER,
        type=str,
        help="the pipeline's own, such as -n; `mu submit PIPELINE --help` shows them",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Check what can be checked here, submit, and wait if asked to."""
    name, words = options.pipeline, options.words
    if options.tee and not options.wait:
        raise UsageError("--tee goes with --wait; `mu output JOB` shows what programs have printed")
    is_path = "/" in name or name.endswith(".py")
    source = pipeline_source(Path(name)) if is_path else None
    words = _checked(name, words, options.configured)
    request = {"pipeline": name, "words": words, "source": source}
    if options.tee:
        request["tee"] = True
    coordinator = _client_options.coordinator(options)
    try:
        job = submitted(coordinator, request)
    except NotServed as error:
        raise NotServed(f"{error}; `mu run` in place of `mu submit` runs the job without one") from None
    if not options.wait:
        print(json.dumps(job) if options.json else terminal_safe(job["job"]))
        return 0
    if not options.json:
        print(terminal_safe(job["job"]), flush=True)
    return wait_and_report(coordinator, job, as_json=options.json, tee=options.tee)


def _checked(name: str, words: list[str], configured: Configured) -> list[str]:
    """Parse the job options here, so that mistakes are reported at once, and ``--help`` needs no coordinator.

    A pipeline that is not installed here may be where the coordinator is.

    :returns: the options, with what is configured.
    """
    # What they import takes a quarter of a second.
    from twisted.python import usage

    from mu_twisted.pipelines import PipelineError, PipelineOptions, load_pipeline, pipeline_names

    if "/" not in name and not name.endswith(".py") and name not in pipeline_names():
        if "--help" in words or "-h" in words:
            raise UsageError(f"pipeline {name!r} is not installed here, so its options are not known here")
        return configured.behind_pipeline(PipelineOptions(), words)
    try:
        pipeline = load_pipeline(name)
        settings: Any = pipeline.options()
        own = str(getattr(settings, "synopsis", None) or "[job options]")
        settings.synopsis = f"Usage: mu submit [options] {name} {own.removeprefix('Usage: ')}"
        settings.longdesc = pipeline.description
        configured_words = configured.behind_pipeline(settings, words)
        settings.parseOptions(configured_words)
        settings.check_words(configured_words)
    except PipelineError as error:
        raise UsageError(str(error)) from None
    except usage.UsageError as error:
        text = str(error).removeprefix("Parameter type enforcement failed: ")
        own_option = next((option for option in OWN_OPTIONS if text == f"option {option} not recognized"), None)
        if own_option is not None:
            raise UsageError(
                f"{own_option} stands before the pipeline: mu submit {own_option} ... {name} ..."
            ) from None
        raise UsageError(f"{text} (mu submit {name} --help shows the options)") from None
    return configured_words

"""Commands that talk to a coordinator share these options, which say where it is and how to print."""

import argparse
import re
from pathlib import Path

from mu_twisted.client import Coordinator, RequestRefused, coordinator_at

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
"""Names of jobs, as a coordinator gives them."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a command's parser."""
    where = parser.add_argument_group(
        "which coordinator",
        "By default the one on this machine whose state directory is the default one. One elsewhere, that was "
        "started with --control, is reached as an operator, with files that `mu genkeys DIR --operator NAME` makes.",
    )
    where.add_argument("--state-dir", metavar="DIR", type=Path, help="the coordinator's state directory")
    where.add_argument("--server", metavar="HOST:PORT", help="a coordinator's --control address (also: $MU_SERVER)")
    for switches, variable, what in (
        (("-c", "--ca-cert"), "CA_CERT", "CA certificate file, PEM"),
        (("-s", "--cert"), "MU_CERT", "operator's certificate file, PEM"),
        (("-k", "--key"), "MU_KEY", "operator's key file, PEM"),
    ):
        where.add_argument(*switches, metavar="FILE", type=Path, help=f"{what} (also: ${variable})")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, on one line")


def coordinator(options: argparse.Namespace) -> Coordinator:
    """The coordinator that the options name.

    :raises UsageError: they do not go together.
    """
    return coordinator_at(options.server, options.state_dir, options.ca_cert, options.cert, options.key)


def job_name(text: str) -> str:
    """Check the name of a job.

    :raises RequestRefused: no job can have this name.
    """
    if not _NAME.fullmatch(text):
        raise RequestRefused(404, f"there is no job {text[:64]!r}")
    return text

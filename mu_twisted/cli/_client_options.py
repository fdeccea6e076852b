"""The options that all commands have which ask a coordinator."""

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path

from mu_twisted.cli._control import Coordinator, RequestRefused
from mu_twisted.cli._errors import UsageError
from mu_twisted.cli._transport import Local, Remote
from mu_twisted.daemons import RUN_DIRECTORY, default_state_dir

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
"""What a coordinator calls its jobs."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Say where the coordinator is, and how to print."""
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
        where.add_argument(
            *switches,
            metavar="FILE",
            type=Path,
            default=_path(os.environ.get(variable)),
            help=f"{what} (also: ${variable})",
        )
    parser.add_argument("--json", action="store_true", help="print the facts as JSON, on one line")


def coordinator(options: argparse.Namespace) -> Coordinator:
    """The coordinator that the options name.

    :raises UsageError: they do not go together.
    """
    if options.server is not None and options.state_dir is not None:
        raise UsageError("--server and --state-dir name two coordinators: give one of them")
    server = options.server or (os.environ.get("MU_SERVER") if options.state_dir is None else None)
    if not server:
        return Coordinator(Local(options.state_dir or own_or_systems()))
    host, _, port = server.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UsageError(f"--server: expected HOST:PORT, got {server!r}")
    for value, switch in ((options.ca_cert, "-c"), (options.cert, "-s"), (options.key, "-k")):
        if value is None:
            raise UsageError(
                f"--server needs {switch} too: the CA's certificate (-c), and an operator's certificate (-s) and key "
                "(-k), as `mu genkeys DIR --operator NAME` makes them"
            )
    return Coordinator(Remote(host.strip("[]"), int(port), options.ca_cert, options.cert, options.key))


def job_name(text: str) -> str:
    """The name of a job as a command was given it.

    :raises UsageError: it is empty.
    :raises Refused: no job can be called so.
    """
    expect_names([text])
    if not _NAME.fullmatch(text):
        raise RequestRefused(404, f"there is no job {text[:64]!r}")
    return text


def expect_names(texts: Sequence[str]) -> None:
    """See that none is missing where names of jobs are expected, before anything is done to one of them.

    :raises UsageError: one is.
    """
    if not all(texts):
        raise UsageError("expected a job's name, got '': did the command that should have printed it fail?")


def own_or_systems() -> Path:
    """The directory with the control socket: the user's own coordinator's, else that of the one under systemd."""
    own = default_state_dir()
    return own if (own / "control.sock").exists() or not (RUN_DIRECTORY / "control.sock").exists() else RUN_DIRECTORY


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None

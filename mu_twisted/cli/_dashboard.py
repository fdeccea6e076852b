"""``mu dashboard`` prints an address that opens a coordinator's dashboard in a browser, once."""

import argparse
import json

from mu_twisted.cli import _client_options
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import NotServed, UnixTransport


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "dashboard",
        help="print an address that opens the dashboard",
        description="Print an address that opens the dashboard of a coordinator that runs, once and within ten "
        "minutes: the tab that opens it is signed in until it signs out or is closed, for a week without use and 30 "
        "days at most, also across restarts of the coordinator. "
        "`mu run` and `mu map` serve the dashboard while their job runs; a coordinator does with --dashboard PORT, or "
        "HOST:PORT for other machines. Where none runs, `mu report JOB` shows a job.",
    )
    _client_options.add_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Ask for an address, and print it."""
    coordinator = _client_options.coordinator(options)
    try:
        answer = coordinator.post("dashboard")
    except NotServed as error:
        if isinstance(coordinator.transport, UnixTransport) and coordinator.is_on_record:
            raise NotServed(f"{error}; `mu report JOB` shows a job on record") from None
        raise
    print(json.dumps(answer) if options.json else answer["url"])

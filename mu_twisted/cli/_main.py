"""The ``mu`` command's line: subcommands, and errors as one line."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

from mu_twisted.cli import _demo, _genkeys, _lambdaize, _local
from mu_twisted.wire import MuError

COMMANDS = (_demo, _genkeys, _lambdaize, _local)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :param arguments: the words after ``mu``; None: those of the process.
    :returns: exit status: 0, 1 for a failure, 2 for usage (argparse's own), 130 for an interrupt.
    """
    parser = argparse.ArgumentParser(
        prog="mu",
        description="Thousands of native programs at once on AWS Lambda. The daemons: twistd mu-coordinator --help, "
        "twistd mu-local --help.",
    )
    parser.add_argument("--version", action="version", version=f"mu-twisted {version('mu-twisted')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for module in COMMANDS:
        module.add(commands)
    options = parser.parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except MuError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130

"""``mu coordinator``, ``mu rendezvous`` and ``mu local`` run the daemons in the foreground, without twistd to know."""

import argparse
import json
import os
from importlib import import_module
from pathlib import Path

from mu_twisted.cli._parser import CommandParsers, OneLineParser

DAEMONS = {
    "coordinator": "run a coordinator, which takes jobs by `mu submit` and `mu run`",
    "rendezvous": "run a rendezvous, which carries messages between workers",
    "local": "run the embedded Lambda and S3",
}


def add(commands: CommandParsers) -> None:
    """Add the commands to the parser's."""
    for name, summary in DAEMONS.items():
        parser = commands.add_parser(name, help=summary, add_help=False, prefix_chars="\0")  # it parses by itself
        parser.add_argument("words", nargs=argparse.REMAINDER, type=str)
        parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run it until a signal ends it."""
    from mu_twisted.daemons.foreground import options_for, run_in_foreground

    name = options.command
    if name == "local" and "--stop" in options.words:
        _stop(options.words, options.configured["local-state-dir"])
        return
    if name == "local" and "--list" in options.words:
        _list(options.words)
        return
    module = import_module(f"mu_twisted.daemons.{name}")
    kind = options_for(f"mu {name}", module.Options, options.configured)
    run_in_foreground(f"mu-{name}", kind, module.makeService, options.words)


def _list(words: list[str]) -> None:
    """Print the stacks of this user that run."""
    from mu_twisted.cli import _format
    from mu_twisted.local import default_state_dir, find, running_stacks

    parser = OneLineParser(prog="mu local --list", usage="mu local --list [--json]")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args(words).json
    usual = default_state_dir(os.environ).resolve()
    running = [(directory, find(directory)) for directory in running_stacks(os.environ)]
    if as_json:
        plain = [
            {"state_dir": str(path), "lambda": stack.lambda_endpoint, "s3": stack.s3_endpoint, "default": path == usual}
            for path, stack in running
            if stack is not None
        ]
        print(json.dumps({"stacks": plain}))
        return
    rows = [
        [f"{path}{' (default)' if path == usual else ''}", stack.lambda_endpoint, stack.s3_endpoint]
        for path, stack in running
        if stack is not None
    ]
    print(_format.table(["STATE-DIR", "LAMBDA", "S3"], rows) if rows else "no local stack is running")


def _stop(words: list[str], configured: str | None) -> None:
    """End the stack that runs, which another command may have started."""
    from mu_twisted.client.cloud import no_stack
    from mu_twisted.local import default_state_dir, stop

    parser = OneLineParser(prog="mu local --stop", usage="mu local --stop [--state-dir DIR]")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--state-dir", type=Path, default=configured or default_state_dir(os.environ))
    directory = parser.parse_args(words).state_dir
    pid = stop(directory)
    if pid is None:
        raise no_stack(Path(directory))
    print(f"the local stack in {directory}, process {pid}, has ended")

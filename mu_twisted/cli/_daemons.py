"""``mu coordinator``, ``mu rendezvous`` and ``mu local`` run the daemons in the foreground, without twistd to know."""

import argparse
import os
from importlib import import_module
from pathlib import Path
from typing import Any

DAEMONS = {
    "coordinator": "run a coordinator, which takes jobs by `mu submit` and `mu run`",
    "rendezvous": "run a rendezvous, which carries messages between workers",
    "local": "run the embedded Lambda and S3",
}


def add(commands: Any) -> None:
    """Add the commands to the parser's."""
    for name, summary in DAEMONS.items():
        parser = commands.add_parser(name, help=summary, add_help=False, prefix_chars="\0")  # it parses by itself
        parser.add_argument("words", nargs=argparse.REMAINDER)
        parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Run it until a signal ends it."""
    from mu_twisted.daemons.foreground import options_for, run_in_foreground

    name = options.command
    if name == "local" and "--stop" in options.words:
        _stop(options.words, options.configured["local-state-dir"])
        return
    module = import_module(f"mu_twisted.daemons.{name}")
    kind = options_for(f"mu {name}", module.Options, options.configured)
    run_in_foreground(f"mu-{name}", kind, module.makeService, options.words)


def _stop(words: list[str], configured: str | None) -> None:
    """End the stack that runs, which another command may have started."""
    from mu_twisted.local import LocalError, default_state_dir, stop

    parser = argparse.ArgumentParser(prog="mu local --stop", usage="mu local --stop [--state-dir DIR]")
    parser.add_argument("--stop", action="store_true")
    parser.add_argument("--state-dir", type=Path, default=configured or default_state_dir(os.environ))
    directory = parser.parse_args(words).state_dir
    pid = stop(directory)
    if pid is None:
        raise LocalError(f"no local stack is running in {directory}")
    print(f"the local stack in {directory}, process {pid}, has ended")

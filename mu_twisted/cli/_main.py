"""The ``mu`` command parses its line, runs a subcommand, and prints errors as one line."""

import argparse
import difflib
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from mu_twisted.base import MuError
from mu_twisted.cli._configured import PROFILE, Configured, configured, take_profile
from mu_twisted.cli._output import OutputLost, drop, guarded
from mu_twisted.cli._parser import CommandParsers, OneLineParser, ParagraphFormatter
from mu_twisted.client import UsageError

COMMANDS = {
    "submit": "_submit",
    "jobs": "_jobs",
    "status": "_jobs",
    "wait": "_wait",
    "logs": "_jobs",
    "top": "_top",
    "output": "_task_output",
    "report": "_report",
    "dashboard": "_dashboard",
    "map": "_map",
    "cancel": "_mutate",
    "retry": "_mutate",
    "rm": "_mutate",
    "run": "_run",
    "coordinator": "_daemons",
    "rendezvous": "_daemons",
    "local": "_daemons",
    "cp": "_s3",
    "ls": "_s3",
    "mb": "_s3",
    "rm-bucket": "_s3",
    "demo": "demo.png2y4m",
    "demo-xcenc": "demo.xcenc",
    "demo-video": "demo.video",
    "demo-shuffle": "demo.shuffle",
    "doctor": "_doctor",
    "functions": "_functions",
    "genkeys": "_genkeys",
    "iam": "_iam",
    "lambdaize": "_lambdaize",
    "faces": "faces.command",
    "linpack": "demo.linpack",
    "local-env": "_local",
    "config": "_config",
    "completion": "_completion",
    "man": "_man",
}
"""The commands, and the module beside this one that has each: its ``add`` adds all of its commands to the parser."""
_OWN = ("-h", "--help", "--version")
"""What may stand in the place of a command."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    :param arguments: the words after ``mu``; None: those of the process.
    :returns: exit status: 0, 1 for a failure, 2 for usage, 130 for an interrupt.
    """
    words = sys.argv[1:] if arguments is None else list(arguments)
    try:
        with guarded():
            return _status_of(words)
    except OutputLost as error:
        with guarded():
            if error.reported:
                print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        drop()


def _status_of(words: list[str]) -> int:
    try:
        options = parsed(words)
        status = int(options.run(options) or 0)
        sys.stdout.flush()
    except SystemExit:
        sys.stdout.flush()  # the help, too
        raise
    except MuError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if error.misuse else 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return status


def parsed(words: list[str]) -> argparse.Namespace:
    """What a command line asks for, with what the user has configured; ``run`` of it does it.

    :param words: those after ``mu``.
    :raises MuError: the command line, or the configuration, is wrong.
    :raises SystemExit: the same, as argparse has it, or the help was asked for.
    """
    words, profile = take_profile(words)
    parser, commands = new_parser(words)
    if not words or (words[0].startswith("-") and not any(own.startswith(words[0]) for own in _OWN)):
        parser.error(f"expected a command{f', got {words[0]}' if words else ''}: mu COMMAND [options]")
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        raise UsageError(unknown_command(words[0]))
    taken: dict[str, Any] = {}
    if words[:1] == ["map"]:  # it has a command line within its own
        rest, taken = import_module("mu_twisted.cli._map").split(words[1:])
        words = [words[0], *rest]
    chosen = commands.choices.get(words[0]) if words else None
    settings = Configured("", ()) if chosen is None or _asks_for_help(words) else configured(words[0], profile)
    if chosen is not None:
        settings.prepare(chosen)
    options, surplus = parser.parse_known_args(words)
    vars(options).update(taken)
    if surplus:
        commands.choices[options.command].error(f"unrecognized arguments: {' '.join(surplus)}")
    settings.settle(commands.choices[options.command], options)
    options.configured = settings
    options.profile = profile
    return options


def unknown_command(word: str) -> str:
    """What is said of a word that is no command: which one is like it, or that a pipeline bears the name."""
    from mu_twisted.pipelines import pipeline_names

    meant = {**{name: f"mu run {name}" for name in pipeline_names()}, **{name: f"mu {name}" for name in COMMANDS}}
    near = [word] if word in meant else difflib.get_close_matches(word, meant, 2, 0.7)
    hint = f": did you mean {' or '.join(f'`{meant[name]}`' for name in near)}?" if near else ":"
    return f"mu has no command {word[:60]!r}{hint} `mu --help` lists them"


def new_parser(words: Sequence[str] = ()) -> tuple[argparse.ArgumentParser, CommandParsers]:
    """A parser of the command line, and its commands.

    :param words: the command line, for which only its own command is added; none: all are.
    """
    parser: argparse.ArgumentParser = OneLineParser(
        prog="mu",
        formatter_class=ParagraphFormatter,
        description="Thousands of native programs at once on AWS Lambda.",
        epilog="`mu COMMAND --help` says more.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.type = str  # each command's own parser looks at its words
    for name in _modules(words):
        import_module(f"mu_twisted.cli.{name}").add(commands)
    for each in commands.choices.values():
        if each.add_help:
            each.add_argument("--profile", metavar="NAME", help=PROFILE)
    return parser, commands


def _asks_for_help(words: Sequence[str]) -> bool:
    """Whether the help is shown, for which a wrong configuration is no hindrance."""
    before = words[: words.index("--")] if "--" in words else words
    return "--help" in before or "-h" in before


def _modules(words: Sequence[str]) -> list[str]:
    """The modules that this command line needs.

    Only the one command's: Twisted's and boto3's imports cost most of a second, which a command that asks a daemon
    something, and is called in loops, should not pay for its neighbours.
    """
    wanted = COMMANDS.get(words[0]) if words else None
    return [wanted] if wanted is not None else list(dict.fromkeys(COMMANDS.values()))


class _Version(argparse.Action):
    """Looks the version up when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"mu-twisted {version('mu-twisted')}")
        parser.exit()

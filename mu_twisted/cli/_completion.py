"""``mu completion`` prints a script by which a shell completes the commands and options of mu.

The script is shtab's, from the parsers of all commands. Those whose words Twisted's options parse, such as ``mu run``,
are described to it from these options, the same that parse them and make their help.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mu_twisted.cli._main import new_parser
from mu_twisted.cli._parser import CommandParsers

if TYPE_CHECKING:
    from twisted.python import usage

SHELLS = ("bash", "zsh")
_FILES = frozenset(
    {
        "ca-cert",
        "srv-cert",
        "srv-key",
        "ca-key",
        "cert",
        "key",
        "program",
        "cpu-profile",
        "times",
        "each",
        "requirements",
    }
)
_FOLDERS = frozenset({"state-dir", "local-state-dir"})


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "completion",
        help="print a script by which a shell completes mu's commands and options",
        description='Print a script for the shell that is named: eval "$(mu completion bash)" in ~/.bashrc, or for zsh '
        "mu completion zsh > DIR/_mu, where DIR is one of $fpath.",
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=" or ".join(SHELLS))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print it."""
    import shtab  # a tenth of a second that few need

    sys.stdout.write(shtab.complete(described()[0], options.shell))


def described() -> tuple[argparse.ArgumentParser, CommandParsers]:
    """A parser of all of mu's command lines, and its commands: for completion and manual pages, it parses none."""
    from mu_twisted.daemons.coordinator import Options as CoordinatorOptions
    from mu_twisted.daemons.doctor import Options as DoctorOptions
    from mu_twisted.daemons.foreground import options_for
    from mu_twisted.daemons.local import Options as LocalOptions
    from mu_twisted.daemons.rendezvous import Options as RendezvousOptions
    from mu_twisted.daemons.run import Options as RunOptions

    parser, commands = new_parser()
    daemons: dict[str, type[Any]] = {"rendezvous": RendezvousOptions, "local": LocalOptions}
    daemons.update({"run": RunOptions, "coordinator": CoordinatorOptions, "doctor": DoctorOptions})
    for name, kind in daemons.items():
        commands.choices[name] = daemon = _of_options(name, options_for(f"mu {name}", kind)())
        if issubclass(kind, CoordinatorOptions):
            _add_pipelines(daemon)
    commands.choices["local"].add_argument("--stop", action="store_true", help="end the stack that runs")
    commands.choices["local"].add_argument("--list", action="store_true", help="list the stacks that run")
    commands.choices["local"].add_argument("--json", action="store_true", help="with --list: as JSON, on one line")
    submit = commands.choices["submit"]
    for action in [each for each in submit._actions if each.dest in ("pipeline", "words")]:
        submit._remove_action(action)
    _add_pipelines(submit)
    for each in commands.choices.values():
        _complete_paths(each)
    return parser, commands


def _add_pipelines(parser: argparse.ArgumentParser) -> None:
    """Add what may stand behind a pipeline's name."""
    from mu_twisted.pipelines import load_pipeline, pipeline_names

    pipelines = parser.add_subparsers(dest="pipeline", metavar="PIPELINE")
    for name in pipeline_names():
        pipeline = load_pipeline(name)
        job = pipelines.add_parser(name, help=pipeline.summary, add_help=False)
        _add_options(job, pipeline.options())
        _complete_paths(job)


def _of_options(name: str, options: "usage.Options") -> argparse.ArgumentParser:
    text = " ".join(str(getattr(options, "longdesc", None) or "").split()).replace("%", "%%")
    parser = argparse.ArgumentParser(prog=f"mu {name}", description=text or None, add_help=False)
    _add_options(parser, options)
    return parser


def _add_options(parser: argparse.ArgumentParser, options: "usage.Options") -> None:
    """Add the options that Twisted's parse, with the texts of their help."""
    short = {long: letter for letter, long in options.synonyms.items() if len(letter) == 1}
    for long in sorted({word.removesuffix("=") for word in options.longOpt}):
        if options.synonyms.get(long, long) != long:
            continue
        switches = [f"-{short[long]}"] if long in short else []
        takes_value = f"{long}=" in options.longOpt
        more: dict[str, Any] = {"metavar": "X"} if takes_value else {"action": "store_true"}
        parser.add_argument(*switches, f"--{long}", help=_text_of(options, long), **more)


def _text_of(options: "usage.Options", long: str) -> str:
    text = options.docs.get(long) or (getattr(options, f"opt_{long.replace('-', '_')}", None).__doc__ or "")
    return " ".join(str(text).split()).replace("%", "%%")


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    import shtab

    for action in parser._actions:
        names = {string.removeprefix("--") for string in action.option_strings}
        if names & _FOLDERS:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]
        elif names & _FILES or action.type is Path:
            action.complete = shtab.FILE  # type: ignore[attr-defined]

"""``mu man`` makes a manual page of each command from the definitions that parse it and make its help."""

import argparse
import json
import sys
from pathlib import Path

from mu_twisted.base import MuError, counted
from mu_twisted.cli._completion import described
from mu_twisted.cli._main import unknown_command
from mu_twisted.cli._parser import CommandParsers
from mu_twisted.client import UsageError

SECTION = 1
MANUAL = "mu manual"


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "man",
        help="print the manual page of a command, or write those of all",
        description="Print the manual page of a command in man's own format: mu man map | man -l -. With --to all are "
        "written, mu.1, mu-map.1 and so on: mu man --to ~/.local/share/man/man1 is where man looks for them.",
    )
    parser.add_argument("page", metavar="COMMAND", nargs="?", help="one of mu's; none: what mu is, and its commands")
    parser.add_argument("--to", metavar="DIR", type=Path, help="write the pages of all commands to a directory")
    parser.add_argument("--json", action="store_true", help="with --to: print the files' names as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print one, or write all."""
    if options.to is None:
        if options.json:
            raise UsageError("--json goes with --to DIR")
        made = pages()
        if options.page is not None and options.page not in made:
            raise UsageError(unknown_command(options.page))
        sys.stdout.write(made[options.page or ""])
        return
    if options.page is not None:
        raise UsageError("--to writes the pages of all commands: give it without COMMAND")
    files = []
    try:
        options.to.mkdir(parents=True, exist_ok=True)
        for name, page in pages().items():
            files.append(options.to / f"{_title(name)}.{SECTION}")
            files[-1].write_text(page, encoding="utf-8")
    except OSError as error:
        raise MuError(f"cannot write manual pages to {options.to}: {error.strerror}") from None
    print(
        json.dumps({"files": list(map(str, files))})
        if options.json
        else f"{counted(len(files), 'page')} in {options.to}"
    )


def pages() -> dict[str, str]:
    """The page of each command, by its name; that of mu itself by the empty one."""
    parser, commands = described()
    summaries = {action.dest: action.help or "" for action in commands._choices_actions}
    made = {"": _page(_overview(parser, summaries), "thousands of native programs at once on AWS Lambda")}
    for name, command in commands.choices.items():
        made[name] = _page(command, summaries.get(name, ""))
    return made


def _title(name: str) -> str:
    return f"mu-{name}" if name else "mu"


def _overview(parser: argparse.ArgumentParser, summaries: dict[str, str]) -> argparse.ArgumentParser:
    """What the page of mu itself is made of: its commands have their own."""
    made = argparse.ArgumentParser(
        prog="mu",
        usage="mu COMMAND [options]",
        description=parser.description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listed = made.add_argument_group("commands", "Each has a page of its own: man mu-map.")
    for name, summary in sorted(summaries.items()):
        listed.add_argument(f"--{name}", action="store_true", help=summary).option_strings = [f"mu {name}"]
    return made


def _page(parser: argparse.ArgumentParser, summary: str) -> str:
    from argparse_manpage.manpage import Manpage  # few need it

    data = {"project_name": "mu", "manual_title": MANUAL, "description": summary, "manual_section": SECTION}
    page = Manpage(parser, data)
    page.prog = parser.prog.replace(" ", "-")
    return str(page)

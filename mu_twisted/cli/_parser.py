"""The parser of ``mu`` and of each of its commands prints what is wrong as one line, and takes no empty value."""

import argparse
import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

from mu_twisted.base import terminal_safe

CommandParsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
"""The commands of the parser: each module of one adds its own to them."""
OptionGroup: TypeAlias = "argparse._ActionsContainer"
"""Takes options: a parser, or a group of one's."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line and name the command that was meant; its subcommands' parsers are as it is.

    An empty text is no path, name or address: arguments refuse it, but those of the type ``str`` and those whose own
    type takes it.
    """

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)
        self.register("type", None, _filled)
        self.register("type", Path, lambda text: Path(_filled(text)))

    def error(self, message: str) -> NoReturn:
        """Print it, and exit with status 2."""
        print(
            f"error: {terminal_safe(message)} (`{self.prog} --help` says more)".replace("\n", "\\x0a"), file=sys.stderr
        )
        self.exit(2)


class ParagraphFormatter(argparse.HelpFormatter):
    """A formatter that wraps paragraphs to the terminal's width, and leaves indented lines, such as examples, alone.

    A paragraph is of lines without indentation, one after the other.
    """

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        filled: list[str] = []
        for kept, lines in itertools.groupby(text.splitlines(), lambda line: not line or line[0].isspace()):
            if kept:
                filled += (f"{indent}{line}".rstrip() for line in lines)
            else:
                filled.append(super()._fill_text(" ".join(lines), width, indent))
        return "\n".join(filled)


class ListOnce(argparse.Action):
    """Stores a list of values separated by commas; given twice, the last would count, so it is refused."""

    def __call__(
        self, parser: argparse.ArgumentParser, options: argparse.Namespace, value: object, _: object = None
    ) -> None:
        if getattr(options, self.dest) is not self.default:
            raise argparse.ArgumentError(
                None, f"{self.option_strings[-1]} was given twice: separate its values by commas"
            )
        setattr(options, self.dest, value)


def whole_number(low: int, high: int) -> Callable[[str], int]:
    """A converter for whole numbers of a range."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or len(text) > 20 or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"expected a whole number from {low} to {high}, got {text!r}")
        return int(text)

    return convert


def _filled(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("expected a value, got '': is a variable empty?")
    return text

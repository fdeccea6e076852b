"""The user's settings become defaults of a command's options here: of argparse's, and of Twisted's.

An option that is typed counts more than a setting; of two settings that exclude one another the nearer one does.
"""

import argparse
import getopt
import os
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mu_twisted.client import UsageError, UserSettings
from mu_twisted.config import EXCLUSIVE, SETTINGS, Value, resolve

if TYPE_CHECKING:
    from twisted.python import usage

PROFILE = "take defaults of this profile of the configuration file (also: $MU_PROFILE; `mu config` shows them)"
"""The help of ``--profile``, which every command takes."""


def take_profile(words: Sequence[str]) -> tuple[list[str], str | None]:
    """Take ``--profile NAME`` out of a command line, wherever it stands before a ``--`` or ``:::``.

    :returns: the words that are left, and the name.
    :raises UsageError: it has none.
    """
    left, name = [], None
    rest = iter(words)
    for word in rest:
        if word in ("--", ":::"):
            left.append(word)
            break
        if word == "--profile":
            name = next(rest, "")
        elif word.startswith("--profile="):
            name = word.partition("=")[2]
        else:
            left.append(word)
            continue
        if not name or name.startswith("-"):
            raise UsageError("--profile needs the name of a profile; `mu config` shows the file that has them")
    return [*left, *rest], name


def configured(command: str, profile: str | None, environ: Mapping[str, str] = os.environ) -> "Configured":
    """The settings for one command.

    :raises mu_twisted.config.ConfigError: one is wrong.
    """
    if profile is None and not any(setting.option_of(command) for setting in SETTINGS):
        return Configured(command, ())
    return Configured(command, resolve(environ, profile, command).values())


class Configured(UserSettings):
    """The settings that are defaults of one command's options.

    :param values: what is set, by file and environment.
    """

    def __init__(self, command: str, values: Collection[Value]) -> None:
        super().__init__(command, values)
        self.added: set[str] = set()
        """Names of the options that were given a value here in place of the user."""
        self._typed: set[str] = set()

    # -- options of Twisted's --------------------------------------------------------------------------------------

    def before_pipeline(self, options: "usage.Options", words: Sequence[str]) -> list[str]:
        """The words of a daemon, with what is configured before them.

        What a pipeline's options may exclude waits for :meth:`behind_pipeline`.

        :param options: Twisted's, that are about to parse the words.
        """
        typed = _typed(options, words)
        if typed is None:
            return list(words)
        self._typed, self.added = typed, set()
        values = {name: each for name, each in self.chosen(typed).items() if not _waits(each)}
        return [*self._words(options, values), *words]

    def behind_pipeline(self, options: "usage.Options", words: Sequence[str]) -> list[str]:
        """The words of a job, with what is configured before them.

        :param options: Twisted's, that are about to parse the words.
        """
        typed = _typed(options, words)
        if typed is None:
            return list(words)
        values = self.chosen(typed | self._typed)
        return [*self._words(options, {name: each for name, each in values.items() if name not in self.added}), *words]

    def _words(self, options: "usage.Options", values: Mapping[str, Value]) -> list[str]:
        words = []
        for name, each in values.items():
            if f"{name}=" in options.longOpt:
                words.append(f"--{name}={each.value}")
            elif name in options.longOpt and each.value is True:
                words.append(f"--{name}")
            else:
                continue
            self.added.add(name)
        return words

    # -- argparse's ------------------------------------------------------------------------------------------------

    def prepare(self, parser: argparse.ArgumentParser) -> None:
        """Have the parser tell which options were typed."""
        for action, _ in self._actions(parser):
            action.default = _Untyped(action.default)

    def settle(self, parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
        """Give the options that were not typed their values; ``options.typed`` are the names of those that were.

        :raises UsageError: a value is none for that option.
        """
        actions = self._actions(parser)
        given = vars(options)
        options.typed = {name for action, name in actions if not isinstance(given[action.dest], _Untyped)}
        chosen = self.chosen(options.typed)
        for action, name in actions:
            if name in chosen:
                given[action.dest] = _converted(action, chosen[name])
            elif name not in options.typed:
                given[action.dest] = given[action.dest].default

    def _actions(self, parser: argparse.ArgumentParser) -> list[tuple[argparse.Action, str]]:
        """Those of the parser that a setting is for, with their names."""
        names = {setting.option_of(self.command) for setting in SETTINGS}
        long = [(action, string.removeprefix("--")) for action in parser._actions for string in action.option_strings]
        return [(action, name) for action, name in long if name in names]


class _Untyped:
    """Stands for the value of an option that was not typed.

    :param default: the option's own.
    """

    def __init__(self, default: Any) -> None:
        self.default = default


def _converted(action: argparse.Action, value: Value) -> Any:
    if action.type is None or isinstance(value.value, bool):
        return value.value
    assert callable(action.type)
    try:
        return action.type(str(value.value))
    except (argparse.ArgumentTypeError, ValueError) as error:
        raise UsageError(f"{value.where}: {error}") from None


def _typed(options: "usage.Options", words: Sequence[str]) -> set[str] | None:
    """The long names of the options among the words; None: they cannot be parsed, as the parser will say."""
    try:
        pairs, _ = getopt.getopt(list(words), options.shortOpt, options.longOpt)
    except getopt.GetoptError:
        return None
    return {options.synonyms.get(option.lstrip("-"), option.lstrip("-")) for option, _ in pairs}


def _waits(value: Value) -> bool:
    return value.setting.needs is not None or any(value.setting.name in pair for pair in EXCLUSIVE[1:])

"""``mu config`` shows what the user has configured, and where each value comes from."""

import argparse
import json
import os

from mu_twisted.base import terminal_safe
from mu_twisted.base.json_types import JsonObject
from mu_twisted.cli import _format
from mu_twisted.cli._parser import CommandParsers, ParagraphFormatter
from mu_twisted.config import SETTINGS, Value, config_path, resolve

EPILOG = """\
The file is TOML: defaults in [defaults], and in [profiles.NAME] what --profile NAME puts in their place.
For KEY there is the variable MU_KEY, in capitals and with _ in place of -. An option on the command line counts more
than a variable, that more than a profile, that more than defaults. `docs/config.md` says more.

"""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "config",
        help="show the defaults of commands, and where each comes from",
        formatter_class=ParagraphFormatter,
        description="Show what holds where no option says otherwise, and where each value comes from: a variable of "
        "the environment, a profile, the file's defaults, or what is built in.",
        epilog=EPILOG + "keys:\n" + "\n".join(f"  {each.name:18} {each.text}" for each in SETTINGS),
    )
    parser.add_argument("--all", action="store_true", help="show what is not set, too")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Print the table."""
    path, profile = config_path(os.environ), options.profile or os.environ.get("MU_PROFILE") or None
    values = resolve(os.environ, options.profile)
    if options.json:
        settings = {name: _fact(value) for name, value in values.items()}
        print(json.dumps({"file": str(path), "exists": path.exists(), "profile": profile, "settings": settings}))
        return
    print(terminal_safe(f"file     {path}{'' if path.exists() else ' (not there)'}"))
    print(terminal_safe(f"profile  {profile or '-'}"))
    rows = [
        [name, _shown(value), value.source if value.value is None else f"{value.source}: {value.where}"]
        for name, value in values.items()
        if options.all or value.value is not None
    ]
    if rows:
        print(_format.table(["SETTING", "VALUE", "FROM"], rows))
    else:
        print("nothing is set: `mu config --all` lists what can be")


def _fact(value: Value) -> JsonObject:
    built_in = value.value is None
    return {
        "value": value.setting.built_in if built_in else value.value,
        "source": value.source,
        "where": None if built_in else value.where,
    }


def _shown(value: Value) -> str:
    if value.value is None:
        return value.setting.built_in or "-"
    return str(value.value).lower() if isinstance(value.value, bool) else str(value.value)

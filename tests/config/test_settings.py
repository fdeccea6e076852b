"""The settings: each is an option's default, and takes what that option takes."""

import argparse
import functools
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.python.reflect import accumulateClassList

from mu_twisted.cli import _main
from mu_twisted.config import SETTINGS, Setting
from mu_twisted.daemons.coordinator import Options as CoordinatorOptions
from mu_twisted.daemons.doctor import Options as DoctorOptions
from mu_twisted.daemons.foreground import options_for
from mu_twisted.daemons.local import Options as LocalOptions
from mu_twisted.daemons.rendezvous import Options as RendezvousOptions
from mu_twisted.daemons.run import Options as RunOptions
from mu_twisted.pipelines import load_pipeline
from mu_twisted.rendezvous import RelayLimits

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "config.md").read_text(encoding="utf-8")
BY_TWISTED: dict[str, list[type]] = {
    "run": [RunOptions, load_pipeline("xcenc").options],
    "map": [RunOptions],
    "coordinator": [CoordinatorOptions, load_pipeline("xcenc").options],
    "doctor": [DoctorOptions, load_pipeline("xcenc").options],
    "submit": [load_pipeline("xcenc").options],
    "rendezvous": [RendezvousOptions],
    "local": [LocalOptions],
}
"""The options of commands that argparse does not parse; for submit, of the job."""
GOOD: dict[str, str] = {
    "expected true or false": "true",
    "halt": "soon,fail=10%",
    "role": "arn:aws:iam::123456789012:role/worker",
    "server": "host:13580",
    "region": "eu-west-1,us-east-1",
    "endpoint-url": "https://lambda.example.org",
    "s3-endpoint-url": "http://127.0.0.1:9000",
    "port": "tcp:0:interface=127.0.0.1",
    "control": "13580",
    "control-group": "users",
    "rendezvous-host": "192.0.2.1",
    "host-addr": "host.example.org",
    "bucket": "mine",
    "function": "png2y4m_cP4Mf5pn",
    "retry-memory": "large",
    "code-bucket": "code-{region}",
    "tmp-size": "1024",
    "memory": "2048",
}
NUMBERS = ("0", "1", "2", "2.5", "128", "300", "512", "900", "1024", "65535", "65536", "99999", "-1", "x", "1e3", "٣")


@functools.cache
def rows_of(command: str) -> dict[str, Any]:
    """The rows of Twisted's options of a command, by name."""
    found: list[list[Any]] = []
    for kind in BY_TWISTED.get(command, []):
        accumulateClassList(kind, "optParameters", found)  # type: ignore[no-untyped-call]
        accumulateClassList(kind, "optFlags", found)  # type: ignore[no-untyped-call]
    return {row[0]: row for row in found}


@functools.cache
def parsers() -> dict[str, argparse.ArgumentParser]:
    from importlib import import_module

    commands = argparse.ArgumentParser().add_subparsers()
    for module in dict.fromkeys(_main.COMMANDS.values()):
        import_module(f"mu_twisted.cli.{module}").add(commands)
    return commands.choices


def uses() -> list[tuple[Setting, str]]:
    return [(setting, command) for setting in SETTINGS for command in setting.commands]


@pytest.mark.parametrize(("setting", "command"), uses(), ids=lambda each: getattr(each, "name", each))
def test_a_setting_is_the_default_of_an_option_of_each_of_its_commands(setting: Setting, command: str) -> None:
    option = setting.option_of(command)
    own = [string for action in parsers()[command]._actions for string in action.option_strings]
    assert f"--{option}" in own or option in rows_of(command)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.name)
def test_what_a_setting_takes_its_option_takes(setting: Setting) -> None:
    taken = 0
    for text in (*NUMBERS, *GOOD.values(), "/a/file", "never"):
        try:
            value = setting.kind.from_text(text)
        except ValueError:
            continue
        taken += 1
        for command in setting.commands:
            row = rows_of(command).get(setting.option_of(command))
            if row is not None and len(row) > 4:
                row[4](value)
            for action in parsers()[command]._actions:
                if f"--{setting.option_of(command)}" in action.option_strings and callable(action.type):
                    action.type(value)
    assert taken


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda each: each.name)
def test_what_is_built_in_is_the_options_own_default(setting: Setting) -> None:
    for command in {"run", "coordinator", "rendezvous", "local"} & set(setting.commands):
        row = rows_of(command).get(setting.option_of(command))
        if row is None or row[2] is None or not (setting.built_in or "").replace(".", "").isdigit():
            continue
        assert str(row[2]) == setting.built_in


def test_no_command_has_two_settings_for_one_option() -> None:
    pairs = [(command, setting.option_of(command)) for setting, command in uses()]
    assert len(pairs) == len(set(pairs))
    assert set(_main.COMMANDS) >= {command for command, _ in pairs}


def test_the_page_has_each_setting_as_it_is() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*?) \| (.*?) \| (.*?) \|$", PAGE, re.MULTILINE)
    told = {
        name: (text.partition("; also")[0], built_in, commands.split(", ")) for name, text, built_in, commands in rows
    }
    assert told == {each.name: (each.text, each.built_in or "", list(each.commands)) for each in SETTINGS}
    for setting in SETTINGS:
        assert all(f"also ${variable}" in PAGE for variable in setting.also)


def test_a_rendezvous_as_a_command_of_mu_has_its_defaults_converted() -> None:
    options = options_for("mu rendezvous", RendezvousOptions)()
    options.parseOptions([])
    assert options["shards"] == 1
    assert options.limits() == RelayLimits()

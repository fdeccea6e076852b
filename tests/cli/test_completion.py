"""Completion: the script offers what the commands take, and JSON where there is something to tell."""

import argparse
import subprocess

import pytest
from command_line import Mu

from mu_twisted.cli._completion import described
from mu_twisted.cli._main import COMMANDS, new_parser
from mu_twisted.daemons.run import Options as RunOptions
from mu_twisted.pipelines import load_pipeline, pipeline_names

TRY = """
set -- {words}
COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=()
_shtab_mu mu "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
WITHOUT_JSON = {"coordinator", "rendezvous", "demo", "demo-xcenc", "demo-video", "demo-shuffle", "completion"}
"""Daemons, and commands that only show something to people, or print a script."""


@pytest.fixture(scope="module")
def script() -> str:
    import shtab

    return str(shtab.complete(described()[0], "bash"))


def completed(script: str, words: str) -> set[str]:
    """What bash offers for the last of some words."""
    done = subprocess.run(
        ["bash", "-c", script + TRY.format(words=words)], capture_output=True, text=True, timeout=180, check=False
    )
    assert done.stderr == ""
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("mu co", {"coordinator", "config", "completion"}),
        ("mu run --state", {"--state-dir"}),
        ("mu run --progr", {"--program"}),
        ("mu run x", {"xcenc", "xcenc7"}),
        ("mu run exec --ret", {"--retries", "--retry-exit", "--retry-memory"}),
        ("mu submit --wai", {"--wait"}),
        ("mu submit xcenc --gro", {"--group"}),
        ("mu coordinator --launch-", {"--launch-rate"}),
        ("mu rendezvous --shar", {"--shards", "--share-key"}),
        ("mu local --st", {"--state-dir", "--stop-on-eof", "--stop"}),
        ("mu map --halt", {"--halt"}),
        ("mu jobs --prof", {"--profile"}),
        ("mu completion ''", {"bash", "zsh"}),
        ("mu cp --nosuch", set()),
    ],
)
def test_bash_offers_what_may_stand_there(script: str, words: str, offered: set[str]) -> None:
    assert completed(script, words) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_script_is_printed(run: Mu, shell: str) -> None:
    said = run("completion", shell)
    assert (said.status, said.err) == (0, "")
    assert all(word in said.out for word in ("png2y4m", "--max-workers", "--local-state-dir", "rm-bucket"))
    if shell == "bash":
        assert subprocess.run(["bash", "-n"], input=said.out, text=True, check=False).returncode == 0


def test_another_shell_is_wrong_use(run: Mu) -> None:
    assert run("completion", "fish").status == 2


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    return {string for action in parser._actions for string in action.option_strings}


def test_every_option_is_described_as_its_parser_has_it() -> None:
    commands = next(action for action in described()[0]._actions if action.dest == "command").choices
    assert commands is not None
    own = new_parser()[1].choices
    assert set(commands) == set(COMMANDS)
    for name, parser in own.items():
        assert options_of(parser) - options_of(commands[name]) <= {"-h", "--help"}, name
    run_options = RunOptions()  # type: ignore[no-untyped-call]
    assert {f"--{word.removesuffix('=')}" for word in run_options.longOpt} <= options_of(commands["run"])
    jobs = next(action for action in commands["run"]._actions if action.dest == "pipeline").choices
    assert set(jobs) == set(pipeline_names())
    for name, parser in jobs.items():
        longs = {f"--{word.removesuffix('=')}" for word in load_pipeline(name).options().longOpt}
        assert longs <= options_of(parser), name


def test_every_command_that_tells_something_tells_it_as_json() -> None:
    commands = next(action for action in described()[0]._actions if action.dest == "command").choices
    assert commands is not None
    assert {name for name, parser in commands.items() if "--json" not in options_of(parser)} == WITHOUT_JSON

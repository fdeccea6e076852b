"""Words that are no value: an empty text for a name, path or address is one line, with status 2, of every command."""

import argparse
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import pytest
from twisted.python.reflect import accumulateClassList
from twisted.python.usage import UsageError

from mu_twisted.cli import main
from mu_twisted.cli._main import new_parser, parsed
from mu_twisted.client import UsageError as ClientUsageError
from mu_twisted.client import connect
from mu_twisted.pipelines import load_pipeline, pipeline_names


def refusal(capfd: Any, *words: str) -> str:
    """The one line that a command line is refused with."""
    return refused(capfd, main, words)


def refused(capfd: Any, parse: Callable[[Sequence[str]], Any], words: Sequence[str]) -> str:
    try:
        status = parse(words)
    except SystemExit as error:
        status = error.code
    out, err = capfd.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1), (words, out, err)
    return str(err)


def takes_name(action: argparse.Action) -> bool:
    return action.nargs != 0 and action.dest not in ("profile", "words", "pre_args", "post_args")


def test_every_argument_of_a_command_refuses_an_empty_text(capfd: Any) -> None:
    _, commands = new_parser()
    tried = 0
    for name, parser in commands.choices.items():
        for action in filter(takes_name, parser._actions):
            said = refused(capfd, parser.parse_args, [*action.option_strings[-1:], "", "x"])
            assert "got ''" in said or "invalid choice: ''" in said or "no endpoint" in said, (name, action.dest, said)
            tried += 1
    assert tried > 150


@pytest.mark.parametrize("command", ["coordinator", "rendezvous", "local", "run", "doctor"])
def test_every_option_of_a_daemon_that_is_a_name_or_a_path_refuses_an_empty_text(capfd: Any, command: str) -> None:
    rows: list[Any] = []
    accumulateClassList(import_module(f"mu_twisted.daemons.{command}").Options, "optParameters", rows)
    texts = {row[0] for row in rows if len(row) < 5} - {"profile"}
    assert len(texts) > 4
    for name in texts:
        assert f"--{name}: expected a value, got ''" in refusal(capfd, command, f"--{name}=")


@pytest.mark.parametrize("command", ["coordinator", "rendezvous", "local", "run", "doctor"])
def test_every_option_of_a_daemon_that_converts_names_itself_in_what_it_refuses(command: str) -> None:
    rows: list[Any] = []
    accumulateClassList(import_module(f"mu_twisted.daemons.{command}").Options, "optParameters", rows)
    converted = {row[0]: row[4] for row in rows if len(row) > 4}
    assert converted
    for name, convert in converted.items():
        for text, hint in ("", ": is a variable empty?"), ("\N{ARABIC-INDIC DIGIT ONE}!", ""):
            with pytest.raises(ValueError, match=f"^--{name}: expected .*, got ") as refused:
                convert(text)
            assert str(refused.value).endswith(f", got {text!r}{hint}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["coordinator", "--worker-limit", "9999999"],
            "--worker-limit: expected a whole number from 1 to 1000000, got",
        ),
        (["coordinator", "--launch-rate", "1e9"], "--launch-rate: expected a number above 0, at most 100000, got"),
        (["coordinator", "--keep", "40000"], "--keep: expected a number of days from 0 to 36500, got"),
        (["coordinator", "--user-code-limit", "4000"], "--user-code-limit: expected seconds from 0.05 to 3600, got"),
        (["coordinator", "exec", "-m", "2e6", "true"], "-m: expected a number of seconds above 0, below 1000000, got"),
        (["run", "exec", "--max-cost", "1e9", "true"], "--max-cost: expected an amount above 0, below 1000000000, got"),
        (
            ["run", "exec", "--speculate", "1e6", "true"],
            "--speculate: expected a number of at least 1, below 1000000, ",
        ),
        (["local", "--concurrency", "100001"], "--concurrency: expected a whole number from 1 to 100000, got"),
        (["local", "--s3-port", "65536"], "--s3-port: expected a port from 0 to 65535, got"),
    ],
)
def test_a_number_that_is_too_large_is_told_the_bound(capfd: Any, words: list[str], said: str) -> None:
    assert said in refusal(capfd, *words)


@pytest.mark.parametrize("pipeline", pipeline_names())
def test_every_option_of_a_job_that_is_a_name_or_a_path_refuses_an_empty_text(pipeline: str) -> None:
    settings = load_pipeline(pipeline).options()
    texts = [row[0] for row in settings.parameters() if len(row) < 5]
    assert {"bucket", "function", "times", "retry-memory"} <= set(texts)
    for name in texts:
        with pytest.raises(UsageError, match=f"^--{name}: expected a value, got ''"):
            settings.check_words([f"--{name}", "", "--", "true"])
    settings.check_words(["--bucket=b", "--", ""])


@pytest.mark.parametrize("option", ["out", "bucket", "program", "requirements", "function"])
def test_the_python_client_refuses_an_empty_text(option: str, tmp_path: Any) -> None:
    from mu_twisted.client.map_backend import MapBackend
    from mu_twisted.client.map_job import checked_job, function_options
    from mu_twisted.client.map_request import MapRequest

    client = connect(state_dir=tmp_path)
    options, program = client._options({option: ""} if option != "out" else {}, "mu.map")
    request = MapRequest(
        ("true",), values=[["a"]], out="" if option == "out" else None, options=options, program=program
    )

    def ask() -> None:
        backend = MapBackend(client.coordinator, client._place, print)
        function_options(request.program, request.options.get("function"), backend)
        checked_job(request, backend, print)

    with pytest.raises(ClientUsageError, match="expected (a value|s3://BUCKET/KEY, .*), got ''"):
        ask()


@pytest.mark.parametrize("words", [["--nothing"], ["--json", "jobs"], ["-c", "x"], ["-x"]])
def test_an_option_before_the_command_is_told_so(capfd: Any, words: list[str]) -> None:
    assert refusal(capfd, *words).startswith(f"error: expected a command, got {words[0]}: mu COMMAND [options] (")


def test_a_command_that_is_missing_is_told_so(capfd: Any) -> None:
    assert refusal(capfd).startswith("error: expected a command: mu COMMAND [options] (")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["demo", "--frames", "7", "--workers", "2"], "error: 7 frames do not make 2 equal chunks: choose a multiple"),
        (["demo", "--frames", "x"], "argument --frames: expected a whole number from 1 to 100000, got 'x'"),
        (["demo-shuffle", "--tasks", "0"], "argument --tasks: expected a whole number from 1 to 200, got '0'"),
        (["demo-shuffle", "--tasks", "1000000"], "from 1 to 200, got '1000000'"),
        (["demo-shuffle", "--records", "9" * 5000], "argument --records: expected a whole number from 1 to 10000000"),
        (["demo-video", "--seconds", "1e9"], "argument --seconds: expected a whole number from 1 to 600, got '1e9'"),
        (["demo-xcenc", "--chunks", "-1"], "argument --chunks: expected"),
        (["demo-xcenc", "--group", "\u0661"], "argument --group: expected a whole number from 1 to 200"),
        (["lambdaize", "x", "", "", "--copies", "\u0661"], "argument --copies: expected a whole number from 1 to "),
    ],
)
def test_a_number_that_cannot_be_is_told_before_anything_begins(capfd: Any, words: list[str], said: str) -> None:
    assert said in refusal(capfd, *words)


TWICE = "was given twice: separate its values by commas"


@pytest.mark.parametrize(
    ("words", "switch"),
    [
        (["map", "--with=a", "--with", "b", ":::", "x", "--", "true"], "--with"),
        (["map", "--exclude", "a", "--exclude=b", ":::", "x", "--", "true"], "--exclude"),
        (["map", "-r", "us-east-1", "--regions=eu-west-1", ":::", "x", "--", "true"], "--regions"),
        (["map", "--retry-exit=1", "--retry-exit=2", ":::", "x", "--", "true"], "--retry-exit"),
        (["lambdaize", "--exclude=a", "--exclude=b", "x"], "--exclude"),
        (["functions", "--region=us-east-1", "--region=eu-west-1"], "--region"),
        (["iam", "coordinator", "--region=us-east-1", "--region=eu-west-1"], "--region"),
        (["run", "--program=x", "--with=a", "--with=b", "exec", "--", "true"], "--with"),
        (["run", "--program=x", "--with=a", "exec", "--with=b", "--", "true"], "--with"),
        (["run", "exec", "--program=x", "--exclude=a", "--exclude=b", "--", "true"], "--exclude"),
        (["run", "exec", "-r", "us-east-1", "--regions=eu-west-1", "--", "true"], "--regions"),
        (["doctor", "exec", "--retry-exit=1", "--retry-exit=2", "--", "true"], "--retry-exit"),
        (["submit", "exec", "--retry-exit=1", "--retry-exit=2", "--", "true"], "--retry-exit"),
    ],
)
def test_a_list_that_is_given_twice_is_refused(capfd: Any, words: list[str], switch: str) -> None:
    assert f"{switch} {TWICE}" in refusal(capfd, *words)


def test_a_list_whose_default_or_setting_is_typed_over_once_is_not_refused() -> None:
    assert parsed(["functions", "--region=us-east-1,eu-west-1"]).region == ["us-east-1", "eu-west-1"]
    load_pipeline("exec").options().check_words(["-r", "us-east-1", "-n", "1", "-n", "2", "--", "true"])


@pytest.mark.parametrize("pipeline", ["faces", "film", "exec"])
def test_the_help_of_a_pipeline_shows_the_profile_that_it_takes(capfd: Any, pipeline: str) -> None:
    with pytest.raises(SystemExit):
        main(["run", pipeline, "--help"])
    assert capfd.readouterr().out.count("--profile=") == 1

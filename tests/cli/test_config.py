"""The configuration in commands: a default of every way to give an option, and what is typed counts more."""

import json
from pathlib import Path

import pytest
from command_line import Mu

from mu_twisted.cli._configured import take_profile
from mu_twisted.cli._main import parsed
from mu_twisted.client import UsageError
from mu_twisted.config import SETTINGS
from mu_twisted.daemons.run import Options as RunOptions

FILE = """
[defaults]
bucket = "mine"
region = "eu-west-1"
function = "shell"
max-workers = 7
launch-rate = 50
state-dir = "/state"
memory = 2048

[profiles.made]
program = "/bin/gzip"

[profiles.far]
server = "host:1"

[profiles.both]
server = "host:1"
state-dir = "/there"
"""


@pytest.fixture(autouse=True)
def config(run: Mu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "mu.toml"
    path.write_text(FILE)
    return path


def run_options(*words: str) -> RunOptions:
    """The options of ``mu run``, as the command parses them."""
    options = parsed(["run", *words])
    found: RunOptions = type("Options", (RunOptions,), {"configured": options.configured})()
    found.parseOptions(options.words)
    return found


def test_a_job_has_what_is_configured_and_takes_it_along() -> None:
    found = run_options("exec", "--", "true")
    settings = found.settings
    assert (settings["bucket"], settings["regions"], settings["function"]) == ("mine", ("eu-west-1",), "shell")
    assert (settings["max-workers"], found["launch-rate"], found["state-dir"]) == (7, 50.0, "/state")
    assert found.request is not None
    assert "--bucket=mine" in found.request.words
    assert "--max-workers=7" in found.request.words
    assert not any("launch-rate" in word or "state-dir" in word for word in found.request.words)


def test_what_is_typed_counts_more_wherever_it_stands() -> None:
    found = run_options("--state-dir", "/a", "exec", "-b", "typed", "-l", "f", "--launch-rate", "3", "--", "true")
    assert (found.settings["bucket"], found.settings["function"]) == ("typed", "f")
    assert (found["state-dir"], found["launch-rate"]) == ("/a", 3.0)


def test_the_words_of_a_command_are_left_alone() -> None:
    found = run_options("exec", "--", "echo", "--profile", "x", "--bucket=y")
    assert found.settings["command"] == "echo --profile x --bucket=y"


def test_a_pipelines_own_options_are_no_settings_of_another() -> None:
    assert run_options("xcenc", "-n", "2").settings["rendezvous-port"] == 13337
    assert "rendezvous-port" not in run_options("exec", "--", "true").settings


def test_of_program_and_function_the_nearer_one_counts() -> None:
    assert run_options("exec", "--", "true")["program"] is None
    assert run_options("exec", "--", "true")["memory"] is None  # there is no function to make
    found = run_options("--profile", "made", "exec", "--", "true")
    assert (found["program"], found["memory"]) == ("/bin/gzip", 2048)
    assert found.settings["function"] == "exec"
    found = run_options("--profile=made", "exec", "-l", "f", "--", "true")
    assert (found["program"], found["memory"], found.settings["function"]) == (None, None, "f")
    found = run_options("exec", "--program", "/bin/cat", "--", "true")
    assert (found["program"], found.settings["function"]) == ("/bin/cat", "exec")


def test_argparses_commands_have_it_too() -> None:
    assert parsed(["cp", "a", "b"]).region == ["eu-west-1"]
    assert parsed(["cp", "--region", "us-west-2", "a", "b"]).region == ["us-west-2"]
    assert parsed(["cp", "a", "b"]).state_dir == Path("/state/local")
    assert parsed(["jobs"]).state_dir == Path("/state")
    assert vars(parsed(["map", "x", "--", "true"]))["job max-workers"] == "7"
    assert parsed(["lambdaize", "x"]).memory == 2048


def test_of_server_and_state_directory_the_nearer_one_counts(run: Mu, monkeypatch: pytest.MonkeyPatch) -> None:
    found = parsed(["--profile", "far", "jobs"])
    assert (found.server, found.state_dir) == ("host:1", None)
    found = parsed(["jobs", "--profile", "far", "--state-dir", "/typed"])
    assert (found.server, found.state_dir) == (None, Path("/typed"))
    monkeypatch.setenv("MU_SERVER", "other:2")
    assert parsed(["jobs"]).server == "other:2"
    said = run("jobs", "--profile", "both").error()  # both are less near than the variable
    assert "--server needs -c too" in said
    monkeypatch.delenv("MU_SERVER")
    assert "exclude one another" in run("jobs", "--profile", "both").error()


def test_config_says_where_each_value_comes_from(run: Mu, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MU_BUCKET", "ours")
    facts = json.loads(run("config", "--json", "--profile", "made").out)
    assert (facts["file"], facts["profile"]) == (str(config), "made")
    settings = facts["settings"]
    assert set(settings) == {each.name for each in SETTINGS}
    assert settings["bucket"] == {"value": "ours", "source": "environment", "where": "MU_BUCKET"}
    assert settings["program"]["where"] == f"{config}: [profiles.made] program"
    assert settings["region"]["source"] == "defaults"
    assert settings["retries"] == {"value": "2", "source": "built in", "where": None}
    shown = run("config").out
    assert "bucket" in shown
    assert "retries" not in shown
    assert "retries" in run("config", "--all").out


@pytest.mark.parametrize(
    "command", [("jobs",), ("run", "exec", "--", "true"), ("config",), ("local",), ("cp", "a", "b")]
)
def test_a_wrong_configuration_is_one_line_and_status_2(run: Mu, config: Path, command: tuple[str, ...]) -> None:
    config.write_text("[defaults]\nbuckets = 1")
    said = run(*command)
    assert said.status == 2
    assert (
        said.error()
        == f"error: {config}: [defaults] buckets is no setting, bucket is: `mu config` lists those there are\n"
    )


def test_the_help_is_shown_whatever_is_configured(run: Mu, config: Path) -> None:
    config.write_text("[defaults]\nbuckets = 1")
    for words in (["jobs", "--help"], ["config", "--help"], ["run", "--help"]):
        assert run(*words).status == 0


@pytest.mark.parametrize(
    ("words", "left", "name"),
    [
        (["run", "x"], ["run", "x"], None),
        (["--profile", "a", "run", "x"], ["run", "x"], "a"),
        (["run", "x", "--profile=a"], ["run", "x"], "a"),
        (["run", "--profile", "a", "x", "--profile", "b"], ["run", "x"], "b"),
        (["run", "x", "--", "--profile", "a"], ["run", "x", "--", "--profile", "a"], None),
        (["map", ":::", "--profile", "a"], ["map", ":::", "--profile", "a"], None),
    ],
)
def test_a_profile_is_taken_from_before_a_double_dash(words: list[str], left: list[str], name: str | None) -> None:
    assert take_profile(words) == (left, name)


@pytest.mark.parametrize("words", [["--profile"], ["--profile", "--local"], ["--profile="]])
def test_a_profile_needs_its_name(words: list[str]) -> None:
    with pytest.raises(UsageError, match="needs the name"):
        take_profile(["run", *words])

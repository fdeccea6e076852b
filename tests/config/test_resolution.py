"""Where a value comes from: the environment before the profile, that before the defaults; what is wrong is one line."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.config import ConfigError, config_path, resolve

FILE = """
[defaults]
bucket = "mine"
retries = 5
region = ["eu-west-1", "us-east-1"]
local = true
state-dir = "~/mu"

[profiles.work]
bucket = "theirs"
local = false
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "mu.toml").write_text(FILE)
    return tmp_path


def value_of(home: Path, name: str, profile: str | None = None, **environ: str) -> tuple[str | bool | None, str]:
    found = resolve({"XDG_CONFIG_HOME": str(home), "HOME": "/home/me", **environ}, profile)[name]
    return found.value, found.source


def test_the_nearest_place_counts(home: Path) -> None:
    assert value_of(home, "bucket") == ("mine", "defaults")
    assert value_of(home, "bucket", "work") == ("theirs", "profile")
    assert value_of(home, "bucket", MU_PROFILE="work") == ("theirs", "profile")
    assert value_of(home, "bucket", "work", MU_BUCKET="ours") == ("ours", "environment")
    assert value_of(home, "function", "work") == (None, "built in")
    assert value_of(home, "local", "work") == (False, "profile")
    assert value_of(home, "local", MU_LOCAL="0") == (False, "environment")
    assert value_of(home, "retries") == ("5", "defaults")
    assert value_of(home, "retries", MU_RETRIES="") == ("5", "defaults")
    assert value_of(home, "region") == ("eu-west-1,us-east-1", "defaults")


def test_the_embedded_stack_is_in_the_state_directory_unless_another_is_named(home: Path) -> None:
    state = f"{Path.home()}/mu"
    assert value_of(home, "local-state-dir") == (f"{state}/local", "defaults")
    assert value_of(home, "local-state-dir", MU_LOCAL_STATE_DIR="/there") == ("/there", "environment")
    environ = {"XDG_CONFIG_HOME": str(home)}
    assert resolve(environ, None, "cp")["local-state-dir"].value == f"{state}/local"
    assert resolve(environ, None, "run")["local-state-dir"].value is None  # --state-dir may say another there


def test_older_variables_count_for_their_commands_and_after_ours(home: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(home), "REGION": "ap-east-1", "AWS_ROLE": "arn:aws:iam::1:role/r"}
    assert resolve(environ, None, "lambdaize")["region"].value == "ap-east-1"
    assert resolve(environ, None, "run")["region"].value == "eu-west-1,us-east-1"
    assert resolve(environ, None, "run")["role"].where == "AWS_ROLE"
    environ["MU_REGION"] = "eu-north-1"
    assert resolve(environ, None, "lambdaize")["region"].value == "eu-north-1"


def test_the_file_is_where_xdg_has_it() -> None:
    assert config_path({"HOME": "/home/me"}) == Path("/home/me/.config/mu.toml")
    assert config_path({"HOME": "/home/me", "XDG_CONFIG_HOME": "/etc/me"}) == Path("/etc/me/mu.toml")
    assert config_path({"HOME": "/home/me", "XDG_CONFIG_HOME": "relative"}) == Path("/home/me/.config/mu.toml")


def test_without_a_file_nothing_is_set(tmp_path: Path) -> None:
    assert {each.source for each in resolve({"XDG_CONFIG_HOME": str(tmp_path)}).values()} == {"built in"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[defaults]\nbuckets = 'x'", "[defaults] buckets is no setting, bucket is: `mu config`"),
        ("[defaults]\nzzz = 1", "[defaults] zzz is no setting: `mu config`"),
        ("[defaults]\nmax_workers = 1", "[defaults] max_workers is no setting, max-workers is"),
        ("[profiles.a]\nretries = -1", "[profiles.a] retries: expected a whole number from 0 to 1000000, got -1"),
        ("[profiles.a]\nretries = true", "[profiles.a] retries: expected a whole number from 0 to 1000000, got True"),
        ("[profiles.a]\nretries = 1.5", "got 1.5"),
        ("[defaults]\nlocal = 'perhaps'", "local: expected true or false, got perhaps"),
        ("[defaults]\nlocal = 1", "local: expected true or false, got 1"),
        ("[defaults]\nbucket = ['a']", "bucket: expected a bucket's name, got ['a']"),
        ("[defaults]\nbucket = 'a\\nb'", "bucket: expected"),
        ('[defaults]\nbucket = "a\\nb"', "bucket: expected a bucket's name, got 'a\\nb'"),
        ("[defaults]\nstate-dir = 'here'", "state-dir: expected a path that begins with / or ~/, got here"),
        ("[defaults]\nregion = [1]", "region: expected a region, or several, got [1]"),
        ("[defaults]\nserver = 'host'", "server: expected HOST:PORT, got host"),
        ("[defaults]\nendpoint-url = 'ftp://x'", "endpoint-url: expected a URL"),
        ("[defaults]\nmax-cost = inf", "max-cost: expected an amount above 0, below 1000000000, got inf"),
        ("[defaults]\nbucket = 'x", "is no TOML: "),
        ("[defaults]\nretries = 1\nretries = 2", "is no TOML: "),
        ("bucket = 'x'", "bucket stands in no table: put [defaults] above it"),
        ("colour = 'x'", "colour: expected the tables [defaults] and [profiles.NAME]"),
        ("defaults = 3", "defaults: expected a table, got 3"),
        ("profiles = 3", "profiles: expected a table, got 3"),
        ("[profiles]\nwork = 3", "[profiles] work: expected a table [profiles.work], got 3"),
        ("[profiles.'a b']\nretries = 1", "a profile's name has letters"),
        (f"[defaults]\nbucket = '{'x' * 5000}'", "bucket: expected a bucket's name"),
        ("[defaults]\nx = " + "[" * 5000, "is no TOML"),
    ],
)
def test_what_is_wrong_in_the_file_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "mu.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        resolve({"XDG_CONFIG_HOME": str(tmp_path)})
    line = str(caught.value)
    assert said in line
    assert str(tmp_path / "mu.toml") in line
    assert "\n" not in line
    assert len(line) < 500


@pytest.mark.parametrize(
    "text",
    [
        "aws_secret_access_key = 'hunter2'",
        "[defaults]\naws-secret-access-key = 'hunter2'",
        "[defaults]\npassword = 'hunter2'",
        "[profiles.a]\nsession_token = 'hunter2'",
        "[defaults]\naccess-key = 'hunter2'",
        "[defaults]\nfunction = 'AKIAHUNTER2HUNTER2HU'",
        "[defaults]\nendpoint-url = 'https://me:hunter2@host'",
        '[defaults]\nkey = """-----BEGIN PRIVATE KEY-----\nhunter2"""',
    ],
)
def test_a_credential_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    (tmp_path / "mu.toml").write_text(text)
    with pytest.raises(ConfigError, match="looks like a credential") as caught:
        resolve({"XDG_CONFIG_HOME": str(tmp_path)})
    assert "hunter2" not in str(caught.value).lower()


def test_the_name_of_a_key_file_is_no_credential(tmp_path: Path) -> None:
    (tmp_path / "mu.toml").write_text("[defaults]\nkey = '/home/me/alice_key.pem'")
    assert value_of(tmp_path, "key") == ("/home/me/alice_key.pem", "defaults")


def test_a_profile_that_is_not_there_is_named_with_those_that_are(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"--profile: there is no profile 'home' in .*mu.toml: it has work"):
        value_of(home, "bucket", "home")
    with pytest.raises(ConfigError, match=r"MU_PROFILE: there is no profile 'x'"):
        value_of(home, "bucket", MU_PROFILE="x")
    with pytest.raises(ConfigError, match="there is no such file"):
        value_of(tmp_path / "none", "bucket", "home")


def test_a_variable_that_is_wrong_is_named(home: Path) -> None:
    with pytest.raises(ConfigError, match=r"^MU_RETRIES: expected a whole number from 0 to 1000000, got 'many'$"):
        value_of(home, "bucket", MU_RETRIES="many")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "mu.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot read .*mu.toml: Is a directory"):
        resolve({"XDG_CONFIG_HOME": str(tmp_path)})
    (tmp_path / "mu.toml").rmdir()
    (tmp_path / "mu.toml").write_bytes(b"[defaults]\n\nbucket = '\xff'")
    with pytest.raises(ConfigError, match=r"mu.toml, line 3: it is not UTF-8"):
        resolve({"XDG_CONFIG_HOME": str(tmp_path)})
    (tmp_path / "mu.toml").write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(ConfigError, match="has more than"):
        resolve({"XDG_CONFIG_HOME": str(tmp_path)})


@given(st.text(max_size=200))
def test_no_text_is_anything_but_a_configuration_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    directory = tmp_path_factory.mktemp("config")
    (directory / "mu.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    said = ""
    try:
        resolve({"XDG_CONFIG_HOME": os.fspath(directory)})
    except ConfigError as error:
        said = str(error)
    assert "\n" not in said

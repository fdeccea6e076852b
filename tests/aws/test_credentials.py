"""Credentials by botocore's chain, and nothing secret in what can be printed."""

import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from warm_processes import LIMIT

from mu_twisted.aws import AWSError, aws_session, credentials_chain, current_keys
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.daemons._cloud import Cloud
from mu_twisted.jobs import Answer
from mu_twisted.launch import Launch
from mu_twisted.launch._region import RegionLauncher


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_the_seeds_two_variables_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "shhh")
    assert current_keys(aws_session()) == AccessKeys("AKIDEXAMPLE", "shhh", None)


def test_keys_that_are_given_are_used_as_they_are() -> None:
    keys = AccessKeys("A", "B", "C")
    assert current_keys(aws_session(keys)) == keys


def test_none_at_all_is_one_line_that_names_both_ways_out() -> None:
    with pytest.raises(AWSError) as caught:
        current_keys(aws_session())
    assert "AWS_ACCESS_KEY_ID" in str(caught.value)
    assert "--local" in str(caught.value)


def test_a_profile_that_does_not_exist_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nosuch")
    with pytest.raises(AWSError, match="nosuch"):
        current_keys(aws_session())


def test_the_text_of_keys_shows_no_secret() -> None:
    assert "shhh" not in repr(AccessKeys("A", "shhh", "shhh-token"))


ISSUER = """\
import datetime, json, pathlib, sys
counter = pathlib.Path(sys.argv[1])
number = int(counter.read_text() or 0) + 1 if counter.exists() else 1
counter.write_text(str(number))
lasts = datetime.timedelta(seconds=float(sys.argv[2]))
end = datetime.datetime.now(datetime.timezone.utc) + lasts
print(json.dumps({
    "Version": 1, "AccessKeyId": f"AKID{number}", "SecretAccessKey": "s" * 40, "SessionToken": f"token-{number}",
    "Expiration": end.isoformat(),
}))
"""


@pytest.fixture
def issuer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Path]:
    """A program that issues keys, each good for so many seconds, as single sign-on's do; returns what counts them."""

    def use(lasts: float) -> Path:
        (tmp_path / "issue.py").write_text(ISSUER)
        counter = tmp_path / "issued"
        config = tmp_path / "config"
        program = f"{sys.executable} {tmp_path / 'issue.py'} {counter} {lasts}"
        config.write_text(f"[default]\ncredential_process = {program}\n")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
        return counter

    return use


def test_keys_that_last_are_asked_for_once_and_not_before_they_are_wanted(issuer: Callable[[float], Path]) -> None:
    counter = issuer(3600)
    keys_now = credentials_chain()
    session = aws_session()
    assert not counter.exists()
    assert [keys_now().access_key for _ in range(5)] == ["AKID1"] * 5
    assert current_keys(session).token == "token-2"  # another session's own


def test_keys_are_renewed_before_they_expire(issuer: Callable[[float], Path]) -> None:
    issuer(300)  # botocore renews what has less than 15 minutes left
    session = aws_session()
    assert [current_keys(session).access_key for _ in range(3)] == ["AKID2", "AKID3", "AKID4"]


class Signed(BaseHTTPRequestHandler):
    """Takes launches and notes whose key they were signed with."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, str]]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
        self.seen.append((key, self.headers["X-Amz-Security-Token"]))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def test_in_mid_launch_each_batch_is_signed_with_the_keys_of_that_moment(issuer: Callable[[float], Path]) -> None:
    issuer(300)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Signed)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        endpoint = f"http://127.0.0.1:{server.server_port}"
        cloud = Cloud(aws_session(), lambda _region: endpoint, None)
        launcher = RegionLauncher(endpoint, "us-east-1", cloud.credentials, pool_size=1)
        for number in range(3):
            answers: list[Answer] = []
            assert launcher.perform([Launch(str(number), "us-east-1", "f", b"{}")], answers.extend) == ""
            assert [answer.status for answer in answers] == [202]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    keys = [key for key, _ in Signed.seen]
    assert len(set(keys)) == 3
    assert [token for _, token in Signed.seen] == [key.replace("AKID", "token-") for key in keys]


def test_an_issuer_that_fails_is_one_line_and_ends_the_batch_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_text("[default]\ncredential_process = /bin/false\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    cloud = Cloud(aws_session(), lambda _region: "http://127.0.0.1:9", None)
    launcher = RegionLauncher("http://127.0.0.1:9", "us-east-1", cloud.credentials)
    reason = launcher.perform([Launch("1", "us-east-1", "f", b"{}")], lambda answers: None)
    assert reason.startswith("cannot get AWS credentials: ")
    assert "\n" not in reason


class Issuing(BaseHTTPRequestHandler):
    """Plays the services that issue keys on AWS: an instance's, a container's, and single sign-on's."""

    def do_PUT(self) -> None:
        self._say("instance-token")

    def do_GET(self) -> None:
        end = datetime.now(UTC) + timedelta(hours=6)
        keys = {"SecretAccessKey": "s" * 40, "Token": "t", "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ")}
        if self.path.startswith("/federation/credentials") and self.headers["x-amz-sso_bearer_token"] == "logged-in":
            names = {"accessKeyId": "SSO", "secretAccessKey": "s" * 40, "sessionToken": "t"}
            self._say(json.dumps({"roleCredentials": {**names, "expiration": int(end.timestamp() * 1000)}}))
        elif self.path == "/container" and self.headers["Authorization"] == "container-token":
            self._say(json.dumps({"AccessKeyId": "CONTAINER", **keys}))
        elif self.headers["x-aws-ec2-metadata-token"] == "instance-token":
            role = json.dumps({"Code": "Success", "AccessKeyId": "INSTANCE", **keys})
            self._say("mu-coordinator" if self.path.endswith("/") else role)
        else:
            self.send_error(403)

    def _say(self, text: str) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def issuing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Issuing)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def profile(home: Path, url: str) -> dict[str, str]:
    (home / ".aws" / "credentials").write_text("[work]\naws_access_key_id = PROFILE\naws_secret_access_key = s\n")
    return {"AWS_PROFILE": "work"}


def single_sign_on(home: Path, url: str) -> dict[str, str]:
    place = "sso_region = us-east-1\nsso_start_url = https://mine.awsapps.com/start\n"
    role = "sso_account_id = 123456789012\nsso_role_name = operator\nsso_session = mine\n"
    (home / ".aws" / "config").write_text(f"[default]\n{role}[sso-session mine]\n{place}")
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "logged-in", "expiresAt": "2999-01-01T00:00:00Z", "region": "us-east-1"}
    (cache / f"{hashlib.sha1(b'mine').hexdigest()}.json").write_text(json.dumps(token))
    return {"AWS_ENDPOINT_URL_SSO": url}


def container(home: Path, url: str) -> dict[str, str]:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/container",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "container-token",
    }


ASK = f"""
from botocore.utils import ContainerMetadataFetcher
from mu_twisted.aws import credentials_chain
ContainerMetadataFetcher.TIMEOUT_SECONDS = {LIMIT}  # no variable says it
print(credentials_chain()().access_key)
"""


def instance(home: Path, url: str) -> dict[str, str]:
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": url, "AWS_METADATA_SERVICE_TIMEOUT": f"{LIMIT:.0f}"}


@pytest.mark.parametrize(
    ("where", "key"),
    [(profile, "PROFILE"), (single_sign_on, "SSO"), (container, "CONTAINER"), (instance, "INSTANCE")],
)
def test_keys_are_found_wherever_awss_own_tools_find_them(
    tmp_path: Path, issuing: str, where: Callable[[Path, str], dict[str, str]], key: str
) -> None:
    (tmp_path / ".aws").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", **where(tmp_path, issuing)},
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert done.stdout == f"{key}\n", done.stderr

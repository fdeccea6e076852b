"""A stack on a machine whose own configuration is not made for it."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path

import pytest

from mu_twisted.aws import Clients, aws_session
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.cli import main
from mu_twisted.local import Stack, start
from mu_twisted.local._s3 import client

ODD = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "AWS_PROFILE": "of-another-machine",
    "AWS_USE_DUALSTACK_ENDPOINT": "true",
    "AWS_DEFAULTS_MODE": "unheard-of",
    "AWS_RETRY_MODE": "unheard-of",
    "AWS_S3_US_EAST_1_REGIONAL_ENDPOINT": "unheard-of",
}


@pytest.mark.parametrize("name", [*ODD, "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "HOME"])
def test_our_own_client_asks_nothing_of_the_host(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".aws").mkdir()
    for broken in ("config", "credentials"):
        (tmp_path / ".aws" / broken).write_text("[profile x\nfoo")
    monkeypatch.setenv(name, ODD.get(name, str(tmp_path if name == "HOME" else tmp_path / ".aws" / "config")))
    made = client("http://127.0.0.1:1", "A", "B", "us-east-1")
    assert made.meta.endpoint_url == "http://127.0.0.1:1"
    assert made.meta.config.proxies == {}


def check_both(stack: Stack) -> None:
    """Its S3 keeps an object, and its Lambda runs a function."""
    keys = AccessKeys(stack.access_key, stack.secret_key)
    clients = Clients(
        aws_session(keys), stack.region, lambda_endpoint=stack.lambda_endpoint, s3_endpoint=stack.s3_endpoint
    )
    clients.s3.create_bucket(Bucket="bucket")
    clients.s3.put_object(Bucket="bucket", Key="key", Body=b"x" * 100_000)
    assert clients.s3.head_object(Bucket="bucket", Key="key")["ContentLength"] == 100_000
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("m.py", "def handler(event, context):\n    return 7\n")
    role = "arn:aws:iam::000000000000:role/any"
    clients.awslambda.create_function(
        FunctionName="f", Runtime="python3.12", Role=role, Handler="m.handler", Code={"ZipFile": package.getvalue()}
    )
    answer = clients.awslambda.invoke(FunctionName="f", Payload=b"{}")
    with answer["Payload"] as body:
        assert body.read() == b"7"


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm")  # noqa: S108
def test_a_stacks_state_may_lie_in_shared_memory() -> None:
    with tempfile.TemporaryDirectory(prefix="mu-test-", dir="/dev/shm") as state:  # noqa: S108
        running = start(Path(state))
        try:
            check_both(running.stack)
        finally:
            running.stop()


@pytest.mark.process
def test_a_stack_works_behind_a_proxy_on_any_host_in_a_directory_of_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    for name in ("HTTP_PROXY", "AWS_PROFILE"):
        monkeypatch.setenv(name, ODD[name])
    (tmp_path / "config").write_text("[default]\ns3 =\n  use_accelerate_endpoint = true\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    # SeaweedFS and sys.path take lists that are split at a comma or a colon.
    (tmp_path / "a").mkdir()
    state = tmp_path / "a:b,c d" / "state"
    state.mkdir(parents=True)
    state.chmod(0o777)
    running = start(state, options=["--spawn=plain"])
    try:
        check_both(running.stack)
        assert main(["local-env", "--state-dir", str(running.state_dir)]) == 0
        assert "others can write to the directory" in (state / "local.log").read_text()
        assert "export NO_PROXY=example.org,127.0.0.1 no_proxy=example.org,127.0.0.1\n" in capsys.readouterr().out
        assert main(["ls", "--local", "--state-dir", str(running.state_dir)]) == 0
        assert "bucket" in capsys.readouterr().out
    finally:
        running.stop()

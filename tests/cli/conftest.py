"""moto's server in place of AWS, and a coordinator's control API that commands find."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import botocore_models
import pytest
from command_line import OPERATOR, Mu, Said
from control_server import Served, control_loop, served_control  # noqa: F401 - fixtures
from moto_account import Account

from mu_twisted.cli import main

botocore_models.share()


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def account(moto_server: str, tmp_path: Path) -> Account:
    return Account(moto_server, tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mu:
    """Runs a command in this process, in an empty directory and environment."""
    for name in [name for name in os.environ if name.startswith(("MU_", "AWS_"))]:
        monkeypatch.delenv(name)
    for name in ("CA_CERT", "STATE_DIRECTORY", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home" / "state"))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> Said:
        try:
            status = main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        return Said(status, *capsys.readouterr())

    return run


@pytest.fixture(params=["unix", "tls"])
def mu(request: pytest.FixtureRequest, run: Mu, served: Served, monkeypatch: pytest.MonkeyPatch) -> Mu:
    """Runs a command that finds the coordinator, one way or the other."""
    if request.param == "unix":
        (served.state / "home" / "state").mkdir(parents=True)
        (served.state / "home" / "state" / "mu").symlink_to(served.state)
    else:
        ca, cert, key = served.files(OPERATOR, "alice")
        monkeypatch.setenv("MU_SERVER", f"127.0.0.1:{served.control.port}")
        monkeypatch.setenv("CA_CERT", ca)
        monkeypatch.setenv("MU_CERT", cert)
        monkeypatch.setenv("MU_KEY", key)
    return run

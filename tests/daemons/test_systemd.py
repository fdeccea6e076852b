"""The units and the template in etc/, checked by the tools that read them, and the notify protocol.

PID 1 is not systemd on every machine that tests run on: the units are verified here, and booted in the module beside
where that may be.
"""

import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import pytest
from free_ports import held_ports
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from mu_twisted.daemons._notify import Notifier

ETC = Path(__file__).resolve().parents[2] / "etc"
UNITS = ("mu-coordinator", "mu-rendezvous")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd's tools")


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units as the script installs them, for a mu that is where the tests' is."""
    environment = {**os.environ, "ROOT": str(tmp_path), "PREFIX": sys.prefix}
    subprocess.run(["sh", ETC / "install-units.sh"], check=True, env=environment, timeout=180)
    return tmp_path / "etc" / "systemd" / "system"


@needs_systemd
def test_the_units_are_what_systemd_takes(installed: Path) -> None:
    units = [str(path) for path in sorted(installed.iterdir())]
    assert len(units) == 4
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True, timeout=180, check=False
    )
    ours = [line for line in (checked.stdout + checked.stderr).splitlines() if "mu-" in line]
    assert ours == []


@needs_systemd
@pytest.mark.parametrize("unit", UNITS)
def test_the_units_leave_little_open(installed: Path, unit: str) -> None:
    told = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(installed / f"{unit}.service")],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    ).stdout
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert found is not None, told
    assert float(found[1]) <= 2.0


def test_what_the_administrator_wrote_stays(tmp_path: Path) -> None:
    environment = {**os.environ, "ROOT": str(tmp_path)}
    for _ in range(2):
        subprocess.run(["sh", ETC / "install-units.sh"], check=True, env=environment, timeout=180)
        mine = tmp_path / "etc" / "mu" / "coordinator.env"
        assert mine.stat().st_mode & 0o777 == 0o600
        mine.write_text("MU_COORDINATOR_OPTIONS=--keep 1\n")
    assert mine.read_text() == "MU_COORDINATOR_OPTIONS=--keep 1\n"


@pytest.mark.long
def test_the_template_is_what_cloudformation_takes() -> None:
    checked = subprocess.run(
        [f"{sys.prefix}/bin/cfn-lint", ETC / "cloudformation.yaml"], capture_output=True, text=True, timeout=180
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


class Manager:
    """Stands for systemd's end of the notify socket."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.line.bind("\0" + path[1:] if path.startswith("@") else path)
        self.line.settimeout(180)

    def hears(self) -> str:
        return self.line.recv(4096).decode()


@pytest.fixture(params=["path", "abstract"])
def manager(request: Any, tmp_path: Path) -> Any:
    manager = Manager(str(tmp_path / "n") if request.param == "path" else f"@mu-test-{os.getpid()}")
    yield manager
    manager.line.close()


def test_ready_signs_of_life_and_the_end_are_told(manager: Manager) -> None:
    clock = Clock()
    environ = {"NOTIFY_SOCKET": manager.path, "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(clock, environ)
    notifier.ready("here")
    assert manager.hears() == "READY=1\nSTATUS=here"
    assert manager.hears() == "WATCHDOG=1"
    clock.advance(15.0)
    assert manager.hears() == "WATCHDOG=1"
    notifier.stopping()
    assert manager.hears() == "STOPPING=1"
    assert not clock.getDelayedCalls()


@pytest.mark.parametrize("watchdog", [{}, {"WATCHDOG_USEC": "5000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_without_a_watchdog_no_signs_of_life_are_told(manager: Manager, watchdog: dict[str, str]) -> None:
    clock = Clock()
    Notifier(clock, {"NOTIFY_SOCKET": manager.path, **watchdog}).ready("here")
    assert not clock.getDelayedCalls()


def test_without_a_manager_nothing_is_told_and_nothing_fails(tmp_path: Path) -> None:
    Notifier(Clock(), {}).ready("here")
    gone = Notifier(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    gone.ready("here")
    gone.stopping()


def test_a_manager_that_was_not_there_for_a_moment_is_told_again(tmp_path: Path) -> None:
    warned: list[Any] = []
    globalLogPublisher.addObserver(warned.append)
    notifier = Notifier(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "n")})
    notifier.say("WATCHDOG=1")
    notifier.say("WATCHDOG=1")
    globalLogPublisher.removeObserver(warned.append)
    assert len(warned) == 1
    manager = Manager(str(tmp_path / "n"))
    notifier.say("WATCHDOG=1")
    assert manager.hears() == "WATCHDOG=1"
    manager.line.close()


@pytest.fixture
def held_port() -> Iterator[int]:
    with held_ports() as port:
        yield port


@pytest.mark.process
@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd's tools")
@pytest.mark.parametrize("name", UNITS)
def test_a_daemon_takes_its_port_from_systemd_and_says_when_it_is_ready(
    tmp_path: Path, name: str, held_port: int
) -> None:
    manager = Manager(str(tmp_path / "notify"))
    (tmp_path / "run").mkdir()
    daemon = subprocess.Popen(
        [
            *("systemd-socket-activate", "--listen", f"127.0.0.1:{held_port}", f"--fdname={name}"),
            *("--setenv", f"NOTIFY_SOCKET={manager.path}", "--setenv", f"STATE_DIRECTORY={tmp_path}/state"),
            *("--setenv", f"RUNTIME_DIRECTORY={tmp_path}/run", "--setenv", f"PATH={os.environ['PATH']}"),
            *("--setenv", "WATCHDOG_USEC=3600000000"),  # the next sign of life would come in half an hour
            *(f"{sys.prefix}/bin/twistd", "-n", "--pidfile=", name, "-t", f"systemd:domain=INET:name={name}"),
        ],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        caller = _dial(held_port)
        assert manager.hears().startswith("READY=1\n")
        assert manager.hears() == "WATCHDOG=1"
        assert (tmp_path / "run" / "control.sock").exists() == (name == "mu-coordinator")
        caller.close()
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(180)
    assert manager.hears() == "STOPPING=1"
    manager.line.close()


@pytest.mark.process
def test_who_dials_while_the_daemon_is_restarted_is_served_by_the_next_one(tmp_path: Path) -> None:
    manager = Manager(str(tmp_path / "notify"))
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "STATE_DIRECTORY": str(tmp_path / "state"),
        "NOTIFY_SOCKET": manager.path,
        "LISTEN_FDS": "1",
        "LISTEN_FDNAMES": "mu-rendezvous",
    }
    words = f"{sys.prefix}/bin/twistd -n --pidfile= mu-rendezvous -t systemd:domain=INET:name=mu-rendezvous"
    # What systemd does: the socket as descriptor 3, and whom it is for.
    script = f"export LISTEN_PID=$$; exec {words} 3<&0 </dev/null"
    anyone = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    with socket.create_server(("127.0.0.1", 0)) as held:
        for _ in range(2):
            early = socket.create_connection(held.getsockname(), timeout=180)  # before there is a daemon
            daemon = subprocess.Popen(
                ["sh", "-c", script], stdin=held.fileno(), stderr=DEVNULL, stdout=DEVNULL, env=env
            )
            try:
                assert manager.hears().startswith("READY=1\n")
                with anyone.wrap_socket(early) as served:
                    assert served.getpeercert(binary_form=True)
            finally:
                daemon.terminate()
                daemon.wait(180)
            assert manager.hears() == "STOPPING=1"
    manager.line.close()


def _dial(port: int) -> socket.socket:
    deadline = time.monotonic() + 180
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=180)
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)

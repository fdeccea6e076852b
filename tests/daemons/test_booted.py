"""The units run by a systemd that is PID 1, if only of a namespace."""

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
CGROUPS = Path("/sys/fs/cgroup")
LIMIT = 600.0
"""Seconds for all of it."""

PROBE = """\
export HOME=/run/home
show() { systemctl show --value -p "$2" "$1"; }
ask() { /usr/bin/python3 -c '
import grp, os, socket, sys
os.setgroups([])
os.setgid(grp.getgrnam(sys.argv[1]).gr_gid)
os.setuid(54321)
asking = socket.socket(socket.AF_UNIX)
try:
    asking.connect("/run/mu/control.sock")
    asking.sendall(b"GET /v1/daemon HTTP/1.1\\r\\nHost: mu\\r\\n\\r\\n")
    print(asking.makefile().readline().split()[1])
except OSError as error:
    print(error.strerror)
' "$1"; }
echo "status $(show mu-coordinator StatusText), $(show mu-rendezvous StatusText)"
echo "users $(show mu-coordinator User) $(stat -c %a:%U /var/lib/private/mu)"
echo "member $(ask mu-operators)"
echo "stranger $(ask nogroup)"
echo "told $(/opt/mu/bin/mu status | head -n 1 | cut -d , -f 1 | cut -d ' ' -f 1)"
echo "submitted $(/opt/mu/bin/mu submit png2y4m -b mine 2>&1 | cut -d : -f 1-2)"
systemctl restart mu-coordinator
echo "restarted $(show mu-coordinator StatusText)"
watchdog=/etc/mu-units/mu-rendezvous.service.d/watchdog.conf
printf "[Service]\\nWatchdogSec=2\\n" > $watchdog
systemctl daemon-reload
systemctl restart mu-rendezvous
pid=$(show mu-rendezvous MainPID)
[ "$pid" = 0 ] || kill -STOP "$pid"
until [ "$(show mu-rendezvous NRestarts)" != 0 ]; do sleep 0.1; done
rm $watchdog
systemctl daemon-reload
systemctl start mu-rendezvous
echo "hung $(show mu-rendezvous StatusText)"
systemctl stop mu-coordinator.service 2> /dev/null
echo "stopped $(show mu-coordinator Result)"
echo end
"""


@pytest.fixture
def group() -> Iterator[str]:
    name = f"mu-test-{os.getpid()}"
    yield name
    places = [top / name for top in (CGROUPS, CGROUPS / "unified", CGROUPS / "systemd")]
    deadline = time.monotonic() + 180
    while any(place.exists() for place in places) and time.monotonic() < deadline:
        for place in places:
            for path, _, _ in os.walk(place, topdown=False):
                with suppress(OSError):  # its last processes are ending
                    Path(path).rmdir()
        time.sleep(0.05)


def missing() -> str:
    """What this machine has not, to do this."""
    if os.geteuid() != 0:
        return "root"
    for program in ("unshare", "systemd-sysusers", "/lib/systemd/systemd"):
        if shutil.which(program) is None:
            return program
    version = subprocess.run(["/usr/bin/python3", "--version"], capture_output=True, text=True, check=False).stdout
    if not version.startswith(f"Python {sys.version_info.major}.{sys.version_info.minor}."):
        return "/usr/bin/python3 of the tests' version, as home directories are hidden from the units"
    return ""


@pytest.mark.process
def test_the_units_run_serve_their_group_and_are_started_again(tmp_path: Path, group: str) -> None:
    if what := missing():
        pytest.skip(f"needs {what}")
    probe = tmp_path / "probe"
    probe.write_text(PROBE)
    said = Path(f"{probe}.out")
    words = ["sh", HERE / "boot_units.sh", HERE.parents[1], sysconfig.get_path("purelib"), probe, group]
    with (tmp_path / "log").open("w") as log:
        booted = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + LIMIT
        try:
            while not (said.exists() and said.read_text().endswith("end\n")) and time.monotonic() < deadline:
                with suppress(subprocess.TimeoutExpired):
                    booted.wait(0.1)
                if booted.returncode is not None:
                    break
        finally:
            booted.kill()
            booted.wait()
    logs = "".join(f"{path.name}:\n{path.read_text()}" for path in sorted(tmp_path.iterdir()) if path != probe)
    if "systemd begins" not in logs:
        pytest.skip(f"no namespaces for it: {' '.join(logs.split())[-300:]}")
    assert said.exists(), logs
    assert said.read_text().splitlines() == [
        "status ready for workers on port 13579, ready for peers on port 13337",
        "users mu 700:mu",
        "member 200",
        "stranger Permission denied",
        "told coordinator",
        "submitted error: no AWS credentials",
        "restarted ready for workers on port 13579",
        "hung ready for peers on port 13337",
        "stopped success",
        "end",
    ], logs

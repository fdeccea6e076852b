"""Many pairs through the real daemon: everything arrives, in order and unchanged, and memory stays bounded."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendezvous_daemons import Daemon

from mu_twisted.tls import generate_keys

HERE = Path(__file__).parent


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    generate_keys(tmp_path / "keys")
    keys = [
        f"{switch}=keys/{name}.pem" for switch, name in (("--srv-cert", "server_cert"), ("--srv-key", "server_key"))
    ]
    daemon = Daemon(
        tmp_path, "-t", "tcp:0:interface=127.0.0.1", "-c", "keys/ca_cert.pem", *keys, "--share-key", "--state-dir=state"
    )
    yield daemon
    daemon.kill()


def arrived(daemon: Daemon, home: Path, *numbers: int, within: float) -> int:
    """Messages that came through: PAIRS, SIZE, MESSAGES, LAST as relay_load.py takes them."""
    words = [
        sys.executable,
        str(HERE.parent / "support" / "relay_load.py"),
        str(daemon.port),
        str(home / "keys"),
        *map(str, numbers),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=within, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout[:-1].isdigit(), done.stdout
    return int(done.stdout)


@pytest.mark.process
@pytest.mark.long
def test_100_pairs_of_1_mb_and_one_who_does_not_read_take_bounded_memory(daemon: Daemon, tmp_path: Path) -> None:
    before = daemon.peak_kb()
    assert arrived(daemon, tmp_path, 100, 1_000_000, 2, 1, within=300) == 200
    # Half of what goes through it: how much is under way at once depends on what else the machine does.
    assert daemon.peak_kb() - before < 100_000


@pytest.mark.process
@pytest.mark.long
def test_500_pairs_move_1_gb_to_receivers_of_unequal_speed(daemon: Daemon, tmp_path: Path) -> None:
    assert arrived(daemon, tmp_path, 500, 100_000, 20, 20, within=500) == 10_000
    assert daemon.peak_kb() < 200_000

"""What the original's relay did, recorded: replayed against the real daemon, and against the relay without TLS."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendezvous_daemons import Daemon, environment
from warm_processes import LIMIT

from mu_twisted.tls import generate_keys

HERE = Path(__file__).parent
VECTORS = HERE.parent / "vectors"
AT_ONCE = 6
"""The scenarios wait more than they work, and none knows of another's run."""


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[int]:
    words = [sys.executable, str(HERE.parent / "support" / "plain_relay.py"), str(tmp_path / "spill")]
    process = subprocess.Popen(words, env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.communicate()


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[int, list[str]]]:
    generate_keys(tmp_path / "keys")
    keys = [str(tmp_path / "keys" / name) for name in ("ca_cert.pem", "server_cert.pem", "server_key.pem")]
    daemon = Daemon(tmp_path, "-t", "tcp:0:interface=127.0.0.1", "-c", keys[0], "--state-dir", str(tmp_path / "state"))
    yield daemon.port, keys
    daemon.kill()


def players(port: int, *more: str) -> list["subprocess.Popen[str]"]:
    """All scenarios, some at once."""
    vectors = VECTORS / "relay.json"
    names = [scenario["id"] for scenario in json.loads(vectors.read_text(encoding="utf-8"))["scenarios"]]
    command = [sys.executable, str(VECTORS / "replay_relay.py"), str(vectors), f"127.0.0.1:{port}", *more]
    command += ["--timeout", str(LIMIT)]
    return [
        subprocess.Popen([*command, "--only", ",".join(names[at::AT_ONCE])], stdout=subprocess.PIPE, text=True)
        for at in range(AT_ONCE)
    ]


@pytest.mark.process
def test_the_daemon_does_as_the_original_did_and_so_does_the_relay_without_tls(
    tls: tuple[int, list[str]], plain: int
) -> None:
    port, keys = tls
    for player in players(port, "--tls", *keys) + players(plain):
        said, _ = player.communicate(timeout=2 * LIMIT)
        assert " 0 mismatches, 0 informational" in said, said
        assert player.returncode == 0

"""``mu demo-xcenc`` as a user runs it. Here vpxenc is faked as well, as not every machine has it."""

import os
import subprocess
from pathlib import Path

import pytest
from warm_processes import MU, run

from mu_twisted.cli.demo.fake_encoders import make_fake_encoders


def demo(home: Path, path: str, *words: str) -> "subprocess.CompletedProcess[str]":
    temporary = home / "tmp"
    temporary.mkdir()
    env = {"PATH": path, "HOME": str(home), "TMPDIR": str(temporary)}
    return run(*MU, "demo-xcenc", *words, cwd=home, env=env)


@pytest.mark.long
@pytest.mark.process
def test_it_checks_its_chunks_draws_their_states_and_leaves_nothing(tmp_path: Path) -> None:
    make_fake_encoders(tmp_path / "bin", ["vpxenc"])
    done = demo(tmp_path, f"{tmp_path / 'bin'}:{os.environ['PATH']}", "--chunks", "4", "--group", "3", "--frames", "1")
    assert done.returncode == 0, done.stderr
    assert "4 of 4 tasks done" in done.stdout
    drawn = [line.split() for line in done.stdout.splitlines() if line.startswith("   chunk ")]
    assert [words[1] for words in drawn] == ["0", "1", "2", "3"]
    assert ["0" in words[-1] for words in drawn] == [False, True, True, False]
    assert "re-encoding on state N" in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_missing_is_named_in_one_line(tmp_path: Path) -> None:
    done = demo(tmp_path, "/nonexistent")
    assert done.returncode == 1
    assert done.stderr == "error: the demo needs vpxenc, which is not installed: as root, apt-get install vpx-tools\n"

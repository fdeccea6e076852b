"""``mu demo-shuffle`` as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MU = [sys.executable, "-W", "error", "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]


@pytest.mark.process
def test_records_that_workers_exchange_are_those_that_went_through_s3(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    words = ["demo-shuffle", "--tasks", "3", "--records", "1000"]
    done = subprocess.run(
        [*MU, *words], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1000 records of 100 bytes in order, sum ") == 2
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_compiler_it_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*MU, "demo-shuffle"],
        env={"PATH": "/nonexistent", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "error: the program for records is compiled here and there is no `cc`: install gcc\n"

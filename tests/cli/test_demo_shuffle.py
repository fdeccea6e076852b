"""``mu demo-shuffle`` as a user runs it."""

import os
from pathlib import Path

import pytest
from warm_processes import MU, run


@pytest.mark.long
@pytest.mark.process
def test_records_that_workers_exchange_are_those_that_went_through_s3(tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    words = ["demo-shuffle", "--tasks", "3", "--records", "1000"]
    done = run(*MU, *words, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("1000 records of 100 bytes in order, sum ") == 4
    assert list((tmp_path / "tmp").iterdir()) == []


def test_without_a_compiler_it_is_one_line(tmp_path: Path) -> None:
    environment = {"PATH": "/nonexistent", "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    done = run(*MU, "demo-shuffle", env=environment)
    assert done.returncode == 1
    assert done.stderr == "error: the program for records is compiled here and there is no `cc`: install gcc\n"

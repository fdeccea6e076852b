"""The private directory, and what is swept."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from worker_lambda._errors import WorkerError
from worker_lambda._workdir import PREFIX, WorkDirectory, sweep


def test_a_directory_is_private_and_goes_with_its_worker(tmp_path: Path) -> None:
    made = WorkDirectory(tmp_path)
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    (made.path / "deep" / "er").mkdir(parents=True)
    (made.path / "deep").chmod(0)
    made.close(remove=True)
    made.close(remove=True)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_stays_where_that_is_wanted(tmp_path: Path) -> None:
    made = WorkDirectory(tmp_path)
    made.close(remove=False)
    assert made.path.is_dir()


def test_only_leftovers_with_the_workers_prefix_are_swept(tmp_path: Path) -> None:
    leftover = tmp_path / f"{PREFIX}0123"
    leftover.mkdir()
    (leftover / "f").write_text("x")
    foreign, kept = tmp_path / "somebody", tmp_path / "target"
    foreign.mkdir()
    kept.mkdir()
    (kept / "f").write_text("x")
    (tmp_path / f"{PREFIX}link").symlink_to(kept)
    (tmp_path / f"{PREFIX}file").write_text("x")
    living = WorkDirectory(tmp_path)
    (leftover / "link").symlink_to(kept)
    assert sweep(tmp_path) == [leftover]
    assert {path.name for path in tmp_path.iterdir()} == {
        "somebody",
        "target",
        f"{PREFIX}link",
        f"{PREFIX}file",
        living.path.name,
    }
    assert (kept / "f").read_text() == "x"
    living.close(remove=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_another_owners_leftovers_are_not_swept(tmp_path: Path) -> None:
    leftover = tmp_path / f"{PREFIX}0123"
    leftover.mkdir()
    subprocess.run(["chown", "12345", leftover], check=True)
    assert sweep(tmp_path) == []
    assert leftover.is_dir()


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    with pytest.raises(WorkerError, match="could not make a private directory"):
        WorkDirectory(tmp_path / "nosuch")
    assert sweep(tmp_path / "nosuch") == []

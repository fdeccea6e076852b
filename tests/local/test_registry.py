"""The stacks of a user that run are known to all commands."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from mu_twisted.local import running_stacks
from mu_twisted.local._state import StackDirectory


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def test_a_stack_is_known_while_it_runs(state: Path) -> None:
    assert running_stacks(os.environ) == []
    one, other = StackDirectory(state / "one"), StackDirectory(state / "other")
    assert running_stacks(os.environ) == []  # held, and not begun
    one.begin()
    other.begin()
    assert running_stacks(os.environ) == [state / "one", state / "other"]
    one.release()
    assert running_stacks(os.environ) == [state / "other"]
    other.release()
    assert running_stacks(os.environ) == []
    assert not (state / "state").exists() or not list((state / "state").iterdir())


def test_one_that_was_killed_is_forgotten(state: Path) -> None:
    child = os.fork()
    if not child:
        StackDirectory(state / "one").begin()
        os._exit(0)  # as a killed process, it releases nothing
    os.waitpid(child, 0)
    link = next((state / "state" / "mu" / "stacks").iterdir())
    assert running_stacks(os.environ) == []
    assert not link.is_symlink()


def test_who_looks_whether_a_stack_runs_keeps_none_from_beginning(state: Path) -> None:
    StackDirectory(state / "one").release()
    looks = os.open(state / "one" / "lock", os.O_RDONLY)
    fcntl.flock(looks, fcntl.LOCK_SH)
    ends = threading.Timer(0.5, os.close, [looks])
    ends.start()
    StackDirectory(state / "one").release()
    ends.join()


def test_where_it_cannot_be_noted_a_stack_runs_all_the_same(state: Path) -> None:
    (state / "state").write_text("no directory")
    directory = StackDirectory(state / "one")
    directory.begin()
    assert running_stacks(os.environ) == []
    directory.release()

"""One process at a time has a state directory; one that has it briefly is waited for."""

import fcntl
import os
import threading
from pathlib import Path

import pytest

from mu_twisted.daemons._state_dir import InUse, StateDirectory


def test_a_process_that_keeps_it_is_named_at_once(tmp_path: Path) -> None:
    first = StateDirectory(tmp_path)
    try:
        with pytest.raises(InUse, match=f"is in use by process {os.getpid()}: stop it"):
            StateDirectory(tmp_path)
    finally:
        first.close()


@pytest.mark.parametrize("content", [None, "", "0 briefly", "4194305"])
def test_one_that_has_it_briefly_or_has_only_just_taken_it_is_waited_for(tmp_path: Path, content: str | None) -> None:
    reader = StateDirectory(tmp_path, briefly=True)
    if content is not None:
        (tmp_path / "coordinator.lock").write_text(content)
    waiting = threading.Event()
    closing = threading.Thread(target=lambda: (waiting.wait(), reader.close()))
    closing.start()
    waiting.set()
    second = StateDirectory(tmp_path)
    closing.join()
    assert (tmp_path / "coordinator.lock").read_text() == f"{os.getpid()}\n"
    with pytest.raises(BlockingIOError), (tmp_path / "coordinator.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    second.close()

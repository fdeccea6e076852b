"""However a worker ends, its programs end with it and its directory is gone."""

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Pair = Callable[..., tuple]


def is_alive(process: int) -> bool:
    """Whether it runs: one that no parent has waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"


def _quit(talk: object, _: object) -> None:
    talk.say(b"quit:")


def _close(talk: object, _: object) -> None:
    talk.close()


def _interrupt(_: object, worker: object) -> None:
    worker.process.send_signal(signal.SIGINT)


def _terminate(_: object, worker: object) -> None:
    worker.process.terminate()


@pytest.mark.parametrize("way", [_quit, _close, _interrupt, _terminate])
def test_all_that_was_started_ends(pair: Pair, way: Callable) -> None:
    talk, worker = pair(nonblock=1, bg_silent=1)
    talk.say(b"run:sleep 600 & setsid sleep 600 >/dev/null 2>&1 & wait", b"run:echo x; sleep 600 >/dev/null 2>&1 &")
    assert talk.hear().startswith(b"OK:RETVAL(0):OUTPUT(x\n)")
    talk.say(b"run:setsid sh -c 'echo $$; exec sleep 600 >/dev/null 2>&1' & wait $!; true", b"run:echo up")
    assert talk.hear().startswith(b"OK:RETVAL(0):OUTPUT(")
    deadline = time.monotonic() + 120
    while len(marked := _marked(worker.process.pid)) < 6:  # a shell each, and what they have started, but one has ended
        assert time.monotonic() < deadline
    way(talk, worker)
    worker.process.wait(180)
    while any(map(is_alive, marked)):  # they were killed; on a busy machine it may take them a while to be gone
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert list(worker.temporary.iterdir()) == []


def _marked(worker: int) -> list[int]:
    """Processes that the worker's programs consist of: found by the temporary directory in their environment."""
    own = next(
        part for part in Path(f"/proc/{worker}/environ").read_bytes().split(b"\0") if part.startswith(b"TMPDIR=")
    )
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != worker:
            try:
                if own in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
    return found

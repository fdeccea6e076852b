"""States as files, without a worker around: bombs, full disks, too many."""

import resource
import signal
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mu_twisted.wire import WireError, state_message
from worker_lambda._errors import CommandFailure
from worker_lambda.peers._states import Arrivals, StateRun, keep_output


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system writes so many bytes of a file and no more, as on a full disk."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def wanted() -> bool:
    return False


def test_on_a_full_disk_no_part_of_a_state_is_left_and_a_later_copy_is_taken(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, keep_first=True)
    message = state_message(2, bytes(range(256)) * 1000)
    with (
        files_of_at_most(100_000),
        pytest.raises(CommandFailure, match=r"^STATE\(2\) could not be written: File too large$"),
    ):
        arrivals.take(message, wanted)
    assert list(tmp_path.iterdir()) == []
    arrivals.take(message, wanted)
    assert (tmp_path / "2.state").read_bytes() == bytes(range(256)) * 1000


def test_on_a_full_disk_the_last_output_stays_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "output.ivf").write_bytes(b"x" * 3_000_000)
    (tmp_path / "prev.ivf").write_bytes(b"old")
    with files_of_at_most(100_000), pytest.raises(CommandFailure, match=r"could not be kept as prev\.ivf"):
        keep_output(StateRun(1, send=False), tmp_path, wanted)
    assert (tmp_path / "prev.ivf").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_bomb_is_not_written(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, keep_first=True, limit=1 << 20)
    bomb = b"STATE(1):" + zlib.compress(bytes(1 << 24), 9)
    assert len(bomb) < 20_000
    with pytest.raises(WireError, match="holds more than 1048576 bytes"):
        arrivals.take(bomb, wanted)
    arrivals.take(state_message(1, bytes(1 << 20)), wanted)
    assert (tmp_path / "1.state").stat().st_size == 1 << 20


def test_a_neighbour_cannot_fill_the_directory_with_small_states(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, keep_first=True, max_states=3)
    for number in range(3):
        arrivals.take(state_message(number, b""), wanted)
    with pytest.raises(CommandFailure, match="one more than the 3 states"):
        arrivals.take(state_message(3, b""), wanted)
    arrivals.take(state_message(1, b""), wanted)
    assert len(list(tmp_path.iterdir())) == 3


def test_what_is_no_longer_wanted_is_not_written(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, keep_first=True)
    arrivals.take(state_message(1, b"x"), lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_where_the_last_one_counts_it_takes_the_place_of_the_first(tmp_path: Path) -> None:
    arrivals = Arrivals(tmp_path, keep_first=False)
    for body in (b"first", b"second", b"first"):
        arrivals.take(state_message(1, body), wanted)
        assert (tmp_path / "1.state").read_bytes() == body


def test_a_state_that_waits_under_its_name_is_never_seen_in_part(tmp_path: Path) -> None:
    inode = None
    for body in (b"a" * 5_000_000, b"b" * 10):
        Arrivals(tmp_path, keep_first=False).take(state_message(1, body), wanted)
        found = (tmp_path / "1.state").stat().st_ino
        assert found != inode  # another file under the name, not the same one written over
        inode = found

"""Workers with valid keys that mean ill, over real TLS: bounded memory, one line, and no other job is harmed."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_peers import Target, Wire

pytestmark = pytest.mark.process

DAEMON = str(Path(__file__).parents[1] / "support" / "busy_daemon.py")


def hired(target: Target, number: int, kind: bytes, **options: Any) -> Wire:
    """A worker that has a task and has told it what to do."""
    worker = target.dial(f"0-{number}", **options)
    assert next(worker.commands()) == b"get:kind"
    worker.send(b"OK:GET(" + kind + b")")
    return worker


def assert_unharmed(target: Target, number: int) -> None:
    """Another worker does its task."""
    with hired(target, number, b"nothing") as worker:
        assert list(worker.commands()) == [b"quit:"]


def test_a_worker_that_never_reads_is_ended_before_it_fills_the_memory(
    target: Any, tried: Callable[[str], None]
) -> None:
    daemon = target(DAEMON, "2")
    before = daemon.forget_peak()
    # 16 MiB may wait; Twisted joins what waits before it writes, so for moments it is there several times.
    most = 8 * (16 << 20)
    with hired(daemon, 0, b"talk") as worker:
        # It answers what it has not read: each answer brings it 256 KiB more.
        requested = 0
        with contextlib.suppress(OSError):
            while requested < 1_000_000 and daemon.memory() - before < most:
                worker.send(b"OK:SET(much)")
                requested += 1
                time.sleep(0.001)
        ended = daemon.wait_for("dropped 127.0.0.1:.*it does not take what it is sent: .*")[0]
        daemon.wait_for("task 0, attempt 0 failed: .*it does not take what it is sent")
    grown = daemon.memory() - before
    assert requested < 1_000_000
    assert grown < most
    assert_unharmed(daemon, 1)
    tried(f"never reads, and asked for {requested // 4} MiB: '{ended[8:]}', memory grew by {grown >> 20} MiB")


def test_a_flood_of_unsolicited_replies_ends_its_session(target: Any, tried: Callable[[str], None]) -> None:
    daemon = target(DAEMON, "2")
    before = daemon.forget_peak()
    with hired(daemon, 0, b"listen") as worker:
        count = 0
        with contextlib.suppress(OSError):
            while count < 1_000_000:
                worker.send(*[b"OK:PONG"] * 100)
                count += 100
        daemon.wait_for("task 0, attempt 0 failed: .*it floods us with replies that were not asked for")
    grown = daemon.memory() - before
    assert count < 1_000_000
    assert grown < 16 << 20
    assert_unharmed(daemon, 1)
    tried(f"replies that were not asked for: ended after 10000 ({count} were sent), memory grew by {grown >> 20} MiB")


def test_workers_that_read_slowly_do_their_tasks_in_bounded_memory(target: Any, tried: Callable[[str], None]) -> None:
    count, burst, piece = 20, 16, 16 << 10
    daemon = target(DAEMON, str(count + 1))
    before, begun = daemon.forget_peak(), time.monotonic()
    with contextlib.ExitStack() as held:
        slow = [held.enter_context(hired(daemon, number, b"burst", buffer=piece)) for number in range(count)]
        got = dict.fromkeys(slow, 0)
        while got:
            # Each has its turn while all the others wait.
            for worker in list(got):
                commands = worker.some(piece)
                assert commands is not None
                got[worker] += len(commands)
                if got[worker] == burst:
                    if len(got) == count:
                        assert_unharmed(daemon, count)
                    del got[worker]
                    worker.send(*[b"OK:SET(much)"] * burst)
                    assert list(worker.commands()) == [b"quit:"]
    grown, waited = daemon.memory() - before, count * burst >> 2
    assert "failed" not in daemon.log
    assert grown < 3 * waited << 20
    tried(
        f"{count} workers that read {piece >> 10} KiB at a time of {waited} MiB: all did their tasks in "
        f"{time.monotonic() - begun:.1f} s, memory grew by {grown >> 20} MiB, a worker beside them did its task"
    )


@pytest.mark.parametrize(
    ("what", "frame", "volume"),
    [
        ("of 64 KiB", b"INFO:k:" + b"v" * (64 << 10), 128 << 20),
        ("of 10 bytes", b"INFO:key:v", 2 << 20),
        pytest.param("of 64 KiB", b"INFO:k:" + b"v" * (64 << 10), 10 << 30, marks=pytest.mark.long),
    ],
    ids=["large", "small", "whole"],
)
def test_a_worker_that_sends_without_end_costs_no_memory(
    target: Any, tried: Callable[[str], None], what: str, frame: bytes, volume: int
) -> None:
    # What came before leaves nothing behind, so 10 GB cost what 128 MiB cost: the second half is measured alone.
    daemon = target(DAEMON, "2")
    frames = volume // len(frame)
    batch = max(1, (64 << 10) // len(frame))
    begun = time.monotonic()
    with hired(daemon, 0, b"listen") as worker:
        peaks = []
        for _ in range(2):
            peaks.append(daemon.forget_peak())
            for _ in range(frames // batch // 2):
                worker.send(*[frame] * batch)
        assert_unharmed(daemon, 1)
        seconds = time.monotonic() - begun
        grown = daemon.memory() - peaks[1]
        assert "task 0, attempt 0 failed" not in daemon.log
    assert grown < 4 << 20
    tried(
        f"{frames} INFOs {what}, {volume >> 20} MiB in {seconds:.1f} s: in the second half memory grew by "
        f"{grown >> 10} KiB, a worker beside it did its task"
    )

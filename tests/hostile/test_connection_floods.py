"""Floods of connections from strangers to the real coordinator: workers come through all the same."""

import contextlib
import resource
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

import pytest
from hostile_peers import TIMEOUT, Target

pytestmark = pytest.mark.process

COORDINATOR = (
    "-W", "error", "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=",
    "mu-coordinator", "-t", "0", "--state-dir", "state",
)  # fmt: skip
HALF_OPEN = 3000
WORKERS = 50
FLOOD = 2.0
"""Seconds that a flood lasts at least."""


@contextlib.contextmanager
def descriptors(wanted: int) -> Iterator[None]:
    """Have so many more, or skip."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"{wanted} descriptors are needed, the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def client_hello(context: ssl.SSLContext) -> bytes:
    out = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), out).do_handshake()
    return out.read()


def come_through(target: Target, number: int) -> float:
    """A good worker of a job that is over: greets and is sent a quit; how many seconds it took."""
    begun = time.monotonic()
    with target.dial(f"0-{number}") as worker:
        assert list(worker.commands()) == [b"quit:"]
    return time.monotonic() - begun


def all_come_through(target: Target) -> float:
    """Many at once; the seconds of the slowest."""
    with ThreadPoolExecutor(WORKERS) as threads:
        return max(threads.map(lambda number: come_through(target, number), range(WORKERS)))


def test_thousands_of_half_open_handshakes_keep_no_worker_out(target: Any, tried: Callable[[str], None]) -> None:
    with descriptors(HALF_OPEN + 512), contextlib.ExitStack() as held:
        daemon = target(*COORDINATOR)
        hello = client_hello(daemon.context)
        before = daemon.forget_peak()
        for _, said in zip(range(HALF_OPEN), cycle([b"", hello[:100], hello]), strict=False):
            stranger = held.enter_context(socket.create_connection(("127.0.0.1", daemon.port), TIMEOUT))
            with contextlib.suppress(OSError):  # it stood still for so long that it had to give way by now
                stranger.sendall(said)
        slowest = all_come_through(daemon)
        grown = daemon.memory() - before
    assert "its TLS handshake stood still for 1 s while" in daemon.log
    assert grown < 300 << 20
    tried(
        f"{HALF_OPEN} half-open handshakes (silent, or stopped within or after the ClientHello): "
        f"{WORKERS} of {WORKERS} workers through, the slowest in {slowest:.1f} s, memory grew by {grown >> 20} MiB"
    )


@pytest.mark.long
def test_a_flood_from_one_address_keeps_no_worker_out_and_fills_no_log(
    target: Any, tried: Callable[[str], None]
) -> None:
    daemon = target(*COORDINATOR)
    over = threading.Event()
    lines = daemon.log.count("\n")
    before = daemon.forget_peak()

    def flood(said: bytes) -> int:
        count = 0
        while not over.is_set():
            with socket.socket() as stranger, contextlib.suppress(OSError):
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                stranger.settimeout(TIMEOUT)
                stranger.bind(("127.0.0.2", 0))
                stranger.connect(("127.0.0.1", daemon.port))
                stranger.sendall(said)
                count += 1
        return count

    with ThreadPoolExecutor() as threads:
        hello, begun = client_hello(daemon.context), time.monotonic()
        floods = [threads.submit(flood, said) for said in (b"", b"GET / HTTP/1.1\r\n\r\n", hello)]
        try:
            slowest = all_come_through(daemon)
            time.sleep(max(0.0, begun + FLOOD - time.monotonic()))
        finally:
            over.set()
        count = sum(flooding.result() for flooding in floods)
    grown = daemon.memory() - before
    lines = daemon.log.count("\n") - lines
    assert grown < 200 << 20
    assert lines < 100 + WORKERS  # one for each of the workers, whose job is over
    tried(
        f"{count} connections of one address, reset at once: {WORKERS} of {WORKERS} workers through, the slowest in "
        f"{slowest:.1f} s, memory grew by {grown >> 20} MiB, {lines} lines in the log"
    )

"""The rendezvous is measured beside a relay in C: CPU and rate by size and number of pairs, latency, memory.

The rendezvous is the real daemon; the other relay and the load of both is one C program (relay.c). CPU is the relay's
own, from when all have connected until all has arrived.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench._figure import Figure
from bench._processes import line_of, process_of, rendezvous

PAIRS = (1, 10, 100, 500)
VOLUMES = {1_000: 20_000_000, 100_000: 200_000_000, 1_000_000: 300_000_000}
"""Bytes to be moved, by the size of a message."""
PINGS = 4_000
MOST_CPU = 3.5
"""Seconds for 10**9 bytes, for large messages and 100 pairs."""
MOST_MEMORY = 100.0
"""Megabytes, with 100 pairs of 1 MB of which one receiver reads nothing."""

_HERE = Path(__file__).parent
_NAMES = {1_000: "1 KB", 100_000: "100 KB", 1_000_000: "1 MB"}


def run() -> list[Figure]:
    """All figures; takes about a minute and a half."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        command = ["cc", "-O2", "-o", str(work / "relay"), str(_HERE / "relay.c"), "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
        _make_keys(work)
        figures: list[Figure] = []
        for size, volume in VOLUMES.items():
            for pairs in PAIRS:
                figures += _compare(work, size, pairs, max(volume, size * pairs))
        for kind in ("rendezvous", "C relay"):
            half, most = _ping(work, kind)
            figures.append(Figure(f"{kind}, 1 KB there and back: p50", half, "us"))
            figures.append(Figure(f"{kind}, 1 KB there and back: p99", most, "us"))
        memory = _pairs(work, "rendezvous", 1_000_000, 100, 300_000_000, slow=1)[2]
        figures.append(
            Figure("rendezvous, 100 pairs of 1 MB, one reads nothing: peak memory", memory, "MB", MOST_MEMORY)
        )
        return figures


def _compare(work: Path, size: int, pairs: int, volume: int) -> list[Figure]:
    what = f"{_NAMES[size]}, {pairs} pair{'s' * (pairs > 1)}"
    cpu, rate, memory = _pairs(work, "rendezvous", size, pairs, volume)
    their_cpu, their_rate, their_memory = _pairs(work, "C relay", size, pairs, volume)
    target = MOST_CPU if pairs == 100 and size >= 100_000 else None
    return [
        Figure(f"rendezvous, {what}: CPU", cpu, "s/GB", target),
        Figure(f"C relay, {what}: CPU", their_cpu, "s/GB"),
        Figure(f"rendezvous over C relay, {what}: CPU", cpu / their_cpu, "times"),
        Figure(f"rendezvous, {what}: rate", rate, "MB/s"),
        Figure(f"C relay, {what}: rate", their_rate, "MB/s"),
        Figure(f"rendezvous, {what}: peak memory", memory, "MB"),
        Figure(f"C relay, {what}: peak memory", their_memory, "MB"),
    ]


def _make_keys(work: Path) -> None:
    from mu_twisted.tls import generate_keys

    generate_keys(work / "keys")


def _keys(work: Path) -> list[str]:
    return [str(work / "keys" / f"{name}.pem") for name in ("ca_cert", "server_cert", "server_key")]


def _pairs(work: Path, kind: str, size: int, pairs: int, volume: int, slow: int = 0) -> tuple[float, float, float]:
    """:returns: CPU seconds for 10**9 bytes, 10**6 bytes in a second, most memory in 10**6 bytes."""
    with _relay(work, kind) as (relay, port):
        words = [port, *_keys(work), str(pairs), str(size), str(volume), str(slow)]
        with process_of([str(work / "relay"), "pairs", *words]) as load:
            if line_of(load) != "connected":
                raise RuntimeError("the load does not connect")
            before = _cpu(relay.pid)
            _say(load, "go")
            seconds, moved = line_of(load).split()
            cpu = _cpu(relay.pid) - before
            memory = _peak(relay.pid)
    return cpu / int(moved) * 1e9, int(moved) / float(seconds) / 1e6, memory


def _ping(work: Path, kind: str) -> tuple[float, float]:
    """:returns: p50 and p99, microseconds."""
    with _relay(work, kind) as (_, port):
        words = ["ping", port, *_keys(work), "1000", str(PINGS)]
        with process_of([str(work / "relay"), *words]) as load:
            half, most = line_of(load).split()
    return float(half), float(most)


@contextmanager
def _relay(work: Path, kind: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A relay that has just been started, and its port."""
    ca, certificate, key = _keys(work)
    if kind == "C relay":
        with process_of([str(work / "relay"), "serve", ca, certificate, key]) as process:
            yield process, line_of(process)
        return
    with rendezvous(work, ca, certificate, key, "--share-key") as running:
        yield running


def _say(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def _cpu(pid: int) -> float:
    """Seconds of CPU that all threads of a process have had, to the microsecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def _peak(pid: int) -> float:
    """The most memory that a process has had, megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

"""The rendezvous is measured beside a relay in C: CPU and rate by size and number of pairs, latency, memory.

The rendezvous is the real daemon; the other relay and the load of both is one C program (relay.c). CPU is the relay's
own, from when all have connected until all has arrived. The two run in turn.
"""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench._figure import Figure, median_of, ratio_of
from bench._processes import line_of, process_of, rendezvous

RUNS = 5
PAIRS = (1, 100, 500)
VOLUMES = {1_000: 20_000_000, 100_000: 200_000_000, 1_000_000: 300_000_000}
"""Bytes to be moved, by the size of a message."""
TARGETS = {1_000: 1.5, 100_000: 1.3, 1_000_000: 1.2}
"""CPU over the relay in C, with 100 pairs."""
MOST_THERE_AND_BACK = 1.2
"""Times the relay in C."""
PINGS = 4_000
MOST_MEMORY = 100.0
"""Megabytes, with 100 pairs of 1 MB of which one receiver reads nothing."""

_HERE = Path(__file__).parent
KINDS = ("rendezvous", "C relay")
_NAMES = {1_000: "1 KB", 100_000: "100 KB", 1_000_000: "1 MB"}


def run(runs: int = RUNS) -> list[Figure]:
    """All figures; takes some minutes."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        make_relay(work)
        figures: list[Figure] = []
        for size, volume in VOLUMES.items():
            for pairs in PAIRS:
                figures += _compare(work, size, pairs, max(volume, size * pairs), runs)
        figures += _there_and_back(work, runs)
        slow = [_pairs(work, "rendezvous", 1_000_000, 100, 300_000_000, slow=1)[2] for _ in range(runs)]
        name = "rendezvous, 100 pairs of 1 MB, one reads nothing: peak memory"
        return [*figures, median_of(name, slow, "MB", MOST_MEMORY)]


def _compare(work: Path, size: int, pairs: int, volume: int, runs: int) -> list[Figure]:
    what = f"{_NAMES[size]}, {pairs} pair{'s' * (pairs > 1)}"
    made = {kind: [] for kind in KINDS}  # type: dict[str, list[tuple[float, float, float]]]
    for _ in range(runs):
        for kind, samples in made.items():
            samples.append(_pairs(work, kind, size, pairs, volume))
    figures = [
        median_of(f"{kind}, {what}: {name}", [sample[at] for sample in samples], unit)
        for at, (name, unit) in enumerate((("CPU", "s/GB"), ("rate", "MB/s"), ("peak memory", "MB")))
        for kind, samples in made.items()
    ]
    ours, theirs = ([sample[0] for sample in made[kind]] for kind in KINDS)
    target = TARGETS[size] if pairs == 100 else None
    return [*figures, ratio_of(f"rendezvous over C relay, {what}: CPU", ours, theirs, target)]


def _there_and_back(work: Path, runs: int) -> list[Figure]:
    made = {kind: [] for kind in KINDS}  # type: dict[str, list[tuple[float, float]]]
    for _ in range(runs):
        for kind, samples in made.items():
            samples.append(_ping(work, kind))
    figures = [
        median_of(f"{kind}, 1 KB there and back: {name}", [sample[at] for sample in samples], "us")
        for at, name in enumerate(("p50", "p99"))
        for kind, samples in made.items()
    ]
    ours, theirs = ([sample[0] for sample in made[kind]] for kind in KINDS)
    name = "rendezvous over C relay, 1 KB there and back: p50"
    return [*figures, ratio_of(name, ours, theirs, MOST_THERE_AND_BACK)]


def make_relay(work: Path, program: str = "relay") -> None:
    """Make the program in C, and keys for all."""
    from mu_twisted.tls import generate_keys

    command = ["cc", "-O2", "-o", str(work / program), str(_HERE / f"{program}.c"), "-lssl", "-lcrypto"]
    subprocess.run(command, check=True)
    generate_keys(work / "keys")


def keys_of(work: Path) -> list[str]:
    """The files of authority, certificate and key."""
    return [str(work / "keys" / f"{name}.pem") for name in ("ca_cert", "server_cert", "server_key")]


def _pairs(work: Path, kind: str, size: int, pairs: int, volume: int, slow: int = 0) -> tuple[float, float, float]:
    """:returns: CPU seconds for 10**9 bytes, 10**6 bytes in a second, most memory in 10**6 bytes."""
    with relay_of(work, kind) as (relay, port):
        words = [port, *keys_of(work), str(pairs), str(size), str(volume), str(slow)]
        with process_of([str(work / "relay"), "pairs", *words]) as load:
            if line_of(load) != "connected":
                raise RuntimeError("the load does not connect")
            before = fine_cpu_of(relay.pid)
            say(load, "go")
            seconds, moved = line_of(load).split()
            cpu = fine_cpu_of(relay.pid) - before
            memory = _peak(relay.pid)
    return cpu / int(moved) * 1e9, int(moved) / float(seconds) / 1e6, memory


def _ping(work: Path, kind: str) -> tuple[float, float]:
    """:returns: p50 and p99, microseconds."""
    with relay_of(work, kind) as (_, port):
        words = ["ping", port, *keys_of(work), "1000", str(PINGS)]
        with process_of([str(work / "relay"), *words]) as load:
            half, most = line_of(load).split()
    return float(half), float(most)


@contextmanager
def relay_of(work: Path, kind: str, program: str = "relay") -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A relay that has just been started, and its port.

    :param program: the one in C.
    """
    ca, certificate, key = keys_of(work)
    if kind == "C relay":
        with process_of([str(work / program), "serve", ca, certificate, key]) as process:
            yield process, line_of(process)
        return
    with rendezvous(work, ca, certificate, key, "--share-key") as running:
        yield running


def say(process: "subprocess.Popen[str]", word: str) -> None:
    """Write a line to a process."""
    assert process.stdin is not None
    process.stdin.write(f"{word}\n")
    process.stdin.flush()


def fine_cpu_of(pid: int) -> float:
    """Seconds of CPU that the threads of a process which have not ended have had, to the microsecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9


def _peak(pid: int) -> float:
    """The most memory that a process has had, megabytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6

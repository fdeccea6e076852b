"""The coordinator is measured under load, beside a server in C that costs as little as can be.

Measured are CPU per handshake and per message, memory per connection, and the reactor's lag. The coordinator's own
registry, session and machine run in a process of their own, over the core and over Twisted's TLS; the server in C
(reference.c) has the same frames and the same mutual TLS, and nothing else. The workers are one C program (load.c) for
all three, which costs little and answers at once. Launching is left out: the workers dial by themselves.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench._figure import Figure, median_of, ratio_of
from bench._processes import line_of, process_of

if TYPE_CHECKING:
    from mu_twisted.coordinator import JobRun

FEW = 16
CASES = ((100, 100), (1000, 1000), (4000, 4000), (1000, FEW), (4000, FEW))
"""Workers, and how many of them are active."""
SERVERS = ("C", "core", "twisted")
RUNS = 5
MESSAGES = 60_000
"""Messages in each run, over all active workers."""

LOOK = 0.005
"""Seconds between two looks at the reactor's lag. They cost CPU, so where few are active, and handshakes are measured,
there are few."""

_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024

Sample = dict[str, float]
Samples = dict[tuple[str, int, int], list[Sample]]
"""By server, workers, and how many of them are active."""


def run(runs: int = RUNS) -> list[Figure]:
    """All figures, as medians of interleaved runs; takes some minutes.

    :param runs: of each server in each case.
    """
    with prepared() as work:
        samples = sample(work, SERVERS, CASES, runs)
    return [*_figures(samples), *_ratios(samples)]


@contextmanager
def prepared() -> Iterator[Path]:
    """A directory with keys, and the programs of load and reference."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        for name in ("load", "reference"):
            command = ["cc", "-O2", "-o", str(work / name), str(_HERE / f"{name}.c"), "-lssl", "-lcrypto"]
            subprocess.run(command, check=True)
        make_keys(work)
        yield work


def sample(work: Path, servers: Sequence[str], cases: Sequence[tuple[int, int]], runs: int) -> Samples:
    """What each run of each server in each case has given; they are taken in turn."""
    samples: Samples = {}
    for _ in range(runs):
        for size, active in cases:
            for server in servers:
                samples.setdefault((server, size, active), []).append(measure(work, server, size, active))
    return samples


def _figures(samples: Samples) -> list[Figure]:
    return [
        median_of(f"{server}, {active} active of {size}: {name}", [run[key] for run in runs], unit)
        for (server, size, active), runs in samples.items()
        for key, name, unit in (
            ("message", "CPU per message", "us"),
            ("wall", "time per message", "us"),
            ("handshake", "CPU per handshake", "ms"),
            ("lag", "reactor's lag while they connect, p99", "ms"),
            ("memory", "memory per connection", "kB"),
        )
        if key in runs[0] and (key in ("message", "wall") or (active == size) == (key != "handshake"))
    ]


def _ratios(samples: Samples) -> list[Figure]:
    """What has a target."""
    c, core, twisted = SERVERS

    def values(server: str, size: int, active: int, key: str) -> list[float]:
        return [run[key] for run in samples[server, size, active]]

    def ratio(name: str, one: str, other: str, size: int, active: int, key: str, target: float) -> Figure:
        return ratio_of(name, values(one, size, active, key), values(other, size, active, key), target)

    def rises(server: str) -> list[float]:
        pairs = zip(values(server, 4000, 4000, "message"), values(server, 100, 100, "message"), strict=True)
        return [many - few for many, few in pairs]

    beyond = [ours - theirs for ours, theirs in zip(rises(core), rises(c), strict=True)]
    name = "coordinator: CPU per message over C"
    return [
        ratio(f"{name}, 1000 active", core, c, 1000, 1000, "message", 2.2),
        ratio(f"{name}, {FEW} of 4000", core, c, 4000, FEW, "message", 2.6),
        ratio(
            "coordinator: time per message over Twisted's TLS, 1000 active",
            core,
            twisted,
            1000,
            1000,
            "wall",
            1 / 3.5,
        ),
        median_of("coordinator: CPU per message, rise from 100 to 4000 beyond C's", beyond, "us", 2.0),
        ratio("coordinator: CPU per handshake over C, 4000", core, c, 4000, FEW, "handshake", 1.05),
        median_of("coordinator: lag while 4000 connect, p99", values(core, 4000, 4000, "lag"), "ms", 20.0),
        median_of("coordinator: memory per connection, 4000", values(core, 4000, 4000, "memory"), "kB", 35.0),
        ratio("C: CPU per message over Twisted's TLS, 1000 active", c, twisted, 1000, 1000, "message", 1 / 3.5),
    ]


def make_keys(work: Path) -> None:
    from mu_twisted.tls import Authority, LaunchIdentity, RoleIdentity

    authority = Authority.generate()
    (work / "ca.pem").write_bytes(authority.certificate)
    for name, identity in (("coordinator", RoleIdentity("coordinator")), ("worker", LaunchIdentity("bench"))):
        pair = authority.issue(identity, lifetime=timedelta(hours=1))
        (work / f"{name}_cert.pem").write_bytes(pair.certificate)
        (work / f"{name}_key.pem").write_bytes(pair.key)


def measure(work: Path, server: str, size: int, active: int, echoes: int | None = None, period: int = 0) -> Sample:
    """One run.

    :param work: as :func:`prepared` has made it.
    :param server: one of :data:`SERVERS`.
    :param echoes: messages of each active worker; None: of all together :data:`MESSAGES`.
    :param period: milliseconds from one message of a worker to its next at the least.
    """
    numbers = [str(size), str(active), str(MESSAGES // active if echoes is None else echoes)]
    if server == "C":
        keys = [str(work / name) for name in ("coordinator_cert.pem", "coordinator_key.pem", "ca.pem")]
        command = [str(work / "reference"), *keys, *numbers]
    else:
        command = [sys.executable, "-m", "bench.coordinator", str(work), *numbers]
    with process_of(command, environ={**os.environ, "MU_TRANSPORT": server}) as served:
        port = line_of(served)
        idle_cpu, idle_memory = cpu_of(served.pid), _resident_kb(served.pid)
        with load_of(work, port, size, period) as load:
            connected = line_of(served).split()
            shaken_cpu = cpu_of(served.pid)
            greet(load)
            message, wall = map(float, line_of(served).split())
            memory = _resident_kb(served.pid)
    made = {
        "handshake": (shaken_cpu - idle_cpu) / size * 1e3,
        "message": message,
        "wall": wall,
        "memory": (memory - idle_memory) / size,
    }
    if server != "C":
        made["lag"] = float(connected[1])
    return made


@contextmanager
def load_of(work: Path, port: str, size: int, period: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """So many workers, which have connected; they greet when :func:`greet` has them do so."""
    keys = [str(work / name) for name in ("ca.pem", "worker_cert.pem", "worker_key.pem")]
    with process_of([str(work / "load"), "127.0.0.1", port, *keys, str(size), str(period)]) as load:
        assert line_of(load) == "connected"
        yield load


def greet(load: "subprocess.Popen[str]") -> None:
    """Have all its workers greet."""
    assert load.stdin is not None
    load.stdin.write("go\n")
    load.stdin.flush()


def cpu_of(pid: int) -> float:
    """Seconds of CPU that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_kb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_KB


def serve(
    work: Path, size: int, active: int, echoes: int, before_run: Callable[[Any, "JobRun"], None] = lambda *_: None
) -> None:
    """The process under measure: says its port, then "connected" and the reactor's lag until then, milliseconds; and in
    the end the CPU and the time for each message, microseconds.

    Counted from when every worker has greeted, so that greetings and the making of machines are not in it.

    :param before_run: is called with the reactor and the job's run before the port is said and that begins.
    """
    from twisted.internet import reactor as installed

    from bench._listener import NullLauncher, NullRecorder, receive_workers
    from mu_twisted.coordinator import Attempts, JobRun, WorkerRegistry
    from mu_twisted.daemons._limits import raise_descriptor_limit
    from mu_twisted.fsm import Worker
    from mu_twisted.jobs import Job, JobPolicy
    from mu_twisted.pipelines import Pipeline

    reactor: Any = installed
    raise_descriptor_limit()
    begun = messages = since = 0
    cpu = wall = 0.0

    async def task(w: Worker) -> None:
        nonlocal begun, messages, since, cpu, wall
        begun += 1
        if begun == size:
            cpu, wall, since = time.process_time(), time.perf_counter(), messages
        if w.task < active:
            for _ in range(echoes):
                await w.echo("0123456789")
                messages += 1
            if messages == active * echoes:
                count = (messages - since) / 1e6
                print((time.process_time() - cpu) / count, (time.perf_counter() - wall) / count, flush=True)
        await w.echo("hold")

    registry = WorkerRegistry(reactor)
    run_ = JobRun(
        reactor,
        # The load answers no pings.
        Job("bench", range(size), JobPolicy(start_timeout=3600.0, heartbeat=3600.0)),
        Pipeline(name="bench", summary="echoes", first=task),
        {},
        launching=NullLauncher(),
        recorder=NullRecorder(),
        attempts=Attempts(reactor),
    )
    registry.add(run_)
    before_run(reactor, run_)
    receive_workers(reactor, registry, work)
    run_.start()

    lags: list[float] = []
    due, pause = 0.0, LOOK if active == size else 20 * LOOK

    def look() -> None:
        """The lag is how much later than asked for it is called."""
        nonlocal due
        now = time.perf_counter()
        if due:
            lags.append((now - due) * 1e3)
        if len(registry) == size:
            print("connected", sorted(lags)[len(lags) * 99 // 100] if lags else 0.0, flush=True)
            return
        due = now + pause
        reactor.callLater(pause, look)

    look()
    reactor.run()


if __name__ == "__main__":
    size, active, echoes = map(int, sys.argv[2:5])
    serve(Path(sys.argv[1]), size, active, echoes)

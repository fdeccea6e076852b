"""The coordinator is measured under load, beside a server in C that costs as little as can be.

Measured are CPU per handshake and per message, memory per connection, and the reactor's lag. The coordinator's own
registry, session and machine run in a process of their own, over the core and over Twisted's TLS; the server in C
(reference.c) has the same frames and the same mutual TLS, and nothing else. The workers are one C program (load.c) for
all three, which costs little and answers at once. Launching is left out: the workers dial by themselves.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench._figure import Figure
from bench._processes import line_of, process_of

FEW = 16
CASES = ((100, 100), (1000, 1000), (4000, 4000), (1000, FEW), (4000, FEW))
"""Workers, and how many of them are active."""
SERVERS = ("C", "core", "twisted")
RUNS = 5
MESSAGES = 60_000
"""Messages in each run, over all active workers."""

LOOK = 0.005
"""Seconds between two looks at the reactor's lag."""

_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024

Sample = dict[str, float]


def run(runs: int = RUNS) -> list[Figure]:
    """All figures, as medians of interleaved runs; takes some minutes.

    :param runs: of each server in each case.
    """
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        compile_load(work)
        make_keys(work)
        samples: dict[tuple[str, int, int], list[Sample]] = {}
        for _ in range(runs):
            for size, active in CASES:
                for server in SERVERS:
                    samples.setdefault((server, size, active), []).append(_measure(work, server, size, active))
    from cryptography.hazmat.backends.openssl import backend

    from mu_twisted.transport import _core

    versions = f"C and core: {_core.OPENSSL}; Twisted's TLS: {backend.openssl_version_text()}"
    load = Figure("coordinator: load average at the end", os.getloadavg()[0], "", None, versions)
    return [load, *_figures(samples), *_ratios(samples)]


def _figures(samples: dict[tuple[str, int, int], list[Sample]]) -> list[Figure]:
    figures = []
    for (server, size, active), runs in samples.items():
        for key, name, unit in (
            ("message", "CPU per message", "us"),
            ("wall", "time per message", "us"),
            ("handshake", "CPU per handshake", "ms"),
            ("lag", "reactor's lag while they connect, p99", "ms"),
        ):
            values = [sample[key] for sample in runs if key in sample]
            if values and (key in ("message", "wall") or active == size):
                figures.append(
                    Figure(f"{server}, {active} active of {size}: {name}", statistics.median(values), unit, None)
                )
                figures[-1].note = f"{min(values):.3f} to {max(values):.3f}"
    return figures


def _ratios(samples: dict[tuple[str, int, int], list[Sample]]) -> list[Figure]:
    """What has a target: each as the median of the ratios of runs that followed one another."""

    def ratio(one: str, other: str, size: int, active: int, key: str) -> float:
        pairs = zip(samples[one, size, active], samples[other, size, active], strict=True)
        return statistics.median(above[key] / below[key] for above, below in pairs)

    def median(server: str, size: int, active: int, key: str) -> float:
        return statistics.median(sample[key] for sample in samples[server, size, active])

    def rise(server: str) -> float:
        return median(server, 4000, 4000, "message") - median(server, 100, 100, "message")

    core, c, twisted = SERVERS[1], SERVERS[0], SERVERS[2]
    return [
        Figure("coordinator: CPU per message over C, 1000 active", ratio(core, c, 1000, 1000, "message"), "times", 2.2),
        Figure(
            f"coordinator: CPU per message over C, {FEW} of 4000", ratio(core, c, 4000, FEW, "message"), "times", 2.6
        ),
        Figure(
            "coordinator: time per message over Twisted's TLS, 1000 active",
            ratio(core, twisted, 1000, 1000, "wall"),
            "times",
            1 / 3.5,
        ),
        Figure("coordinator: CPU per message, rise from 100 to 4000 beyond C's", rise(core) - rise(c), "us", 2.0),
        Figure("coordinator: CPU per handshake over C, 4000", ratio(core, c, 4000, 4000, "handshake"), "times", 1.05),
        Figure("coordinator: lag while 4000 connect, p99", median(core, 4000, 4000, "lag"), "ms", 20.0),
        Figure("coordinator: memory per connection, 4000", median(core, 4000, 4000, "memory"), "kB", 35.0),
        Figure(
            "C: CPU per message over Twisted's TLS, 1000 active",
            ratio(c, twisted, 1000, 1000, "message"),
            "times",
            0.286,
        ),
    ]


def compile_load(work: Path) -> None:
    for name in ("load", "reference"):
        command = ["cc", "-O2", "-o", str(work / name), str(_HERE / f"{name}.c"), "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)


def make_keys(work: Path) -> None:
    from mu_twisted.tls import Authority, LaunchIdentity, RoleIdentity

    authority = Authority.generate()
    (work / "ca.pem").write_bytes(authority.certificate)
    for name, identity in (("coordinator", RoleIdentity("coordinator")), ("worker", LaunchIdentity("bench"))):
        pair = authority.issue(identity, lifetime=timedelta(hours=1))
        (work / f"{name}_cert.pem").write_bytes(pair.certificate)
        (work / f"{name}_key.pem").write_bytes(pair.key)


def _measure(work: Path, server: str, size: int, active: int) -> Sample:
    numbers = [str(size), str(active), str(MESSAGES // active)]
    if server == "C":
        keys = [str(work / name) for name in ("coordinator_cert.pem", "coordinator_key.pem", "ca.pem")]
        command = [str(work / "reference"), *keys, *numbers]
    else:
        command = [sys.executable, "-m", "bench.coordinator", str(work), *numbers]
    with process_of(command, environ={**os.environ, "MU_TRANSPORT": server}) as served:
        port = line_of(served)
        idle_cpu, idle_memory = _cpu(served.pid), _resident_kb(served.pid)
        keys = [str(work / name) for name in ("ca.pem", "worker_cert.pem", "worker_key.pem")]
        with process_of([str(work / "load"), "127.0.0.1", port, *keys, str(size)]) as load:
            assert line_of(load) == "connected"
            connected = line_of(served).split()
            shaken_cpu = _cpu(served.pid)
            assert load.stdin is not None
            load.stdin.write("go\n")
            load.stdin.flush()
            message, wall = map(float, line_of(served).split())
            memory = _resident_kb(served.pid)
    sample = {
        "handshake": (shaken_cpu - idle_cpu) / size * 1e3,
        "message": message,
        "wall": wall,
        "memory": (memory - idle_memory) / size,
    }
    if server != "C":
        sample["lag"] = float(connected[1])
    return sample


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_kb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_KB


def serve(
    work: Path, size: int, active: int, echoes: int, begun_run: Callable[[Any, Any], None] = lambda *_: None
) -> None:
    """The process under measure: says its port, then "connected" and the reactor's lag until then, milliseconds; and in
    the end the CPU and the time for each message, microseconds.

    Counted from when every worker has greeted, so that greetings and the making of machines are not in it.

    :param begun_run: is called with the reactor and the job's run once that has begun.
    """
    from twisted.internet import reactor

    from bench._listener import NullLauncher, receive_workers
    from mu_twisted.coordinator import Attempts, JobRun, WorkerRegistry
    from mu_twisted.daemons._limits import raise_descriptor_limit
    from mu_twisted.fsm import Worker
    from mu_twisted.jobs import Job, JobPolicy
    from mu_twisted.pipelines import Pipeline

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

    class NullRecorder:
        """Records nothing."""

        def record(self, _records: Any) -> None:
            pass

        def flush(self) -> None:
            pass

    registry = WorkerRegistry(reactor)
    run_ = JobRun(
        reactor,
        # The load answers no pings.
        Job("bench", range(size), JobPolicy(start_timeout=3600.0, heartbeat=3600.0)),
        Pipeline(name="bench", summary="echoes", first=task),
        {},
        launching=NullLauncher(),
        recorder=NullRecorder(),
        attempts=Attempts(reactor),  # type: ignore[arg-type]
    )
    registry.add(run_)
    receive_workers(reactor, registry, work)
    run_.start()
    begun_run(reactor, run_)

    lags: list[float] = []
    due = 0.0

    def look() -> None:
        """The lag is how much later than asked for it is called."""
        nonlocal due
        now = time.perf_counter()
        if due:
            lags.append((now - due) * 1e3)
        if len(registry) == size:
            print("connected", sorted(lags)[len(lags) * 99 // 100] if lags else 0.0, flush=True)
            return
        due = now + LOOK
        reactor.callLater(LOOK, look)  # type: ignore[attr-defined]

    look()
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *map(int, sys.argv[2:5]))

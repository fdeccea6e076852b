"""The coordinator is measured under load: CPU per handshake and per message, memory per connection.

The coordinator's own registry, session and machine run in a process of their own; the workers are one C program
(load.c), which costs little and answers at once. Launching is left out: the workers dial by themselves.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from bench._figure import Figure

SIZES = (100, 1000, 4000)
FEW = 16
MESSAGES = 60_000
"""Messages in each run, over all active workers."""

_HERE = Path(__file__).parent
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_KB = os.sysconf("SC_PAGE_SIZE") / 1024


def run() -> list[Figure]:
    """All figures, most telling last; takes about half a minute."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        _compile(work)
        _make_keys(work)
        cpu: dict[tuple[int, str], float] = {}
        figures: list[Figure] = []
        for size in SIZES:
            everyone = _measure(work, size, size)
            few = _measure(work, size, FEW)
            cpu[size, "all"], cpu[size, str(FEW)] = everyone["message"], few["message"]
            figures += [
                Figure(f"coordinator, N={size}: CPU per handshake", everyone["handshake"], "ms", None),
                Figure(f"coordinator, N={size}: CPU per message, all active", everyone["message"], "us", None),
                Figure(f"coordinator, N={size}: CPU per message, {FEW} active", few["message"], "us", None),
                Figure(f"coordinator, N={size}: memory per connection", everyone["memory"], "kB", 60.0),
            ]
        small, large = SIZES[0], SIZES[-1]
        for active in ("all", str(FEW)):
            ratio = cpu[large, active] / cpu[small, active]
            name = f"coordinator: CPU per message, N={large} over N={small}, {active} active"
            figures.append(Figure(name, ratio, "times", 1.20))
        return figures


def _compile(work: Path) -> None:
    command = ["cc", "-O2", "-o", str(work / "load"), str(_HERE / "load.c"), "-lssl", "-lcrypto"]
    subprocess.run(command, check=True)


def _make_keys(work: Path) -> None:
    from mu_twisted.tls import Authority, LaunchIdentity, RoleIdentity

    authority = Authority.generate()
    (work / "ca.pem").write_bytes(authority.certificate)
    for name, identity in (("coordinator", RoleIdentity("coordinator")), ("worker", LaunchIdentity("bench"))):
        pair = authority.issue(identity, lifetime=timedelta(hours=1))
        (work / f"{name}_cert.pem").write_bytes(pair.certificate)
        (work / f"{name}_key.pem").write_bytes(pair.key)


def _measure(work: Path, size: int, active: int) -> dict[str, float]:
    echoes = MESSAGES // active
    with _process(
        [sys.executable, "-m", "bench.coordinator", str(work), str(size), str(active), str(echoes)]
    ) as server:
        port = _line(server)
        idle_cpu, idle_memory = _cpu(server.pid), _resident_kb(server.pid)
        keys = [str(work / name) for name in ("ca.pem", "worker_cert.pem", "worker_key.pem")]
        with _process([str(work / "load"), "127.0.0.1", port, *keys, str(size)]) as load:
            assert _line(load) == "connected"
            assert _line(server) == "connected"
            shaken_cpu = _cpu(server.pid)
            assert load.stdin is not None
            load.stdin.write("go\n")
            load.stdin.flush()
            message = float(_line(server))
            memory = _resident_kb(server.pid)
    return {
        "handshake": (shaken_cpu - idle_cpu) / size * 1e3,
        "message": message,
        "memory": (memory - idle_memory) / size,
    }


@contextmanager
def _process(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_HERE.parent, bufsize=1
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.stdout.close()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} ended early")
    return line.strip()


def _cpu(pid: int) -> float:
    """Seconds of CPU that the process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _resident_kb(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_KB


def serve(work: Path, size: int, active: int, echoes: int) -> None:
    """The process under measure: says its port, "connected", and in the end its CPU per message, microseconds.

    Counted from when every worker has greeted, so that greetings and the making of machines are not in it.
    """
    from twisted.internet import reactor
    from twisted.internet.task import LoopingCall

    from bench._listener import NullLauncher, receive_workers
    from mu_twisted.coordinator import Attempts, JobRun, WorkerRegistry
    from mu_twisted.daemons._limits import raise_descriptor_limit
    from mu_twisted.fsm import Worker
    from mu_twisted.jobs import Job, JobPolicy
    from mu_twisted.pipelines import Pipeline

    raise_descriptor_limit()
    begun = messages = since = 0
    cpu = 0.0

    async def task(w: Worker) -> None:
        nonlocal begun, messages, since, cpu
        begun += 1
        if begun == size:
            cpu, since = time.process_time(), messages
        if w.task < active:
            for _ in range(echoes):
                await w.echo("0123456789")
                messages += 1
            if messages == active * echoes:
                print((time.process_time() - cpu) / (messages - since) * 1e6, flush=True)
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

    def look() -> None:
        if len(registry) == size and watch.running:
            watch.stop()
            print("connected", flush=True)

    watch = LoopingCall(look)
    watch.start(0.05)
    reactor.run()  # type: ignore[attr-defined]


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *map(int, sys.argv[2:5]))

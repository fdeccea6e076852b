"""The time that a user waits for an answer about a map of 100,000 inputs: by commands, and from the Python client.

A process has a real journal, real records and a real control socket; its workers are in memory, and do each task at
once. Told of are a job of which half is done, the same when it is over, its records when no coordinator runs, and those
of a job that a killed coordinator has left half done.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from bench._figure import Figure
from bench._processes import line_of, process_of
from bench.coordinator import cpu_of
from bench.status import NullOpener

INPUTS = 100_000
WORKERS = 50
FAILS = b"999.png"
"""Inputs whose names end so fail."""
MAX_ANSWER = 0.3
"""Seconds for an answer, or a page of one."""
TIMES = 7
"""Times that each is asked for."""
PAGES = 48
"""Of results and outputs that are read."""
_MU = Path(sys.executable).with_name("mu")


def run(inputs: int = INPUTS, times: int = TIMES) -> list[Figure]:
    """All figures; takes some minutes."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        state = Path(directory)
        os.environ.update(XDG_CONFIG_HOME=directory, XDG_STATE_HOME=directory)
        return list(_figures(state, inputs, times))


def _figures(state: Path, inputs: int, times: int) -> Iterator[Figure]:
    from mu_twisted import connect

    mu = connect(state_dir=state)
    name = f"a map of {inputs} inputs"
    with process_of([sys.executable, "-m", "bench.inputs", str(state), str(inputs // 2)]) as server:
        line_of(server)
        begun = time.perf_counter()
        names = [f"photos/{number:08d}.png" for number in range(inputs)]
        job = mu.map("echo {}", each=names, function="f", workers=WORKERS)
        yield Figure(f"{name}: submission from Python", time.perf_counter() - begun, "s")
        assert line_of(server) == "half"
        yield from _answers(f"{name}, running:", state, job, times, server.pid)
        assert server.stdin is not None
        server.stdin.write("go on\n")
        assert line_of(server) == "over"
        yield from _answers(f"{name}, over:", state, job, times, server.pid)
        server.terminate()
        server.wait()
    yield from _answers(f"{name}, no coordinator:", state, job, times, None)
    with process_of([sys.executable, "-m", "bench.inputs", str(state), str(inputs // 2)]) as server:
        line_of(server)
        job = mu.map("echo {}", each=names, function="f", workers=WORKERS)
        assert line_of(server) == "half"
    yield from _answers(f"{name}, killed half done:", state, job, times, None)


def _answers(name: str, state: Path, job: Any, times: int, server: int | None) -> Iterator[Figure]:
    """How long answers take.

    :param server: the coordinator's process.
    """
    one, failed = "photos/00000007.png", "photos/00000999.png"

    def figure(of: str, ask: Callable[[], object], count: int = times) -> Figure:
        return _least(f"{name} {of}", ask, count, server)

    yield figure("`mu status JOB`, the first time", lambda: _command(state, "status", job.name), 1)
    for words in (["status", job.name], ["jobs"], ["output", job.name, one], ["output", job.name, "--failed"]):
        shown = " ".join("JOB" if word == job.name else word for word in words)
        yield figure(f"`mu {shown}`", lambda words=words: _command(state, *words))  # type: ignore[misc]
    yield figure("client, job.status()", job.status)
    yield figure("client, job.output(INPUT)", lambda: job.output(failed))
    outputs = job._coordinator.pages("jobs", job.name, "output", cursor="after")
    for what, pages in (("job.results()", job._settled()), ("outputs", outputs)):
        read = _least(f"{name} client, a page of {what}", lambda pages=pages: _read(pages), 1, server)  # type: ignore[misc]
        yield Figure(read.name, read.value / PAGES, "s", MAX_ANSWER, f"mean of {PAGES}")


def _read(pages: Iterator[object]) -> None:
    for _ in islice(pages, PAGES):
        pass


def _least(name: str, ask: Callable[[], object], times: int, server: int | None) -> Figure:
    """The least CPU of several, on both sides: the time on an idle machine, whatever else this one does."""
    walls: list[float] = []
    costs: list[float] = []
    for _ in range(times):
        wall, cost = time.perf_counter(), _cpu(server)
        ask()
        walls.append(time.perf_counter() - wall)
        costs.append(_cpu(server) - cost)
    return Figure(name, min(costs), "s", MAX_ANSWER, f"CPU, least of {times}; passed at least {min(walls):.3f} s")


def _cpu(server: int | None) -> float:
    """Seconds of CPU that this process, its children that have ended, and the coordinator have had."""
    return sum(os.times()[:4]) + (0.0 if server is None else cpu_of(server))


def _command(state: Path, *words: str) -> None:
    done = subprocess.run(
        [_MU, words[0], "--state-dir", str(state), *words[1:]],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"mu {' '.join(words)}: {done.stderr.decode()}")


class _Opener(NullOpener):
    """Takes jobs of any pipeline, and says when launches are times for."""

    def __init__(self, clock: Any, launched: Callable[[list[str]], None]) -> None:
        super().__init__(clock)
        self._launched = launched

    def start(self, launch_ids: Any, on_outcome: Any) -> Any:
        self._launched(list(launch_ids))
        return super().start(launch_ids, on_outcome)


class _Worker:
    """A worker in memory: each command ends at once, and prints what it says.

    :param waits: is called before each, and says whether to wait.
    """

    def __init__(self, session: Any, launch_id: str, job: str, reactor: Any, waits: Callable[[], bool]) -> None:
        from mu_twisted.tls import LaunchIdentity
        from mu_twisted.transport import Peer
        from mu_twisted.wire import Greeting

        self.session = session
        self.peer = Peer("192.0.2.1", 4000, LaunchIdentity(job))
        self.max_frame = 0
        self._reactor = reactor
        self._waits = waits
        self._greeting = Greeting(1, launch_id, 1000, 900).encode()
        session.connected(self)
        self._says(self._greeting)

    def greeted(self) -> None:
        pass

    def send(self, *payloads: bytes) -> None:
        for payload in payloads:
            self._reactor.callLater(0, self._take, payload)

    def close(self, farewell: bytes | None = None) -> None:
        self.session.disconnected("closed here")

    abort = drop = close

    def _take(self, payload: bytes) -> None:
        if payload.startswith(b"run:"):
            if self._waits():
                self._reactor.callLater(0.2, self._take, payload)
                return
            self._says(b"OK:RETVAL(%d):OUTPUT(%b\n):COMMAND(x)" % (FAILS in payload, payload))
        elif payload.startswith(b"reset"):
            self._says(self._greeting)
        elif payload.startswith(b"ping"):
            self._says(b"OK:PONG")

    def _says(self, payload: bytes) -> None:
        self.session.frames_received([payload])


def serve(state: Path, half: int) -> None:
    """The coordinator's process: says "ready", "half" when so many tasks are done, and "over"; goes on with a line."""
    from twisted.internet import reactor as installed
    from twisted.internet.stdio import StandardIO
    from twisted.protocols.basic import LineReceiver

    from mu_twisted.coordinator import Jobs, Journal, WorkerRegistry
    from mu_twisted.daemons._control_service import ControlService
    from mu_twisted.daemons._start import freeze_modules, use_monotonic_clock
    from mu_twisted.web import open_control

    reactor: Any = installed
    use_monotonic_clock(reactor)
    freeze_modules()
    registry = WorkerRegistry(reactor)
    journal = Journal(state / "journal.db", reactor, print)
    begun, going_on = 0, False

    def waits() -> bool:
        nonlocal begun
        if begun >= half and not going_on:
            return True
        begun += 1
        return False

    def launched(launch_ids: list[str]) -> None:
        job = jobs.jobs()[-1].job
        for launch_id in launch_ids:
            reactor.callLater(
                0.01, lambda one=launch_id: _Worker(registry.new_session(), f"{job}/{one}", job, reactor, waits)
            )

    jobs = Jobs(
        reactor,
        wall=time.time,
        journal=journal,
        registry=registry,
        opener=_Opener(reactor, launched),
        directory=state / "jobs",
    )
    jobs.restore()
    known = len(jobs.jobs())
    service = ControlService(jobs, registry, port=0, launch_rate=lambda: None)
    open_control(reactor, service, socket_path=state / "control.sock")

    class Lines(LineReceiver):
        delimiter = b"\n"

        def lineReceived(self, line: bytes) -> None:
            nonlocal going_on
            going_on = True

    StandardIO(Lines())  # type: ignore[no-untyped-call]
    said: list[str] = []

    def look() -> None:
        for job in jobs.jobs()[known:]:
            if "half" not in said and job.done + job.failed >= half:
                said.append("half")
                print("half", flush=True)
            if "over" not in said and job.state != "running":
                said.append("over")
                print("over", flush=True)
        reactor.callLater(0.1, look)

    def stop() -> None:
        jobs.stop()
        journal.close()

    reactor.addSystemEventTrigger("before", "shutdown", stop)
    look()
    print("ready", flush=True)
    reactor.run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))

"""It is measured what two browsers that watch a job of 4,000 workers at full message rate cost the coordinator.

Two runs follow one another each time, with readers of the job's stream and without, of the same process as
bench.coordinator measures. While it is watched, a thousand tasks change each quarter of a second, more than launching
allows in the long run.
"""

import http.client
import os
import socket
import statistics
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench._figure import Figure, median_of, ratio_of
from bench._processes import line_of, process_of
from bench.coordinator import greet, load_of, prepared, serve

SIZE = 4000
MESSAGES = 240_000
RUNS = 5
BROWSERS = 2
CHANGES = 1000
"""Tasks that change in each period."""


def run(runs: int = RUNS, size: int = SIZE, messages: int = MESSAGES) -> list[Figure]:
    """The ratio, as the median of pairs of runs.

    :param size: workers, and tasks; ``messages`` of all of them together.
    """
    numbers = (size, messages)
    with prepared() as work:
        pairs = [(_measure(work, *numbers, watched=True), _measure(work, *numbers, watched=False)) for _ in range(runs)]
    watched, alone = ([run[0] for run in of] for of in zip(*pairs, strict=True))
    name = f"watching: CPU per message with {BROWSERS} browsers, {size} workers"
    return [
        ratio_of(name, watched, alone, 1.1, f"{statistics.median(alone):.2f} us alone"),
        median_of("watching: events that each browser has read", [run[1] for run, _ in pairs], ""),
    ]


def _measure(work: Path, size: int, messages: int, *, watched: bool) -> tuple[float, float]:
    """Microseconds of CPU a message, and the events that each browser has read."""
    words = [sys.executable, "-m", "bench.watching", str(work), str(int(watched)), str(size), str(messages)]
    with ExitStack() as cleanup:
        served = cleanup.enter_context(process_of(words, environ={**os.environ, "MU_TRANSPORT": "core"}))
        port = line_of(served)
        readers = [
            cleanup.enter_context(process_of([sys.executable, "-m", "bench.watching", str(work), "read"]))
            for _ in range(BROWSERS if watched else 0)
        ]
        for reader in readers:
            assert line_of(reader) == "reading"
        load = cleanup.enter_context(load_of(work, port, size))
        line_of(served)
        greet(load)
        message = float(line_of(served).split()[0])
        served.kill()
        events = [int(line_of(reader)) for reader in readers]
    return message, statistics.mean(events) if events else 0.0


class _Active:
    """The one job that runs, as a watch asks for it."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def __contains__(self, name: object) -> bool:
        return name == "bench"

    def run(self, _name: str) -> Any:
        return self._run


def _watchable(work: Path, size: int) -> Any:
    """Serves the stream of the job on a socket, and has tasks change."""

    def begin(reactor: Any, run: Any) -> None:
        import time

        from mu_twisted.coordinator import Journal, Slices, Watches
        from mu_twisted.statuses import JobStatus
        from mu_twisted.web import open_control

        class Service:
            """Describes the one job."""

            def job(self, name: str) -> JobStatus:
                counts = run.counts
                return JobStatus(
                    name, "bench", "running", 0.0, counts.tasks, active=counts.active, waiting=counts.waiting
                )

            def watch_job(self, name: str, sink: Any, after: int = 0) -> Any:
                stop = watches.watch_job(name, sink, after)
                begin_changes()
                return stop

        journal = Journal(work / f"journal-{os.getpid()}.db", reactor, lambda _: None)
        service: Any = Service()
        watches = Watches(reactor, time.time, service, _Active(run), journal, Slices(reactor).run)  # type: ignore[arg-type]
        (work / "control.sock").unlink(missing_ok=True)
        open_control(reactor, service, socket_path=work / "control.sock")
        changing: list[int] = []

        def begin_changes() -> None:
            if not changing:
                changing.append(0)
                change()

        def change() -> None:
            feed = watches._feeds.get("bench")
            if feed is not None:
                feed.changed.update((changing[0] + step * 3) % size for step in range(CHANGES))
            changing[0] += 1
            reactor.callLater(0.25, change)

    return begin


def _read(work: Path) -> None:
    """A browser: reads the stream until it ends, and says how many events came."""
    connection = http.client.HTTPConnection("mu")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(work / "control.sock"))
    connection.request("GET", "/v1/jobs/bench/stream")
    answer = connection.getresponse()
    print("reading", flush=True)
    events = 0
    try:
        while line := answer.readline():
            events += line.startswith(b"event:")
    except (OSError, http.client.HTTPException):
        pass  # it was ended
    print(events, flush=True)


if __name__ == "__main__":
    if sys.argv[2] == "read":
        _read(Path(sys.argv[1]))
    else:
        work, size, messages = Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4])
        serve(work, size, size, messages // size, *([_watchable(work, size)] if sys.argv[2] == "1" else []))

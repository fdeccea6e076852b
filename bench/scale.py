"""The coordinator is measured with many workers and with many tasks: ten thousand of the one, a hundred thousand of the
other.

All are of the processes that bench.coordinator and bench.journal measure; the load is load.c.
"""

import sys
from pathlib import Path

from bench._figure import Figure, median_of, ratio_of
from bench._processes import line_of, process_of
from bench.coordinator import greet, load_of, measure, prepared

RUNS = 5
WORKERS = 10_000
PERIOD = 1000
"""Milliseconds from one message of a worker to its next."""
SECONDS = 10
"""Messages of each worker."""
FEW, MANY = 10_000, 100_000
"""Tasks."""
AT_WORK = 1000
"""Workers that do them."""
MESSAGES = 4
"""Of a worker's, for each task, its greeting included."""
FLAT = 1.2
"""What a task of many may cost, over one of few: the journal's file grows, and caches are what they are."""


def run(runs: int = RUNS) -> list[Figure]:
    """All figures; takes some minutes."""
    with prepared() as work:
        return [*_connected(work, runs), *_tasks(work, runs)]


def _connected(work: Path, runs: int) -> list[Figure]:
    """Every worker is served: a run ends only when all have had all their messages."""
    made = {"C": [], "core": []}  # type: dict[str, list[dict[str, float]]]
    for _ in range(runs):
        for server, samples in made.items():
            samples.append(measure(work, server, WORKERS, WORKERS, echoes=SECONDS, period=PERIOD))
    figures = []
    for server, samples in made.items():
        name = f"{server}, {WORKERS} workers with a message each {PERIOD / 1000:g} s"
        shares = [sample["message"] / sample["wall"] for sample in samples]
        figures += [
            median_of(f"{name}: CPU", shares, "cores"),
            median_of(f"{name}: CPU per message", [sample["message"] for sample in samples], "us"),
            median_of(f"{name}: messages", [1e6 / sample["wall"] for sample in samples], "/s"),
            median_of(f"{name}: memory per connection", [sample["memory"] for sample in samples], "kB"),
        ]
    return figures


def _tasks(work: Path, runs: int) -> list[Figure]:
    costs: dict[int, list[float]] = {FEW: [], MANY: []}
    for _ in range(runs):
        for tasks, values in costs.items():
            values.append(_microseconds(work, tasks))
    name = f"of %s, {AT_WORK} workers, {MESSAGES} messages each: CPU"
    return [
        *(median_of(f"a task {name % tasks}", values, "us") for tasks, values in costs.items()),
        ratio_of(f"a task of {MANY} over one of {FEW}, {AT_WORK} workers: CPU", costs[MANY], costs[FEW], FLAT),
    ]


def _microseconds(work: Path, tasks: int) -> float:
    """Of the coordinator's CPU for each task, with journal and states of attempts, from the first to the job's end."""
    words = [sys.executable, "-m", "bench.journal", str(work), str(tasks), str(AT_WORK), str(MESSAGES)]
    with process_of(words) as server, load_of(work, line_of(server), AT_WORK) as load:
        greet(load)
        return float(line_of(server).split()[0]) / tasks * 1e6

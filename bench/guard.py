"""The guard's cost is measured for a call of a pipeline's code, which is on the path of every message of a worker."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench._figure import Figure
from mu_twisted.pipelines import guard

CALLS = 1000
ROUNDS = 300


def run() -> list[Figure]:
    """The figure; takes under a second."""
    job = b"bench-00000000"

    def nothing() -> None:
        pass

    def watched() -> None:
        guard.call(job, 1, nothing)

    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        guard.watch(Path(directory))
        try:
            bare, guarded = _least(nothing, watched)
        finally:
            guard.stop()
    return [Figure("guard: a watched call of a pipeline's code, over a bare one", guarded - bare, "us", 1.0)]


def _least(*functions: Callable[[], None]) -> list[float]:
    """Microseconds of one call of each, in the round in which it was disturbed the least."""
    least = [float("inf")] * len(functions)
    for _ in range(ROUNDS):
        for index, function in enumerate(functions):
            began = time.perf_counter_ns()
            for _ in range(CALLS):
                function()
            least[index] = min(least[index], (time.perf_counter_ns() - began) / CALLS / 1000)
    return least

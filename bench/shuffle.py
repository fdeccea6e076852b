"""A shuffle is measured in three ways: its parts go directly, by the rendezvous alone, or through S3.

The whole of it, on this machine: the embedded Lambda and S3, a rendezvous, a coordinator for each job, all sharing its
processors. The ways take turns. Of each job that counts which it says itself: from its submission to its last task.
"""

import re
import subprocess
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

from bench._figure import Figure, median_of, ratio_of
from mu_twisted.aws import build_package
from mu_twisted.cli.demo.fixtures import BUCKET, control_of, set_up, start_mu, start_rendezvous
from mu_twisted.cli.demo.shuffle import FUNCTION, make_records
from mu_twisted.pipelines.shuffle import RECORD

TASKS = 16
SIZES = {1_000_000: 5, 10_000_000: 1}
"""Runs, by the number of records: the demo's, and 1 GB, which takes some 5 GB of disk."""
WAYS = {
    "directly": [["--out", "direct"]],
    "by the rendezvous": [["--out", "relay", "--peer", "relay"]],
    "through S3": [["--out", "s3", "--by", "s3", "--stage", stage] for stage in ("split", "merge")],
}
"""The jobs of each."""


def run() -> list[Figure]:
    """All figures; takes some minutes."""
    with ExitStack() as cleanup, redirect_stdout(sys.stderr):
        work, clock, stack = set_up(cleanup)
        control = control_of(stack)
        control.create_bucket(BUCKET)
        control.create_function(FUNCTION, build_package([make_records(work / "records")]))
        words = ["-b", BUCKET, "-l", FUNCTION, "-T", str(start_rendezvous(work, clock, cleanup))]
        _seconds(work, 1000, words)
        figures: list[Figure] = []
        for records, runs in SIZES.items():
            figures += _figures(work, records, runs, words)
        return figures


def _figures(work: Path, records: int, runs: int, words: list[str]) -> list[Figure]:
    took: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(runs):
        for way, seconds in took.items():
            seconds.append(sum(_seconds(work, records, [*words, *more]) for more in WAYS[way]))
    size = records * RECORD / 1e6
    name = f"shuffle, {size:g} MB on {TASKS} workers"
    directly = took["directly"]
    return [
        *(median_of(f"{name} {way}", [size / each for each in seconds], "MB/s") for way, seconds in took.items()),
        *(
            ratio_of(f"{name} directly over {way}: time", directly, seconds, 1.0)
            for way, seconds in took.items()
            if way != "directly"
        ),
    ]


def _seconds(work: Path, records: int, words: list[str]) -> float:
    """Of one job."""
    command = ["run", "--local", "--state-dir", str(work / "state"), "shuffle", "-n", str(TASKS), "-r", str(records)]
    with ExitStack() as cleanup:
        job = start_mu([*command, *words], work, cleanup, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = job.communicate()[0].decode(errors="replace")
    done = re.search(r"tasks done in ([0-9.]+) s", said)
    if job.returncode or done is None:
        raise RuntimeError(f"the shuffle has failed: {said.strip().splitlines()[-1:]}")
    return float(done[1])

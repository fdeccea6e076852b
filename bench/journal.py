"""The journal's share of the coordinator's CPU is measured, where attempts are as short as they get.

An attempt is twenty messages of its worker, its greeting included. The coordinator's own registry, session, machine,
job and journal run in a process of their own, which counts the CPU that it spends on keeping. The workers are one C
program (workers.c).
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench._figure import Figure
from bench._processes import line_of, process_of
from bench.coordinator import make_keys

TASKS = 4000
WORKERS = 100
MESSAGES = 20
"""Of a worker's, for each attempt."""
_HERE = Path(__file__).parent


def run() -> list[Figure]:
    """All figures; takes some seconds."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        command = ["cc", "-O2", "-o", str(work / "workers"), str(_HERE / "workers.c"), "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
        make_keys(work)
        with process_of([sys.executable, "-m", "bench.journal", str(work)]) as server:
            words = [str(work / name) for name in ("ca.pem", "worker_cert.pem", "worker_key.pem")]
            with process_of([str(work / "workers"), "127.0.0.1", line_of(server), *words, str(WORKERS), "bench", "0"]):
                total, records, states = map(float, line_of(server).split())
    name = f"journal, an attempt every {MESSAGES} messages:"
    return [
        Figure(f"{name} coordinator's CPU per attempt", total / TASKS * 1e6, "us"),
        Figure(f"{name} share of the records", records / total * 100, "%", 10.0),
        Figure(f"{name} share of the states of attempts", states / total * 100, "%"),
    ]


def serve(work: Path, tasks: int = TASKS, workers: int = WORKERS, messages: int = MESSAGES) -> None:
    """The process under measure: says its port, and in the end its CPU, in all, for records and for states, seconds.

    Counted from the first assignment to the job's end.

    :param messages: of a worker's, for each attempt.
    """
    from twisted.internet import reactor as installed

    from bench._listener import NullLauncher, receive_workers
    from mu_twisted.coordinator import AttemptFile, Attempts, JobRun, Journal, Request, Slices, WorkerRegistry
    from mu_twisted.coordinator._active_jobs import _JobRecorder
    from mu_twisted.coordinator._checkpoints import Checkpoints
    from mu_twisted.coordinator._counters import JobCounters
    from mu_twisted.coordinator._meter import Meter
    from mu_twisted.coordinator._slices import PAUSE
    from mu_twisted.coordinator.records import TaskFiles, UnkeptChanges
    from mu_twisted.daemons._limits import raise_descriptor_limit
    from mu_twisted.daemons._start import use_monotonic_clock
    from mu_twisted.fsm import Worker
    from mu_twisted.jobs import Job, JobPolicy
    from mu_twisted.pipelines import Pipeline
    from mu_twisted.statuses import JobStatus
    from mu_twisted.storage import no_label

    reactor: Any = installed
    raise_descriptor_limit()
    begun: list[float] = []

    async def task(w: Worker) -> None:
        if not begun:
            begun.append(time.process_time())
        for _ in range(messages - 1):
            await w.echo("0123456789")

    spent = {"records": 0.0, "states": 0.0}

    def counted(kind: str, do: Any) -> Any:
        def doing(*args: Any) -> None:
            since = time.process_time()
            do(*args)
            spent[kind] += time.process_time() - since

        return doing

    use_monotonic_clock(reactor)
    with tempfile.TemporaryDirectory(dir=work) as directory:
        journal = Journal(Path(directory) / "journal.db", reactor, lambda fault: print(fault))
        meter, ended = Meter(), JobStatus("bench", "bench", "done", 0.0, tasks)
        changes, background = UnkeptChanges(tasks), Slices(reactor, PAUSE)
        files = TaskFiles(journal, Path(directory))
        checkpoints = Checkpoints(
            background, lambda _: files.writing_checkpoint(Request("bench"), 0.0, job.job, no_label, changes)
        )
        recorder: Any = _JobRecorder(
            journal,
            time.time,
            "bench",
            lambda: ended,
            lambda: meter.usage(reactor.seconds()),
            JobCounters(),
            lambda task, attempt, outcome: {},
            changes,
            lambda: checkpoints.write("bench"),
        )
        recorder.record, recorder.flush = counted("records", recorder.record), counted("records", recorder.flush)
        sink = counted("states", AttemptFile(Path(directory) / "attempts.jsonl.gz").append)
        registry = WorkerRegistry(reactor)
        job = JobRun(
            reactor,
            Job("bench", range(tasks), JobPolicy(start_timeout=3600.0, heartbeat=3600.0, max_workers=workers)),
            Pipeline(name="bench", summary="echoes", first=task),
            {},
            launching=NullLauncher(),
            recorder=recorder,
            attempts=Attempts(reactor, sink),
            meter=meter,
        )
        registry.add(job)
        receive_workers(reactor, registry, work)
        job.start()

        def over(_: object) -> None:
            if job.job.error is not None:
                raise RuntimeError(job.job.error)
            print(time.process_time() - begun[0], spent["records"], spent["states"], flush=True)

        job.finished().addCallback(over)
        reactor.run()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), *map(int, sys.argv[2:]))

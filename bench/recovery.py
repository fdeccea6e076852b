"""The time is measured for which users wait when the coordinator was killed, and when they cancel.

The coordinator is the real daemon. Its workers are one C program (workers.c) that dials, greets, answers and dials
again as real ones do, on the machine that the coordinator has; Lambda and S3 say yes to everything. The last figure is
of real environments.
"""

import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench._cloud import FakeCloud, yes
from bench._figure import Figure
from mu_twisted.base.json_types import JsonObject
from mu_twisted.client import Coordinator, CoordinatorError, UnixTransport

WORKERS = 1000
FINISHED = 200
"""Tasks that are done before the coordinator is killed."""
CANCELLED = 500
ENVIRONMENTS = 50
LIMIT = 120.0
"""Seconds after which something is taken for hung."""

_HERE = Path(__file__).parent
_TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]


def run() -> list[Figure]:
    """All figures; takes about half a minute."""
    with tempfile.TemporaryDirectory(prefix="mu-bench-") as directory:
        work = Path(directory)
        command = ["cc", "-O2", "-o", str(work / "workers"), str(_HERE / "workers.c"), "-lssl", "-lcrypto"]
        subprocess.run(command, check=True)
        with yes() as cloud:
            figures = [*_recovery(work, cloud), _cancel(work, cloud)]
        return [*figures, _cancel_real(work)]


def _recovery(work: Path, cloud: FakeCloud) -> list[Figure]:
    with _daemon(work / "killed", cloud) as daemon:
        job = daemon.submit(WORKERS + FINISHED, WORKERS)
        with _workers(work, job, cloud, WORKERS, FINISHED) as accepted:
            _until(lambda: _all_active(daemon.job(job), FINISHED, WORKERS), "all are active")
            daemon.kill()
            begun = time.monotonic()
            daemon.start()
            _until(lambda: daemon.answers(), "the API answers", pause=0.01)
            answers = time.monotonic() - begun
            first = _next(accepted, "first") - begun
            back = _next(accepted, "all") - begun
            _until(lambda: _all_active(daemon.job(job), FINISHED, WORKERS), "all are active again")
            again = cloud.invocations - WORKERS
            ends = daemon.stop()
    name = f"recovery, {WORKERS} workers:"
    return [
        Figure(f"{name} kill -9 and start to the API's first answer", answers, "s", 2.0),
        Figure(f"{name} to the first worker with a task", first, "s", 2.0),
        Figure(f"{name} to the last", back, "s", 10.0),
        Figure(f"{name} workers launched anew", again, "", 0.0),
        Figure(f"{name} SIGTERM to the coordinator's end", ends, "s", 5.0),
    ]


def _cancel(work: Path, cloud: FakeCloud) -> Figure:
    with _daemon(work / "cancelled", cloud) as daemon:
        job = daemon.submit(CANCELLED, CANCELLED)
        with _workers(work, job, cloud, CANCELLED, 0):
            _until(lambda: _all_active(daemon.job(job), 0, CANCELLED), "all are active")
            begun = time.monotonic()
            status = daemon.api.post("jobs", job, "cancel")
            seconds = time.monotonic() - begun
            if status["state"] != "cancelled" or daemon.api.get("daemon")["workers"]:
                raise RuntimeError(f"the job was not cancelled: {status}")
    return Figure(f"mu cancel, {CANCELLED} workers", seconds, "s", 2.0)


def _cancel_real(work: Path) -> Figure:
    """Until no process is left, neither worker nor program."""
    from chaos_stage import BUCKET, SHELL, Stage
    from chaos_tree import tree

    stage = Stage(work)
    try:
        stage.open()
        words = ["-n", str(ENVIRONMENTS), "-b", BUCKET, "-l", SHELL, "--", "sleep 600 & sleep 600"]
        job = stage.api.post("jobs", body={"pipeline": "exec", "words": words, "source": None})["job"]

        def sleeping() -> set[int]:
            return {process.pid for process in tree(stage.stack_pid).processes.values() if process.name == "sleep"}

        _until(lambda: len(sleeping()) == 2 * ENVIRONMENTS, "all are asleep")
        begun = time.monotonic()
        stage.api.post("jobs", job, "cancel")
        _until(lambda: not sleeping() and not tree(stage.stack_pid).workers(), "all are gone", 0.02)
        seconds = time.monotonic() - begun
    finally:
        stage.close()
    return Figure(f"mu cancel to the last process's end, {ENVIRONMENTS} environments", seconds, "s", 3.0)


class _Daemon:
    """A coordinator.

    :param state_dir: its state directory.
    """

    def __init__(self, state_dir: Path, cloud: FakeCloud) -> None:
        self.api = Coordinator(UnixTransport(state_dir))
        self._log = state_dir.with_suffix(".log")
        options = ["-t", "0", "--state-dir", str(state_dir), "--host-addr", "127.0.0.1"]
        self._words = [*options, "--endpoint-url", cloud.url, "--s3-endpoint-url", cloud.url]
        self._environ = {**os.environ, "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any"}
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as sink:
            self._process = subprocess.Popen(
                [*_TWISTD, "mu-coordinator", *self._words], env=self._environ, stdout=sink, stderr=sink
            )

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> float:
        """As SIGTERM does; how long that took, in seconds."""
        assert self._process is not None
        begun = time.monotonic()
        self._process.terminate()
        self._process.wait(LIMIT)
        return time.monotonic() - begun

    def answers(self) -> bool:
        try:
            self.api.get("daemon")
        except CoordinatorError:
            assert self._process is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended: {self._log.read_text()[-2000:]}") from None
            return False
        return True

    def submit(self, tasks: int, workers: int) -> str:
        _until(self.answers, "the API answers")
        words = ["-n", str(tasks), "-l", "any", "-b", "any", "--max-workers", str(workers), "--start-timeout", "60"]
        request = {"pipeline": "exec", "words": [*words, "--", "sleep {n}"], "source": None}
        return str(self.api.post("jobs", body=request)["job"])

    def job(self, name: str) -> JsonObject:
        status: JsonObject = self.api.get("jobs", name)
        if status["state"] != "running":
            raise RuntimeError(f"the job is over: {status}")
        return status


@contextmanager
def _daemon(state_dir: Path, cloud: FakeCloud) -> Iterator[_Daemon]:
    cloud.event = {}
    cloud.invoked.clear()
    cloud.invocations = 0
    daemon = _Daemon(state_dir, cloud)
    try:
        yield daemon
    finally:
        daemon.kill()


@contextmanager
def _workers(work: Path, job: str, cloud: FakeCloud, count: int, fast: int) -> Iterator["queue.SimpleQueue[str]"]:
    """Workers with what the first event gives them; yielded when all are accepted, with what they say from then on."""
    if not cloud.invoked.wait(LIMIT):
        raise RuntimeError("nothing was launched")
    event = cloud.event
    paths = []
    for key, kind in (("cacert", "CERTIFICATE"), ("srvcrt", "CERTIFICATE"), ("srvkey", "PRIVATE KEY")):
        path = work / f"{key}.pem"
        path.write_text(f"-----BEGIN {kind}-----\n{event[key]}\n-----END {kind}-----\n", encoding="ascii")
        paths.append(str(path))
    words = [event["addr"], str(event["port"]), *paths, str(count), job, str(fast)]
    process = subprocess.Popen(
        [str(work / "workers"), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said: queue.SimpleQueue[str] = queue.SimpleQueue()
    lines = process.stdout

    def listen() -> None:
        for line in lines:
            said.put(line)

    listening = threading.Thread(target=listen)
    listening.start()
    try:
        _next(said, "all")
        yield said
    finally:
        process.kill()
        listening.join()
        process.communicate()


def _next(said: "queue.SimpleQueue[str]", wanted: str) -> float:
    """The time of the next line of this kind."""
    while True:
        word, _, at = said.get(timeout=LIMIT).partition(" ")
        if word == wanted:
            return float(at)


def _all_active(status: JsonObject, done: int, active: int) -> bool:
    if status["done"] < done and status["active"] == active:
        raise RuntimeError(f"finished tasks were lost: {status}")
    return bool(status["done"] == done and status["active"] == active == status["workers"])


def _until(condition: Callable[[], bool], what: str, pause: float = 0.05) -> None:
    deadline = time.monotonic() + LIMIT
    while True:
        with suppress(CoordinatorError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"not within {LIMIT:g} s: {what}")
        time.sleep(pause)

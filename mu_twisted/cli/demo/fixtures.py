"""The demos share what is here: phases that are named and timed, daemons that end with them, ffmpeg."""

import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from mu_twisted.aws import AwsControl, Clients, aws_session, build_package
from mu_twisted.base import MuError
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.cli._report import report_of, write_whole
from mu_twisted.cli.demo._programs import run_program
from mu_twisted.client import Coordinator, UnixTransport, Unreachable
from mu_twisted.local import Stack, start, uninterrupted


class DemoError(MuError):
    """The demo did not do what it shows."""


BUCKET = "mu-demo"
"""Of a demo's S3."""
DASHBOARD_TIMEOUT = 60.0
"""Seconds for a coordinator to serve its dashboard."""
DASHBOARD_OPEN = 60.0
"""Seconds that a dashboard is served which the user has not asked for."""
RENDEZVOUS_TIMEOUT = 60.0
"""Seconds for a rendezvous to listen."""


class Clock:
    """Says what is being done, and at the end how long each phase took."""

    def __init__(self) -> None:
        self._phases: list[tuple[str, float]] = []

    @contextmanager
    def phase(self, what: str) -> Iterator[None]:
        """One phase: named when it begins, timed when it ends."""
        self.say(f"-- {what}")
        begin = time.monotonic()
        yield
        self._phases.append((what, time.monotonic() - begin))

    def say(self, text: str) -> None:
        """A line, at once."""
        print(text, flush=True)

    def report(self) -> None:
        """How long each phase took."""
        for what, seconds in self._phases:
            print(f"{seconds:6.1f} s  {what}")
        print(f"{sum(seconds for _, seconds in self._phases):6.1f} s  in all", flush=True)


def set_up(cleanup: ExitStack) -> tuple[Path, Clock, Stack]:
    """Begin a demo: a directory for its files, a clock for its phases, an S3 and a Lambda endpoint.

    SIGTERM ends it as an interrupt does, with all that it has started.

    :param cleanup: ends all of it.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="mu-demo-")))
    clock = Clock()
    with clock.phase("start an S3 and a Lambda endpoint on this machine"):
        running = start(work / "state" / "local")
        cleanup.callback(running.stop)
    return work, clock, running.stack


def control_of(stack: Stack) -> AwsControl:
    """Control calls to the stack's Lambda and S3."""
    return AwsControl(
        Clients(
            aws_session(AccessKeys(stack.access_key, stack.secret_key)),
            stack.region,
            lambda_endpoint=stack.lambda_endpoint,
            s3_endpoint=stack.s3_endpoint,
        )
    )


class FfmpegDemo:
    """A demo whose workers run ffmpeg: its directory, its clock, its S3 with an empty bucket, and its Lambda.

    :param cleanup: ends all of it.
    :param function: name of the function.
    :param video: name of the video.
    :raises DemoError: there is no ffmpeg.
    """

    def __init__(self, cleanup: ExitStack, function: str, video: str) -> None:
        self.ffmpeg = find_ffmpeg()
        self.work, self.clock, self.stack = set_up(cleanup)
        self.control = control_of(self.stack)
        self.control.create_bucket(BUCKET)
        self._cleanup = cleanup
        self._function = function
        self._video = video

    def create_function(self, command: bytes) -> None:
        """Create the function, as a phase.

        :param command: the packaged one.
        """
        with self.clock.phase("build the function's zip (worker and ffmpeg) and create the function"):
            package = build_package([self.ffmpeg], command, names={self.ffmpeg: "ffmpeg"})
            self.control.create_function(self._function, package)

    def run_job(self, what: str, pipeline: str, *words: object) -> None:
        """Run a job of the function on the video, as :func:`run_job`."""
        named = ("-v", self._video, "-b", BUCKET, "-l", self._function)
        run_job(what, self.work, self.clock, self._cleanup, pipeline, *words, *named)


def start_mu(words: Sequence[str], work: Path, cleanup: ExitStack, **more: Any) -> "subprocess.Popen[bytes]":
    """Start a command of mu, with nothing of what the user has configured.

    :param words: those after ``mu``.
    :param work: the demo's directory.
    :param cleanup: ends the command, if it has not ended.
    :param more: for :class:`subprocess.Popen`.
    """
    mu = [sys.executable, "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MU_")}
    environment["XDG_CONFIG_HOME"] = str(work)
    # In a session of its own, so that an interrupt from the terminal reaches it through us, as a stop in good order.
    with uninterrupted():
        process = subprocess.Popen([*mu, *words], cwd="/", env=environment, start_new_session=True, **more)
        cleanup.callback(_end, process)
    return process


def run_job(what: str, work: Path, clock: Clock, cleanup: ExitStack, *words: object) -> None:
    """Run a job to its end, as a phase, on the stack of this demo.

    :param what: the phase's name.
    :param words: the pipeline and its options.
    :raises DemoError: it failed.
    """
    command = ["run", "--local", "--state-dir", str(work / "state"), *map(str, words)]
    clock.say("   $ " + " ".join(["mu", *command]))
    with clock.phase(what):
        status = start_mu(command, work, cleanup).wait()
        if status:
            raise DemoError(f"mu run ended with status {status}")


def write_report(work: Path, path: Path) -> None:
    """Write the report of the demo's last job.

    :param work: the demo's directory.
    :raises MuError: it cannot be written.
    """
    coordinator = Coordinator(UnixTransport(work / "state"))
    write_whole(path, report_of(coordinator, coordinator.get("jobs")["jobs"][-1]["job"]))


def show_dashboard(work: Path, clock: Clock, cleanup: ExitStack, *, is_kept: bool) -> None:
    """Serve the dashboard of the demo's jobs, and say where, until the user interrupts.

    :param is_kept: False: it ends with a line on standard input too, and after :data:`DASHBOARD_OPEN`.
    :raises DemoError: it is not served in time.
    """
    state = str(work / "state")
    words = ["coordinator", "--local", "--state-dir", state, "-t", "tcp:0:interface=127.0.0.1", "--dashboard", "0"]
    with (work / "coordinator.log").open("wb") as sink:
        process = start_mu(words, work, cleanup, stdout=sink, stderr=sink)
    coordinator = Coordinator(UnixTransport(work / "state"))
    deadline = time.monotonic() + DASHBOARD_TIMEOUT
    while True:
        try:
            address = coordinator.post("dashboard")["url"]
            break
        except Unreachable:
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoError("the coordinator that was to serve the dashboard did not start") from None
            time.sleep(0.1)
    ends = "an interrupt ends it" if is_kept else "ends with Enter, or after a minute: STAY=1, or --stay, keeps it"
    with suppress(KeyboardInterrupt):
        clock.say(f"dashboard: {address}\n   (opens once; {ends})")
        if is_kept:
            signal.pause()
        else:
            select.select([sys.stdin], [], [], DASHBOARD_OPEN)


def start_rendezvous(work: Path, clock: Clock, cleanup: ExitStack) -> int:
    """Start a rendezvous on a free port.

    :returns: the port.
    :raises DemoError: it does not listen in time.
    """
    words = ["rendezvous", "--state-dir", str(work / "state"), "-t", "tcp:0:interface=127.0.0.1"]
    clock.say("   $ " + " ".join(["mu", *words]))
    log = work / "rendezvous.log"
    with log.open("wb") as sink:
        process = start_mu(words, work, cleanup, stdout=sink, stderr=sink)
    deadline = time.monotonic() + RENDEZVOUS_TIMEOUT
    while True:
        ended = process.poll() is not None or time.monotonic() > deadline
        output = log.read_text(errors="replace")
        ready = re.search(r"ready for peers on port ([0-9]+)\n", output)
        if ready is not None:
            return int(ready[1])
        if ended:
            raise DemoError(f"the rendezvous did not start: {output.strip().rpartition(chr(10))[2]}")
        time.sleep(0.05)


def find_ffmpeg() -> Path:
    """The static ffmpeg of imageio-ffmpeg.

    :raises DemoError: that is not installed.
    """
    try:
        import imageio_ffmpeg
    except ImportError:
        raise DemoError("the demo needs the package imageio-ffmpeg: pip install 'mu-twisted[local]'") from None
    return Path(imageio_ffmpeg.get_ffmpeg_exe())


def run_ffmpeg(ffmpeg: Path, *words: str) -> bytes:
    """Run it, and return what it writes to its standard output.

    :raises DemoError: it failed.
    """
    done = run_program([str(ffmpeg), "-nostdin", "-v", "error", *words])
    if done.returncode:
        raise DemoError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(1.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()

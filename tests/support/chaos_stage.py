"""What the faults fall upon: an embedded stack, a coordinator and a rendezvous as processes, on one state directory."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from free_ports import held_ports
from warm_processes import MU, TWISTD, Process, run

from mu_twisted.aws import AwsControl, Clients, aws_session, build_package
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.cli.demo.fake_encoders import TOOLS, make_fake_encoders
from mu_twisted.cli.demo.fixtures import find_ffmpeg
from mu_twisted.cli.demo.shuffle import make_records
from mu_twisted.client import Coordinator, CoordinatorError, UnixTransport
from mu_twisted.local import RunningStack, find, start

TIMEOUT = 180.0
"""Seconds for a daemon to answer."""
STACK = ("--retry-delay=3", "--idle-timeout=10")
"""Lambda tries a failed event again after a minute, this one after seconds."""
BUCKET = "chaos"
SHELL = "shell"
XCENC = "xcenc"
SHUFFLE = "shuffle"
FILM = "film"
NAMED = """
import ctypes
_serve = lambda_handler
def lambda_handler(event, context=None):
    name = ctypes.CDLL(None).prctl
    job, _, launch_id = event.get("launch_id", "").rpartition("/")
    name(15, f"w:{job[-4:]}:{launch_id}".encode()[:15], 0, 0, 0)
    try:
        return _serve(event, context)
    finally:
        name(15, b"idle", 0, 0, 0)
"""
"""Shows in a worker's process which launch of which job it is of."""
SLOW = "#!/bin/sh\nsleep {pause}\nfor input; do :; done\n{command}\n"


class Broken(AssertionError):
    """What was promised did not come true."""


class Daemon:
    """One of the daemons, that may be killed and started again.

    :param words: twistd's, from the daemon's name on.
    :param log: file that takes what it says.
    :ivar warm: whether it has imported everything when it begins; else it begins as at a user's, with its environment.
    """

    warm = True

    def __init__(self, words: list[str], log: Path, environ: Mapping[str, str]) -> None:
        self.words = words
        self.log = log
        self.environ = dict(environ)
        self._process: subprocess.Popen[bytes] | None = None
        self._said = 0

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self, ready: str | None = "ready for") -> re.Match[str]:
        """Start it and wait until it says so; what it said."""
        self._said = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as sink:
            words = [*TWISTD, *self.words]
            more: dict[str, Any] = {"env": self.environ, "cwd": "/", "stdin": subprocess.DEVNULL}
            more |= {"stdout": sink, "stderr": sink}
            if self.warm:
                self._process = Process(*words, **more)
            else:
                self._process = subprocess.Popen([sys.executable, "-W", "error", "-c", *words], **more)
        if ready is None:
            return re.match("", "")  # type: ignore[return-value]
        pattern = re.compile(rf"{ready}.* on (?:port|consecutive ports from) ([0-9]+)$", re.MULTILINE)
        found: list[re.Match[str]] = []

        def is_ready() -> bool:
            match = pattern.search(self.said())
            found.extend([match] if match else [])
            return match is not None or self.ended

        until(is_ready, f"{self.words[0]} is ready")
        if not found:
            raise Broken(f"{self.words[0]} ended at its start: {self.said()[-2000:]}")
        return found[0]

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._process is None or self._process.poll() is not None

    def said(self) -> str:
        """What it has said since its last start."""
        with self.log.open("rb") as source:
            source.seek(self._said)
            return source.read().decode(errors="replace")

    def kill(self) -> None:
        """As ``kill -9`` does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(TIMEOUT)

    def stop(self, limit: float = TIMEOUT) -> float:
        """As SIGTERM does; how long that took, in seconds."""
        if self._process is None or self._process.poll() is not None:
            return 0.0
        begun = time.monotonic()
        self._process.terminate()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(TIMEOUT)
            raise Broken(f"{self.words[0]} did not end within {limit:g} s of SIGTERM") from None
        return time.monotonic() - begun


class Stage:
    """A state directory and all that works on it.

    :param directory: an empty one.
    :param options: more of the coordinator's.
    :param beside: the stage whose stack this one is to share.
    :param stack: whether to start a stack, where none is shared; else the coordinator starts one.
    """

    def __init__(self, directory: Path, *options: str, beside: Stage | None = None, stack: bool = True) -> None:
        self.state_dir = directory / "state"
        self.home = directory
        self.tools = directory / "tools"
        self._own = start(directory / "stack", options=STACK, limit=TIMEOUT) if stack and beside is None else None
        self._running: RunningStack | None = beside._running if beside is not None else self._own
        self.state_dir.mkdir(exist_ok=True)
        if self._running is not None:
            (self.state_dir / "local").symlink_to(self._running.state_dir)
        self.coordinator = Daemon(
            ["mu-coordinator", "--local", "-t", "0", "--state-dir", str(self.state_dir), *options],
            directory / "coordinator.log",
            self.environment(),
        )
        self._control: AwsControl | None = None
        self.rendezvous: Daemon | None = None
        self.rendezvous_port = 0
        self._ports = ExitStack()
        self.api = Coordinator(UnixTransport(self.state_dir))

    @property
    def stack_pid(self) -> int:
        """The process below which all environments are."""
        assert self._running is not None
        return self._running.pid

    @property
    def control(self) -> AwsControl:
        """Control calls to Lambda and S3."""
        if self._control is None:
            stack = find(self.state_dir / "local")
            assert stack is not None
            self._control = AwsControl(
                Clients(
                    aws_session(AccessKeys(stack.access_key, stack.secret_key)),
                    stack.region,
                    lambda_endpoint=stack.lambda_endpoint,
                    s3_endpoint=stack.s3_endpoint,
                )
            )
        return self._control

    def forget_stack(self) -> None:
        """Look for it anew: the coordinator has started another."""
        self._control = None

    def environment(self, **more: str) -> dict[str, str]:
        """A user's environment with an empty home, and nothing of this machine's AWS."""
        kept = {key: os.environ[key] for key in ("PATH", "LANG", "LC_ALL", "PYTHONPATH") if key in os.environ}
        return {**kept, "HOME": str(self.home), "AWS_EC2_METADATA_DISABLED": "true", **more}

    def open(self) -> None:
        """Make what jobs need and start the coordinator."""
        self.prepare()
        self.coordinator.start()

    def prepare(self) -> None:
        """Make the bucket and the function of a shell."""
        self.control.create_bucket(BUCKET)
        self.control.create_function(SHELL, _named(build_package([])))

    def open_xcenc(self, pause: float) -> None:
        """Build the fake encoders, a function of them, and start a rendezvous.

        :param pause: seconds that each of a chunk's encodes takes at least.
        """
        make_fake_encoders(self.tools)
        slow = {"vpxenc": 'place=$(mktemp -d) && ln -s "$PWD/really" "$place/vpxenc" && exec "$place/vpxenc" "$@"'}
        renamed = {self.tools / "vpxenc": "really"}
        for name, command in slow.items():
            path = self.tools / f"slow-{name}"
            path.write_text(SLOW.format(pause=pause, command=command), encoding="ascii")
            renamed[path] = name
        others = [self.tools / name for name in TOOLS if name != "vpxenc"]
        self.control.create_function(XCENC, _named(build_package([*others, *renamed], names=renamed)))
        self.open_rendezvous()

    def open_shuffle(self, pause: float) -> None:
        """Compile the program for records, make a function of it where there is none, and have a rendezvous run.

        :param pause: seconds that each of a task's commands takes at least.
        """
        if self.rendezvous is None:
            self.open_rendezvous()
        program, path = self.tools / "records", self.tools / "slow-records"
        if path.exists():
            return
        make_records(program)
        path.write_text(f'#!/bin/sh\nsleep {pause}\nexec ./really "$@"\n', encoding="ascii")
        path.chmod(0o755)
        self.control.create_function(
            SHUFFLE, _named(build_package([program, path], names={program: "really", path: "records"}))
        )

    def open_film(self, pause: float) -> None:
        """Make a function of ffmpeg, where there is none yet.

        :param pause: seconds that each of its runs takes at least.
        """
        self.tools.mkdir(exist_ok=True)
        really, path = self.tools / "ffmpeg", self.tools / "slow-ffmpeg"
        if path.exists():
            return
        really.symlink_to(find_ffmpeg())
        path.write_text(f'#!/bin/sh\nsleep {pause}\nexec ./really "$@"\n', encoding="ascii")
        path.chmod(0o755)
        package = build_package([really, path], names={really: "really", path: "ffmpeg"})
        self.control.create_function(FILM, _named(package))

    def open_rendezvous(self, shards: int = 1) -> None:
        """Start a rendezvous, in place of the one that runs.

        :param shards: processes that it is, on as many ports from ``rendezvous_port`` on.
        """
        if self.rendezvous is not None:
            self.rendezvous.stop()
        self._ports.close()
        self.rendezvous_port = self._ports.enter_context(held_ports(shards))
        words = ["mu-rendezvous", "--state-dir", str(self.state_dir)]
        words += ["--shards", str(shards)] if shards > 1 else []
        words += ["-t", f"tcp:{self.rendezvous_port}:interface=127.0.0.1"]
        self.rendezvous = Daemon(words, self.home / "rendezvous.log", self.environment())
        self.rendezvous.start()

    def close(self) -> None:
        """End everything."""
        for daemon in (self.coordinator, self.rendezvous):
            if daemon is not None:
                daemon.stop()
        self._ports.close()
        if self._own is not None:
            self._own.stop()

    # -- what users do ---------------------------------------------------------------------------------------------

    def mu(self, *words: str, limit: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a ``mu`` command."""
        return run(*MU, words[0], "--state-dir", str(self.state_dir), *words[1:], env=self.environment(), timeout=limit)

    @contextmanager
    def submitted(self, *words: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
        """``mu submit --wait``: the job's name, and the command, which ends with the job."""
        process = Process(
            *MU,
            "submit",
            "--state-dir",
            str(self.state_dir),
            "--wait",
            *words,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        try:
            name = process.stdout.readline().strip()
            if not name:
                raise Broken(f"mu submit: {process.communicate()[1]}")
            yield name, process
        finally:
            process.kill()
            process.communicate()

    def tasks(self, name: str) -> list[dict[str, Any]]:
        """The tasks of a job.

        :raises CoordinatorError: no coordinator answers.
        """
        tasks: list[dict[str, Any]] = self.api.get("jobs", name, "tasks")["tasks"]
        return tasks

    def job(self, name: str) -> dict[str, Any] | None:
        """The facts of a job; None as long as no coordinator answers."""
        try:
            fact: dict[str, Any] = self.api.get("jobs", name)
        except CoordinatorError:
            return None
        return fact


def until(condition: Callable[[], object], what: str, limit: float = TIMEOUT, pause: float = 0.02) -> None:
    """Wait for something.

    :raises Broken: it did not come about.
    """
    deadline = time.monotonic() + limit
    while not condition():
        if time.monotonic() > deadline:
            raise Broken(f"not within {limit:g} s: {what}")
        time.sleep(pause)


def _named(package: bytes) -> bytes:
    """The package, with a handler that shows the launch id."""
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        members = {info: archive.read(info) for info in archive.infolist()}
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for info, data in members.items():
            is_handler = info.filename == "worker_lambda/lambda_function.py"
            archive.writestr(info, data + NAMED.encode() if is_handler else data)
    return held.getvalue()

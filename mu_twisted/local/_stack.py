"""A local stack is found, started and stopped here, from outside. Blocking calls, for the CLI and for threads."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from mu_twisted.base.process_log import ProcessLog
from mu_twisted.local._errors import LocalError
from mu_twisted.local._state import STACK, StackDirectory, holder

START_TIME = 40.0
"""Seconds that a stack may take until it is ready."""

_LOG = "local.log"
_TWISTD = (
    "import sys; sys.path[0] = sys.argv.pop(1); from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the block is done, so that the process it starts is always known.

    Outside the main thread it does nothing, since signals are not handled there.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals do not come here
        return
    late: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda number, _: late.append(number)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
        if late:
            signal.raise_signal(late[0])


@dataclass(frozen=True)
class Stack:
    """A running stack's address and keys.

    :param lambda_endpoint: URL of the Lambda API.
    :param s3_endpoint: URL of the S3.
    :param access_key: access key that both take.
    :param secret_key: its secret.
    :param region: the region that it says it is.
    """

    lambda_endpoint: str
    s3_endpoint: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str

    def environment(self) -> dict[str, str]:
        """The AWS variables that point any SDK at this stack."""
        return {
            "AWS_ENDPOINT_URL_LAMBDA": self.lambda_endpoint,
            "AWS_ENDPOINT_URL_S3": self.s3_endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_REGION": self.region,
        }


def find(state_dir: Path) -> Stack | None:
    """The stack that runs on a state directory and answers, or None."""
    found = _read(state_dir)
    return None if found is None else found[0]


def _read(state_dir: Path) -> tuple[Stack, int] | None:
    if holder(state_dir) is None:
        return None
    try:
        fields = json.loads((state_dir / STACK).read_text())
        pid = int(fields.pop("pid"))
        stack = Stack(**fields)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    for url in (stack.lambda_endpoint, stack.s3_endpoint):
        parts = urlsplit(url)
        try:
            socket.create_connection((parts.hostname or "", parts.port or 80), 2.0).close()
        except OSError:
            return None
    return stack, pid


class RunningStack:
    """A stack that we started and will end.

    :ivar stack: its address and keys.
    :ivar state_dir: its state directory.
    """

    def __init__(self, stack: Stack, process: subprocess.Popen[bytes], state_dir: Path) -> None:
        self.stack = stack
        self._process = process
        self.state_dir = state_dir

    @property
    def pid(self) -> int:
        """The daemon's process."""
        return self._process.pid

    def leave(self) -> None:
        """Let it go on by itself: it is not waited for."""
        self._process.returncode = 0

    def stop(self, limit: float = 5.0) -> None:
        """End it and all that it made; returns when that is done. A second call does nothing.

        :param limit: seconds for it to end by itself.
        """
        _end(self._process, self.state_dir, limit)


def _end(process: subprocess.Popen[bytes], state_dir: Path, limit: float) -> None:
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The end of its standard input is enough, unless it is stuck.
        with suppress(subprocess.TimeoutExpired):
            process.wait(limit / 2)
            break
        process.send_signal(number)
    process.wait()
    if (state_dir / "run").exists():
        with suppress(LocalError):
            state = StackDirectory(state_dir)
            state.clean()
            state.release()


def start(state_dir: Path, *, options: Sequence[str] = (), limit: float = START_TIME) -> RunningStack:
    """Start a stack in a process and session of its own, and wait until it is ready. Blocks.

    It ends with :meth:`RunningStack.stop`, or by itself when this process ends, in whatever way.

    :param state_dir: its state directory.
    :param options: further options of ``mu-local``.
    :param limit: seconds to wait.
    :raises LocalError: where it does not start; one line of its own.
    """
    return _start(state_dir.absolute(), ["--stop-on-eof", *options], limit)


def ensure(state_dir: Path, *, limit: float = START_TIME) -> tuple[Stack, int | None]:
    """The stack of a state directory. One that does not run is started, and outlives this process. Blocks.

    :param limit: seconds to wait.
    :returns: the stack, and its process if it was started now.
    :raises LocalError: as :func:`start`.
    """
    found = find(state_dir)
    if found is not None:
        return found, None
    try:
        running = _start(state_dir.absolute(), [], limit)
    except LocalError:
        until = time.monotonic() + limit
        while (found := find(state_dir)) is None:  # another process was faster
            if not holder(state_dir) or time.monotonic() > until:
                raise
            time.sleep(0.03)
        return found, None
    running.leave()
    return running.stack, running.pid


def stop(state_dir: Path, limit: float = 60.0) -> int | None:
    """End the stack of a state directory, whichever process started it. Blocks.

    :param limit: seconds that it may take.
    :returns: its process; None: none runs.
    :raises LocalError: it does not end.
    """
    pid = holder(state_dir)
    if not pid:
        return None
    until = time.monotonic() + limit
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    while holder(state_dir) == pid:
        if time.monotonic() > until:
            raise LocalError(f"process {pid}, the local stack in {state_dir}, does not end within {limit:.0f} s")
        time.sleep(0.05)
    return pid


def _start(state_dir: Path, options: Sequence[str], limit: float) -> RunningStack:
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = ProcessLog(state_dir / _LOG)
    except OSError as error:
        raise LocalError(f"cannot use the state directory {state_dir}: {error.strerror}") from error
    package = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", _TWISTD, package, "-n", "--pidfile=", "mu-local", "--state-dir", str(state_dir)]
    process = None
    try:
        with uninterrupted():
            process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.PIPE if "--stop-on-eof" in options else subprocess.DEVNULL,
                stdout=log.descriptor,
                stderr=log.descriptor,
                start_new_session=True,
                cwd="/",
            )
        return _when_ready(process, state_dir, limit, log)
    except KeyboardInterrupt:
        # By itself it would end a little later than we do, in a directory that may be going meanwhile.
        if process is not None:
            _end(process, state_dir, 2.0)
        raise
    finally:
        os.close(log.descriptor)


def _when_ready(process: subprocess.Popen[bytes], state_dir: Path, limit: float, log: ProcessLog) -> RunningStack:
    until = time.monotonic() + limit
    while time.monotonic() < until:
        found = _read(state_dir)
        if found is not None and found[1] == process.pid:
            return RunningStack(found[0], process, state_dir)
        if process.poll() is not None:
            _end(process, state_dir, 0.0)
            raise LocalError(log.last_line() or "the local stack ended and logged nothing")
        time.sleep(0.03)
    _end(process, state_dir, 3.0)
    raise LocalError(f"the local stack was not ready after {limit:.0f} s; {state_dir / _LOG} says how far it came")

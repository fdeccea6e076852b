"""The project's commands as processes that have imported everything when they begin.

They are like any other: children of this process, with their own streams, directory and environment. The tests of
how daemons start do not use this, and start theirs from nothing.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

TWISTD = ("from twisted.scripts.twistd import run; run()", "-n", "--pidfile=")
MU = ("import sys; from mu_twisted.cli import main; sys.exit(main())",)
printed: list[str] = []
"""By daemons that were run to their end, in this process of the tests."""
MAX_PRINTED = 1 << 18
"""Characters of each that are kept, the last ones."""
LIMIT = 180.0
"""Seconds after which a process that should have ended is taken for hung. Many run at once, on few cores."""
_BECOME_PARENT_OF_ORPHANS = 36
"""``PR_SET_CHILD_SUBREAPER``: descendants of this process whose parent has ended become its children."""


class _Server:
    """The process that forks them, one for each process of the tests. It ends with this one."""

    def __init__(self) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._lock = threading.Lock()
        script = str(Path(__file__).with_name("warm_server.py"))
        command = [sys.executable, "-W", "error", script, str(theirs.fileno())]
        with theirs:
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        atexit.register(self._end)

    def _end(self) -> None:
        self._requests.close()
        self._process.wait()

    def start(self, words: list[str], cwd: str, env: dict[str, str], streams: list[int]) -> int:
        """Begin a process. Returns its number."""
        request = json.dumps({"words": words, "cwd": cwd, "env": env}).encode()
        libc = ctypes.CDLL(None, use_errno=True)
        with self._lock:
            libc.prctl(_BECOME_PARENT_OF_ORPHANS, 1, 0, 0, 0)
            try:
                socket.send_fds(self._requests, [request], streams)
                return int(self._requests.recv(32))
            finally:
                libc.prctl(_BECOME_PARENT_OF_ORPHANS, 0, 0, 0, 0)


_server = functools.cache(_Server)


class Process(subprocess.Popen[Any]):
    """Runs ``python -W error -c CODE WORDS...``, where the first two are of one of the above.

    :param more: as of :class:`subprocess.Popen`: cwd, env, text and the standard streams.
    """

    def __init__(self, code: str, *words: str, **more: Any) -> None:
        super().__init__([code, *words], **more)

    def _execute_child(self, args: Any, *given: Any) -> None:
        cwd, env = given[4:6]
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = given[9:15]
        streams = [number if theirs == -1 else theirs for number, theirs in enumerate((p2cread, c2pwrite, errwrite))]
        environment = os.environ if env is None else env
        self.pid = _server().start(
            [str(word) for word in args],
            str(cwd if cwd is not None else Path.cwd()),
            {str(name): str(value) for name, value in environment.items()},
            streams,
        )
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def run(code: str, *words: str, timeout: float = LIMIT, **more: Any) -> subprocess.CompletedProcess[str]:
    """Run it to its end, and return what it said."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
    with Process(code, *words, text=True, **streams) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    if code in (TWISTD[0], MU[0]):
        printed.extend(text[-MAX_PRINTED:] for text in (out, err) if text)
    return subprocess.CompletedProcess([code, *words], process.returncode, out, err)

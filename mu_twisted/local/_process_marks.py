"""A variable in its environment marks each process of a stack, so that the next start finds what was left over."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

MARK = "MU_LOCAL_RUN"
"""The variable; its value is the ``run/`` directory that the process was started for."""


def kill_marked(directory: str) -> None:
    """Kill every process whose environment says that it was made for ``directory``."""
    marks = [f"LAMBDA_RUNTIME_DIR={directory}/".encode(), f"{MARK}={directory}".encode()]
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        found = False
        for path in Path("/proc").iterdir():
            if not path.name.isdecimal():
                continue
            with suppress(OSError):
                variables = (path / "environ").read_bytes().split(b"\0")
                if any(variable.startswith(mark) for variable in variables for mark in marks):
                    os.kill(int(path.name), signal.SIGKILL)
                    found = True
        if not found:
            return
        time.sleep(0.01)

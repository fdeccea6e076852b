"""The guard runs a program that must not outlive us: ``PARENT_PID TEMPORARY SHOWN PROGRAM [ARGUMENTS]``.

The program gets SIGKILL when the parent ends, whatever way it ends, and, where TEMPORARY is not empty and the host
allows it, that as its /tmp: ``weed`` leaves sockets there. SHOWN, a JSON list, names the directories that it needs.
"""

from __future__ import annotations

import json
import os
import signal
from contextlib import suppress

from . import isolation


def main(arguments: list[str]) -> None:
    """Become the program; returns only where the parent is gone already."""
    parent, temporary, shown, program = int(arguments[0]), arguments[1], json.loads(arguments[2]), arguments[3]
    os.setsid()
    if temporary:
        with suppress(OSError):
            if os.geteuid() != 0:
                isolation.enter_user_namespace()
            isolation.private_mounts(temporary, None, shown, writable=True)
    isolation.set_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        return
    os.execv(program, arguments[3:])

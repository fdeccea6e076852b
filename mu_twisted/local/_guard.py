"""Run a program that must not outlive us: ``_guard.py PARENT_PID TEMPORARY SHOWN PROGRAM [ARGUMENTS]``.

Run by its path with the standard library. The program gets SIGKILL when the parent ends, whatever way it ends, and,
where TEMPORARY is not empty and the host allows it, that as its /tmp: ``weed`` leaves sockets there.
"""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mu_twisted.local import _isolation as isolation
else:
    _spec = importlib.util.spec_from_file_location("_mu_isolation", __file__.replace("_guard.py", "_isolation.py"))
    isolation = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(isolation)


def main(arguments: list[str]) -> None:
    parent, temporary, shown, program = int(arguments[0]), arguments[1], arguments[2].split(os.pathsep), arguments[3]
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


if __name__ == "__main__":
    main(sys.argv[1:])

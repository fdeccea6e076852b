"""A stack of an ordinary user's, started by root: ``unprivileged_stack.py UID STATE_DIR [OPTION...]``, until input ends

Says the stack as one line of JSON, or ``cannot: `` and why. Where the user could not reach our Python or the project,
both are shown to it at their own paths, in a mount namespace that ends with this process and what it started.
"""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def barrier(path: Path) -> Path | None:
    """The topmost directory on the way that not everybody may pass."""
    for directory in [*reversed(path.parents), path]:
        if not directory.stat().st_mode & stat.S_IXOTH:
            return directory
    return None


def reveal(paths: list[Path]) -> None:
    """Make these directories reachable for everybody, here."""
    from mu_twisted.local.environments import isolation

    hidden = {path: found for path in paths if (found := barrier(path)) is not None}
    if not hidden:
        return
    isolation.unshare(isolation.CLONE_NEWNS)
    isolation.mount(None, "/", None, isolation.MS_REC | isolation.MS_PRIVATE)
    held = {path: os.open(path, os.O_PATH) for path in hidden}
    for directory in sorted(set(hidden.values())):
        isolation.mount("tmpfs", str(directory), "tmpfs", 0, "mode=0755,size=64k")
    for path, descriptor in sorted(held.items()):
        path.mkdir(parents=True, exist_ok=True)
        isolation.mount(f"/proc/self/fd/{descriptor}", str(path), None, isolation.MS_BIND)
        os.close(descriptor)


def main(uid: int, *arguments: str) -> None:
    if os.geteuid() == 0:
        try:
            reveal([Path(sys.base_prefix).resolve(), Path(sys.prefix), ROOT])
        except OSError as error:
            print(f"cannot: {error}", flush=True)  # noqa: T201
            return
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # A fresh process, as one of root's that changed its user is not an ordinary one yet.
        os.execv(sys.executable, [sys.executable, __file__, str(uid), *arguments])
    from mu_twisted.local import LocalError, start

    try:
        running = start(Path(arguments[0]), options=arguments[1:])
    except LocalError as error:
        print(f"cannot: {error}", flush=True)  # noqa: T201
        return
    print(json.dumps({"pid": running.pid, "stack": dataclasses.asdict(running.stack)}), flush=True)  # noqa: T201
    sys.stdin.read()
    running.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

"""Which other Pythons are on this machine, of those that the worker is to run on."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

SUPPORTED = [(3, minor) for minor in range(11, 15)]


@functools.cache
def others() -> dict[tuple[int, int], tuple[str, str]]:
    """By version: the interpreter and its exact version. Without our own, which runs all tests."""
    found = {}
    for version in SUPPORTED:
        if version != sys.version_info[:2]:
            for path in _places(*version):
                said = _version(path)
                if said.startswith(f"{version[0]}.{version[1]}."):
                    found[version] = (path, said)
                    break
    return found


def _places(major: int, minor: int) -> Iterator[str]:
    name = f"python{major}.{minor}"
    for directory in [*os.get_exec_path(), "/usr/local/bin", "/usr/bin"]:
        yield str(Path(directory, name))
    roots = {Path.home() / ".pyenv/versions": f"{major}.{minor}*", Path("/opt"): f"*python*{major}.{minor}*"}
    roots[Path.home() / ".local/share/uv/python"] = f"cpython-{major}.{minor}*"
    for root, pattern in roots.items():
        # A newer one first.
        for home in sorted(root.glob(pattern), reverse=True):
            yield str(home / "bin" / name)


def _version(path: str) -> str:
    """The version that it says, if it runs and has what the worker imports; a shim of another version does not."""
    if not os.access(path, os.X_OK):
        return ""
    ask = "import ctypes, hashlib, json, ssl, sys, zlib; print(*sys.version_info[:3], sep='.')"
    try:
        return subprocess.run([path, "-I", "-c", ask], capture_output=True, text=True, timeout=60, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def summary() -> str:
    """Which versions ran what, and which were not found."""
    own = ".".join(map(str, sys.version_info[:3]))
    ran = [f"{own} (all tests)", *(f"{exact.strip()} (whole processes)" for _, exact in others().values())]
    absent = [
        f"{major}.{minor}" for major, minor in SUPPORTED if (major, minor) not in {*others(), sys.version_info[:2]}
    ]
    return f"the worker ran on Python {', '.join(ran)}" + (f"; not found here: {', '.join(absent)}" if absent else "")

"""A forked process becomes AWS's runtime client here, in place or as a fresh Python. Standard library only."""

from __future__ import annotations

import gc
import importlib
import os
import runpy
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from . import isolation

Spec = dict[str, Any]
"""An order to make an environment, as the daemon sent it."""

_PLAIN = (
    "import os, runpy, site, sys; site.setquit(); sys.argv[0] = 'awslambdaric'; "
    "sys.path[:1] = [os.getcwd(), os.environ['LAMBDA_RUNTIME_DIR']]; "
    "runpy.run_module('awslambdaric', run_name='__main__', alter_sys=True)"
)


def preload(runtime: str) -> None:
    """Load what AWS's client will import and what knows no endpoint: a third of its start.

    :param runtime: the directory of links to AWS's client.
    """
    sys.path.insert(0, runtime)
    with suppress(ImportError):
        importlib.import_module("simplejson")
    sys.path.remove(runtime)


def become(spec: Spec, output: int, level: str, baseline: int, stdlib: Sequence[str]) -> None:
    """Be the environment's runtime from here on, all but its code: its limits, its variables, its paths.

    :param output: the descriptor that takes what it prints.
    :param level: the isolation in force.
    :param baseline: bytes of private memory that the zygote has, which are not the function's.
    :param stdlib: the standard library's directories.
    """
    isolation.set_death_signal(signal.SIGKILL)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    isolation.set_name(b"mu-runtime")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.closerange(3, 65536)
    limit = spec["data"]
    counted = level == "user" and spec["count"]
    if counted:
        isolation.enter_user_namespace()
    isolation.limit_resources(None if limit is None else limit + baseline, processes=counted)
    if level != "none":
        # Else root, or the user namespace's owner, could take back that it may write nowhere.
        isolation.drop_privileges()
    os.umask(0o022)
    os.chdir(spec["root"])
    os.environ.clear()
    os.environ.update(spec["env"])
    time.tzset()
    sys.path[:] = [spec["root"], spec["runtime"], *stdlib]


def run(spec: Spec) -> None:
    """Run AWS's runtime client, in this process or as a fresh Python, which the function's wrapper may start."""
    wrapper = os.environ.get("AWS_LAMBDA_EXEC_WRAPPER")
    if spec["plain"] or wrapper:
        os.environ["PYTHONPATH"] = spec["runtime"]
        command = [*([wrapper] if wrapper else []), sys.executable, "-s", "-S", "-c", _PLAIN, spec["handler"]]
        try:
            os.execve(command[0], command, dict(os.environ))  # noqa: S606 - as AWS does
        except OSError as error:
            sys.exit(f"{command[0]} cannot be run: {error.strerror}")
    gc.enable()
    sys.argv[:] = ["awslambdaric", spec["handler"]]
    _unload(spec["root"])
    importlib.invalidate_caches()
    runpy.run_module("awslambdaric", run_name="__main__", alter_sys=True)


def _unload(root: str) -> None:
    """A function that brings its own gets its own."""
    if {"simplejson", "simplejson.py"}.intersection(os.listdir(root)):  # noqa: PTH208
        for name in [name for name in sys.modules if name.partition(".")[0] == "simplejson"]:
            del sys.modules[name]

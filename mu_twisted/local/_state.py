"""The state directory belongs to one stack at a time; it holds secrets, data and, while the stack runs, its address.

``lock`` is held while the stack runs and names its process; ``keys.json`` are the credentials made at the first start;
``functions/`` and ``s3/`` stay; ``run/`` and ``stack.json`` go with the process, or at the next start.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import string
import time
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from mu_twisted.local._errors import LocalError
from mu_twisted.local._process_marks import kill_marked
from mu_twisted.local._trees import make_private, remove_tree
from mu_twisted.local.environments.cgroups import MemoryGroups

STACK = "stack.json"
_LETTERS = string.ascii_uppercase + "234567"
_CHECKED = 10.0
"""Seconds for which a process that looks whether a stack runs is waited for: it may get no processor meanwhile."""


def default_state_dir(environ: dict[str, str] | os._Environ[str]) -> Path:
    """``$XDG_STATE_HOME/mu/local``, or ``~/.local/state/mu/local``."""
    base = environ.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else Path.home() / ".local" / "state"
    return root / "mu" / "local"


def running_stacks(environ: dict[str, str] | os._Environ[str]) -> list[Path]:
    """The state directories of this user's local stacks that run, in order. Those that do not are forgotten."""
    found = []
    with suppress(OSError):
        for link in _registry(environ).iterdir():
            directory = link.readlink()
            if holder(directory) is None:
                link.unlink(missing_ok=True)
            else:
                found.append(directory)
    return sorted(found)


def _registry(environ: dict[str, str] | os._Environ[str]) -> Path:
    """Where each stack of this user that runs has a link to its state directory."""
    return default_state_dir(environ).parent / "stacks"


def holder(directory: Path) -> int | None:
    """The process that holds a state directory, or None where none does (0: one that left no number)."""
    try:
        descriptor = os.open(directory / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.read(descriptor, 32).decode(errors="replace").strip()
        return int(text) if text.isdecimal() else 0
    finally:
        os.close(descriptor)
    return None


def write_private(path: Path, text: str) -> None:
    """Write a file, whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    temporary.replace(path)


class StackDirectory:
    """A state directory held by this process.

    :param path: made, for its owner only, if it is not there.
    :raises LocalError: where another process has it, or it cannot be written to.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path = self.path.resolve()
            self._lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise LocalError(
                f"cannot use the state directory {path}: {error.strerror}; try another --state-dir"
            ) from error
        self._take()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
        self.run = self.path / "run"

    def _take(self) -> None:
        # One that ends may have it for a moment still.
        waits = iter((0.02, 0.05, 0.1))
        until = time.monotonic() + _CHECKED
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            wait = 0.02 if time.monotonic() < until and self._is_checked() else next(waits, None)
            if wait is None:
                break
            time.sleep(wait)
        text = os.pread(self._lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(self._lock)
        raise LocalError(
            f"the state directory {self.path} is in use by process {text}; stop that, or give another --state-dir"
        )

    def _is_checked(self) -> bool:
        """Whether no process has the lock but those that look whether one has it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return True

    @property
    def _link(self) -> Path:
        return _registry(os.environ) / sha256(os.fsencode(self.path)).hexdigest()[:16]

    def credentials(self) -> tuple[str, str]:
        """Access key and secret key, made once and kept."""
        path = self.path / "keys.json"
        with suppress(OSError, ValueError, KeyError):
            keys = json.loads(path.read_text())
            return str(keys["access_key"]), str(keys["secret_key"])
        access = "AKIA" + "".join(secrets.choice(_LETTERS) for _ in range(16))
        secret = secrets.token_urlsafe(30)
        write_private(path, json.dumps({"access_key": access, "secret_key": secret}))
        return access, secret

    def clean(self) -> None:
        """Remove what an earlier run left: processes, groups, directories. Blocks."""
        (self.path / STACK).unlink(missing_ok=True)
        if self.run.exists():
            kill_marked(str(self.run))
            for group in self._left("cgroup"):
                MemoryGroups(group, 0).clear()
            self.end()

    def end(self) -> None:
        """Remove ``run/`` and the files outside of it that it lists. No process uses them any more."""
        for file in self._left("file"):
            with suppress(OSError):
                file.unlink()
        remove_tree(self.run)

    def _left(self, kind: str) -> list[Path]:
        try:
            lines = (self.run / "leftovers").read_text().splitlines()
        except OSError:
            return []
        return [Path(line.partition(" ")[2]) for line in lines if line.startswith(f"{kind} ")]

    def begin(self) -> Path:
        """An empty ``run/``. From now on :func:`running_stacks` names this directory, if that can be noted."""
        with suppress(OSError):
            self._link.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.path)
        return make_private(self.run)

    def leave(self, kind: str, value: str) -> None:
        """Note something outside of ``run/`` that the next start must remove: a ``cgroup`` or a ``file``."""
        with (self.run / "leftovers").open("a") as file:
            file.write(f"{kind} {value}\n")

    def release(self) -> None:
        """Release the lock."""
        with suppress(OSError):
            self._link.unlink(missing_ok=True)
            self._link.parent.rmdir()  # as far as nothing else is there
            self._link.parent.parent.rmdir()
        os.close(self._lock)

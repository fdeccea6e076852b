"""Permissions are checked here: whether others here can read a daemon's keys, or write where it keeps its own."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from twisted.logger import Logger

_log = Logger()


def warn_of_exposed_files(options: Mapping[str, Any], state_dir: Path) -> None:
    """Log a warning for each key that others can read, and for each directory of keys that others can write to.

    :param options: the daemon options, which may name keys; a daemon without any has none of its own.
    :param state_dir: the state directory.
    """
    named = (options.get(name) for name in ("ca-key", "srv-key"))
    keys = [*(Path(path) for path in named if path), state_dir / "tls" / "ca_key.pem", state_dir / "keys.json"]
    for text in exposed([state_dir, state_dir / "tls"], keys):
        _log.warn("{text}", text=text)


def exposed(directories: list[Path], keys: list[Path]) -> Iterator[str]:
    """What is amiss, a line each. What is not there is not.

    :param directories: that only their owner may write to.
    :param keys: files that only their owner may read.
    """
    for path in directories:
        mode = _mode(path)
        if mode & 0o022:
            yield (
                f"others can write to the directory {path} (mode {mode:04o}), and so put keys and records of their own "
                f"there: chmod go-w {path}"
            )
    for path in keys:
        mode = _mode(path)
        if mode & 0o066:
            yield (
                f"others can read the key {path} (mode {mode:04o}): chmod 600 {path}, and make new keys if they are "
                "not to be trusted"
            )


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode & 0o7777
    except OSError:
        return 0

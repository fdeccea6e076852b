"""Python's own directories are found here, for processes with a private /tmp that must still see them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from mu_twisted.local.environments.isolation import COVERED


def with_targets(paths: Iterable[str]) -> list[str]:
    """These directories, and where links lead on the way to them; not what is covered as a whole."""
    found = {path for path in paths if path}
    found |= {os.path.realpath(path) for path in found}
    return sorted(found.difference(COVERED))


def python_directories() -> list[str]:
    """Directories that our own Python runs from and imports from: its prefixes, and its search path."""
    here = str(Path(__file__).parent)
    searched = [path for path in sys.path if os.path.isdir(path)]  # noqa: PTH112
    program = os.path.dirname(os.path.realpath(sys.executable))  # noqa: PTH120
    return with_targets([sys.prefix, sys.base_prefix, program, here, *searched])

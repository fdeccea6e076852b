"""Directories are made for their owner only, and removed even where a program took their permissions away."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any


def make_private(path: Path) -> Path:
    """A directory for its owner only."""
    path.mkdir(mode=0o700, parents=True)
    return path


def remove_tree(path: Path) -> None:
    """Remove a tree, also where a program took its directories' rights away."""

    def retry(function: Callable[..., Any], name: str, _: object) -> None:
        try:
            os.chmod(os.path.dirname(name), 0o700)  # noqa: PTH101, PTH120
            if not os.path.islink(name):  # noqa: PTH114 - the right to remove a link is its directory's
                os.chmod(name, 0o700)  # noqa: PTH101
            function(name)
        except OSError:
            return

    shutil.rmtree(path, onerror=retry)

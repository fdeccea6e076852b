"""What programs print while they run is asked for and answered page by page, in these values, as they go in JSON.

Knows neither workers nor jobs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec


class TeePiece(msgspec.Struct, frozen=True, omit_defaults=True):
    """Some of what one run of a task prints.

    :param attempt: at the task, from 0; ``run`` within that, from 0, in the order of their commands.
    :param skipped: bytes of the run before these that are not there.
    :param ended: whether the run has ended: no more comes of it.
    :param label: what the user knows the task by; None: by its number.
    """

    task: int
    attempt: int
    run: int
    data: bytes = b""
    skipped: int = 0
    ended: bool = False
    label: str | None = None


class TeeCursor(NamedTuple):
    """A place between two pieces of a job: so many came before it, with so many bytes."""

    pieces: int = 0
    bytes: int = 0

    def __str__(self) -> str:
        return f"{self.pieces}.{self.bytes}"


class TeePage(msgspec.Struct, frozen=True):
    """Some pieces of a job, in the order in which they came.

    :param next: the cursor of those after them.
    :param skipped: bytes of output since the page before, of any tasks, that had to make room for these.
    :param unable: workers so far that stream nothing, as they are of an earlier version.
    :param over: whether none will come.
    """

    pieces: Sequence[TeePiece]
    next: str
    skipped: int = 0
    unable: int = 0
    over: bool = False


def parse_tee_cursor(text: str) -> TeeCursor:
    """The place in a job's stream of output that a page's ``next`` names.

    :raises ValueError: the text is no such cursor.
    """
    parts = text.split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and len(part) < 16 for part in parts):
        raise ValueError("expected the cursor of a page")
    return TeeCursor(*map(int, parts))

"""What programs have printed is asked for and answered page by page, in these values, as they go in JSON.

Knows neither files nor jobs.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import msgspec

Which = int | Literal["last", "all"]
"""Attempts of a task: one by its number from 0, or ``last``: the last that has not failed, if there is one, else the
last."""


class RunOutput(msgspec.Struct, frozen=True):
    """What one run of a task has printed.

    :param attempt: at the task, from 0; ``run`` within that, from 0.
    :param status: exit status, negative for a signal.
    :param failed: whether the attempt has failed.
    :param size: bytes that the worker has sent of it.
    :param output: the last of these, as many as were kept; None: they had to make room for others.
    :param label: what the user knows the task by; None: by its number.
    """

    task: int
    attempt: int
    run: int
    status: int
    failed: bool
    size: int
    output: bytes | None
    label: str | None = None


class OutputPage(msgspec.Struct, frozen=True):
    """Some runs of a job, by task, attempt and run.

    :param next: the cursor of those after them; None: there are no more.
    :param task: the number of the one task that was asked for, if it was one.
    """

    runs: Sequence[RunOutput]
    next: str | None = None
    task: int | None = None


class Cursor(NamedTuple):
    """A place between two runs: behind this one."""

    task: int
    attempt: int = -1
    run: int = -1

    def __str__(self) -> str:
        return ".".join(map(str, self))


FIRST = Cursor(0)


class OutputQuery(msgspec.Struct, frozen=True):
    """Which runs of a job are meant.

    :param after: the ``next`` of the page before.
    :param task: only of this one; ``called``: only of the one that the user names so, which may be its number.
    :param which: of its attempts.
    :param failed: only of tasks of whose attempts none has ended well.
    """

    after: Cursor = FIRST
    task: int | None = None
    called: str | None = None
    which: Which = "last"
    failed: bool = False


def parse_cursor(text: str) -> Cursor:
    """The place in a job's output that a page's ``next`` names.

    :raises ValueError: the text is no such cursor.
    """
    parts = text.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) < 10 for part in parts):
        raise ValueError("expected the cursor of a page")
    return Cursor(*map(int, parts))

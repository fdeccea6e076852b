"""A command's task is to fetch an object, run a command, and store what that made: the steps of exec and map."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import PurePosixPath
from typing import TypeVar

from mu_twisted.fsm import Worker

T = TypeVar("T")

AT_ONCE = 50
"""Objects that are fetched at once."""


@dataclass(frozen=True)
class Transfer:
    """An object and the file that it is on the worker.

    :param bucket: None: the job's.
    """

    key: str
    file: str
    bucket: str | None = None


def file_name(key: str, prefix: str) -> str:
    """A file in the private directory for an object: its own last name, so that programs see its suffix."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", PurePosixPath(key).name)[-100:]
    return f"##TMPDIR##/{prefix}-{safe}"


async def fetch_run_store(w: Worker, command: str, fetched: Sequence[Transfer], stored: Transfer | None) -> None:
    """Do it, with the worker's variable ``bucket`` set where an object is in another than the job's."""
    if fetched:
        w.extra = "fetching"
    for bucket, some in groupby(fetched, key=lambda transfer: transfer.bucket):
        await _use_bucket(w, bucket)
        for few in batched(some, AT_ONCE):
            if len(few) == 1:
                await w.retrieve(few[0].key, few[0].file)
            else:
                await w.all(*(w.retrieve(one.key, one.file) for one in few))
    w.extra = "running"
    await w.run(command)
    if stored is not None:
        w.extra = "storing"
        await _use_bucket(w, stored.bucket)
        await w.upload(stored.key, stored.file)


def batched(some: Iterable[T], most: int) -> Iterator[list[T]]:
    """The same in lists of so many, and a last one of what is left."""
    left = iter(some)
    while few := list(islice(left, most)):
        yield few


async def _use_bucket(w: Worker, bucket: str | None) -> None:
    wanted = bucket or w.settings["bucket"]
    if w.info.get("bucket in use", w.settings["bucket"]) != wanted:
        await w.set("bucket", wanted)
        w.info["bucket in use"] = wanted

"""A command's task is to fetch an object, run a command, and store what that made: the steps of exec and map."""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from mu_twisted.fsm import Worker


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


async def fetch_run_store(w: Worker, command: str, fetched: Transfer | None, stored: Transfer | None) -> None:
    """Do it, with the worker's variable ``bucket`` set where an object is in another than the job's."""
    if fetched is not None:
        w.extra = "fetching"
        await _use_bucket(w, fetched)
        await w.retrieve(fetched.key, fetched.file)
    w.extra = "running"
    await w.run(command)
    if stored is not None:
        w.extra = "storing"
        await _use_bucket(w, stored)
        await w.upload(stored.key, stored.file)


async def _use_bucket(w: Worker, transfer: Transfer) -> None:
    wanted = transfer.bucket or w.settings["bucket"]
    if w.info.get("bucket in use", w.settings["bucket"]) != wanted:
        await w.set("bucket", wanted)
        w.info["bucket in use"] = wanted

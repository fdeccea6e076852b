"""Numbered frames lie in S3 under keys that are made here; a worker fetches and stores many of them at once.

Frames are numbered through the whole video, from 1, as the original's are; in a worker's directory those of its task
are numbered from 1 again.
"""

from collections.abc import Iterable

from mu_twisted.fsm import Worker
from mu_twisted.pipelines._options import JobSettings

AT_ONCE = 50
"""Commands that are sent before the first reply is waited for."""


def frame_key(video: str, form: str, number: int) -> str:
    """Key of a frame.

    :param form: what the frames are, e.g. ``png16``.
    :param number: in the whole video, from 1.
    """
    return f"{video}-{form}/{number:08d}.png"


def frame_file(number: int, prefix: str = "") -> str:
    """File of a frame in a worker's directory.

    :param number: in the task, from 1.
    """
    return f"##TMPDIR##/{prefix}{number:08d}.png"


def chunk_frames(settings: JobSettings, task: int) -> range:
    """Numbers of the frames of a task that has a chunk of ``-f`` frames."""
    first = (settings["offset"] + task) * settings["frames"] + 1
    return range(first, first + settings["frames"])


async def fetch(w: Worker, pairs: Iterable[tuple[str, str]]) -> None:
    """Fetch objects.

    :param pairs: of keys and files.
    """
    for batch in _batches(pairs):
        await w.all(*(w.retrieve(key, file) for key, file in batch))


async def store(w: Worker, pairs: Iterable[tuple[str, str]]) -> None:
    """Store objects.

    :param pairs: of keys and files.
    """
    for batch in _batches(pairs):
        await w.all(*(w.upload(key, file) for key, file in batch))


async def count(w: Worker, pattern: str) -> int:
    """How many files there are.

    :param pattern: of the shell.
    """
    result = await w.run(f'set -- {pattern}; test -e "$1" || shift; echo $#')
    return int(result.output)


def _batches(pairs: Iterable[tuple[str, str]]) -> Iterable[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    for pair in pairs:
        batch.append(pair)
        if len(batch) == AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch

"""Messages spill to disk when memory is short: bundles of them to a file each, in a directory for each run.

Nothing here outlives the process: what an earlier process left is removed at the start.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

from mu_twisted.rendezvous._errors import RendezvousError
from mu_twisted.rendezvous._message import Message, MessageFile
from mu_twisted.wire import HEADER_SIZE

BUNDLE = 8 << 20
"""Bytes of a bundle at most, if it has more than one message."""
BUNDLED = 4096
"""Messages of a bundle at most."""
WRITTEN = 64 << 10
"""Bytes that are written at once, if there are so many."""


class SpillError(RendezvousError):
    """Messages cannot be written to disk, or not be read from it."""


class Spill:
    """Writes and reads bundles. Calls block, for as long as the kernel's page cache takes.

    :param root: the directory, for its owner only; created when it is first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = count()
        self.close()

    def new_directory(self) -> Path:
        """A path for one run's bundles; the directory is made with the first of them."""
        return self._root / str(next(self._numbers))

    def write(self, directory: Path, messages: Iterable[Message]) -> MessageFile:
        """Write messages that are in memory as one bundle, in their order.

        :raises SpillError: they cannot be written; nothing is left of them on disk.
        """
        path = self.new_path(directory)
        origins: dict[int, int] = {}
        length, arrived = 0, 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123
                for message in messages:
                    assert message.frames is not None
                    file.write(message.frames)
                    length += message.length
                    arrived = message.arrived
                    for task, attempt in message.origins:
                        origins[task] = max(attempt, origins.get(task, 0))
        except OSError as error:
            _unlink(path)
            raise SpillError(f"cannot write {length} bytes of messages to {directory}: {error.strerror}") from None
        return MessageFile(path, length, tuple(origins.items()), arrived)

    def read(self, bundle: MessageFile, offset: int, count: int) -> bytes:
        """Read bytes of a bundle.

        :param offset: of the first.
        :param count: how many at most.
        :raises SpillError: they are not there.
        """
        return self.get(bundle.path, offset, min(count, bundle.length - offset))

    def get(self, path: Path, offset: int, count: int) -> bytes:
        """Read bytes of a file.

        :param offset: of the first.
        :param count: how many at most.
        :raises SpillError: they are not there.
        """
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, count, offset)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpillError(f"cannot read {path}: {error.strerror}") from None
        if not data:
            raise SpillError(f"{path} has become shorter than it was")
        return data

    def new_path(self, directory: Path) -> Path:
        """A file of a run's that is not there yet."""
        return directory / str(next(self._numbers))

    def put(self, path: Path, offset: int, pieces: Iterable[bytes]) -> None:
        """Write bytes into a file, which is made if it is not there.

        :param offset: of the first.
        :raises SpillError: they cannot be written, or not all.
        """
        try:
            if not offset:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                for piece in _joined(pieces):
                    rest = memoryview(piece)
                    while rest:
                        count = os.pwrite(descriptor, rest, offset)
                        offset += count
                        rest = rest[count:]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpillError(f"cannot write messages to {path.parent}: {error.strerror}") from None

    def boundary(self, bundle: MessageFile, offset: int) -> int:
        """The offset of the last message that begins at this offset or before it.

        :raises SpillError: the file cannot be read.
        """
        try:
            with bundle.path.open("rb", buffering=0) as file:
                begins = following = bundle.start
                while following <= offset:
                    begins = following
                    file.seek(begins)
                    following += HEADER_SIZE + int(file.read(HEADER_SIZE) or b"0" * HEADER_SIZE)
        except OSError as error:
            raise SpillError(f"cannot read {bundle.path}: {error.strerror}") from None
        return begins

    def remove(self, path: Path) -> None:
        """Remove a file."""
        _unlink(path)

    def remove_directory(self, directory: Path) -> None:
        """Remove a run's files."""
        shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Remove what this process or an earlier one has written; other files stay."""
        with suppress(OSError):
            for path in list(self._root.iterdir()):
                if path.name.isdecimal():
                    shutil.rmtree(path, ignore_errors=True)
            self._root.rmdir()


def _unlink(path: Path) -> None:
    with suppress(OSError):  # what else is wrong with the disk shows when it is written to
        path.unlink()


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of :data:`WRITTEN` at least, but the last: writing costs more than copying few bytes."""
    some: list[bytes] = []
    size = 0
    for piece in pieces:
        some.append(piece)
        size += len(piece)
        if size >= WRITTEN:
            yield b"".join(some)
            some, size = [], 0
    yield b"".join(some)

"""The directory that messages go to when memory is short: a file for each bundle, in a directory for each run.

Nothing here outlives the process: what an earlier one left is removed at the start.
"""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path

from mu_twisted.rendezvous._errors import RendezvousError
from mu_twisted.rendezvous._message import Message, MessageFile
from mu_twisted.wire import HEADER_SIZE

BUNDLE = 8 << 20
"""Most bytes of a bundle, if it has more than one message."""
BUNDLED = 4096
"""Most messages of a bundle."""


class SpillError(RendezvousError):
    """The disk does not take what it should."""


class Spill:
    """Writes and reads bundles. Calls block, for as long as the kernel's page cache takes.

    :param root: the directory, for its owner only; made when it is first needed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._numbers = count()
        self.close()

    def new_directory(self) -> Path:
        """Where one run's bundles may go; it is made with the first of them."""
        return self._root / str(next(self._numbers))

    def write(self, directory: Path, messages: Iterable[Message]) -> MessageFile:
        """Messages in memory become one bundle, in their order.

        :raises SpillError: they cannot be written; nothing is left of them on disk.
        """
        path = directory / str(next(self._numbers))
        origins: dict[int, int] = {}
        length, arrived = 0, 0.0
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123
                for message in messages:
                    assert message.body is not None
                    file.write(b"%012d " % len(message.body))
                    file.write(message.body)
                    length += HEADER_SIZE + len(message.body)
                    arrived = message.arrived
                    for task, attempt in message.origins:
                        origins[task] = max(attempt, origins.get(task, 0))
        except OSError as error:
            _unlink(path)
            raise SpillError(f"cannot write {length} bytes of messages to {directory}: {error.strerror}") from None
        return MessageFile(path, length, tuple(origins.items()), arrived)

    def read(self, bundle: MessageFile, at: int, count: int) -> bytes:
        """Bytes of a bundle.

        :raises SpillError: they are not there.
        """
        try:
            descriptor = os.open(bundle.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, min(count, bundle.length - at), at)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise SpillError(f"cannot read {bundle.path}: {error.strerror}") from None
        if not data:
            raise SpillError(f"{bundle.path} has become shorter than it was")
        return data

    def boundary(self, bundle: MessageFile, at: int) -> int:
        """Where the last message begins that begins at an offset or before it.

        :raises SpillError: the file cannot be read.
        """
        try:
            with bundle.path.open("rb", buffering=0) as file:
                begins = following = bundle.start
                while following <= at:
                    begins = following
                    file.seek(begins)
                    following += HEADER_SIZE + int(file.read(HEADER_SIZE) or b"0" * HEADER_SIZE)
        except OSError as error:
            raise SpillError(f"cannot read {bundle.path}: {error.strerror}") from None
        return begins

    def remove(self, bundle: MessageFile) -> None:
        """It is of no more use."""
        _unlink(bundle.path)

    def remove_directory(self, directory: Path) -> None:
        """The run is no more."""
        shutil.rmtree(directory, ignore_errors=True)

    def close(self) -> None:
        """Leave nothing behind that was made here, now or by an earlier process; what else lies there stays."""
        with suppress(OSError):
            for path in list(self._root.iterdir()):
                if path.name.isdecimal():
                    shutil.rmtree(path, ignore_errors=True)
            self._root.rmdir()


def _unlink(path: Path) -> None:
    with suppress(OSError):  # what else is wrong with the disk shows when it is written to
        path.unlink()

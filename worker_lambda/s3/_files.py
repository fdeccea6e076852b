"""Transfers write files that appear whole or not at all, and read files as often as needed; faults are one line.

By ``os`` alone: ``pathlib`` would cost the worker milliseconds.
"""
# ruff: noqa: PTH105, PTH108, PTH116, PTH118, PTH120

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator

from mu_twisted.base import printable
from worker_lambda.s3._errors import S3Error

BLOCK = 256 * 1024
"""Bytes that are read or written at once."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AtomicFile:
    """A file under a private name beside its target. Several threads may write stretches of it."""

    def __init__(self, path: str) -> None:
        self._path = path
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise S3Error(f"{printable(path, 200)} is there and is not a regular file")
        self.part = os.path.join(os.path.dirname(path), f".mu-{os.urandom(8).hex()}.part")
        self._file = os.open(self.part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def restart(self) -> None:
        """Forget what an earlier try wrote."""
        os.ftruncate(self._file, 0)

    def reserve(self, size: int) -> None:
        """Have the disk's space before it is fetched in vain.

        :raises S3Error: there is not so much.
        """
        try:
            os.posix_fallocate(self._file, 0, size)
        except OSError as error:
            if error.errno in _FULL:  # else it is a file system that cannot do this
                raise S3Error(f"{local_fault('write', self._path, error)} ({size} bytes are needed)") from None

    def write(self, block: bytes, offset: int) -> None:
        view = memoryview(block)
        try:
            while view:
                written = os.pwrite(self._file, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise S3Error(local_fault("write", self._path, error)) from None

    def blocks(self, size: int) -> Iterator[bytes]:
        """What was written, the first ``size`` bytes of it."""
        return _blocks(self._file, self._path, 0, size)

    def commit(self) -> None:
        """Give the file its name."""
        os.replace(self.part, self._path)

    def close(self) -> None:
        os.close(self._file)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.part)


@contextlib.contextmanager
def atomic_file(what: str, path: str) -> Iterator[AtomicFile]:
    try:
        target = AtomicFile(path)
    except S3Error as error:
        raise S3Error(f"{what}: {error}") from None
    except (OSError, ValueError) as error:
        raise S3Error(f"{what}: {local_fault('write', path, error)}") from None
    try:
        yield target
    except OSError as error:
        raise S3Error(f"{what}: {local_fault('write', path, error)}") from None
    finally:
        target.close()


class FileSource:
    """A regular file that is read as often as needed.

    :ivar size: bytes that it had when it was opened.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        # Without O_NONBLOCK a FIFO would block until a writer opens it.
        self._file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        status = os.fstat(self._file)
        if not stat.S_ISREG(status.st_mode):
            os.close(self._file)
            raise S3Error(f"{printable(path, 200)} is not a regular file", "NotAFile")
        self.size = status.st_size

    def blocks(self, offset: int, size: int) -> Iterator[bytes]:
        """``size`` bytes of the file from ``offset`` on.

        :raises S3Error: they are not there any more, or cannot be read.
        """
        return _blocks(self._file, self._path, offset, size)

    def close(self) -> None:
        os.close(self._file)


@contextlib.contextmanager
def source_of(what: str, path: str) -> Iterator[FileSource]:
    try:
        source = FileSource(path)
    except S3Error as error:
        raise S3Error(f"{what}: {error}", error.code) from None
    except (OSError, ValueError) as error:
        code = "NoSuchFile" if isinstance(error, FileNotFoundError | NotADirectoryError) else ""
        raise S3Error(f"{what}: {local_fault('read', path, error)}", code) from None
    try:
        yield source
    finally:
        source.close()


def _blocks(file: int, path: str, offset: int, size: int) -> Iterator[bytes]:
    end = offset + size
    while offset < end:
        try:
            block = os.pread(file, min(BLOCK, end - offset), offset)
        except OSError as error:
            raise S3Error(local_fault("read", path, error)) from None
        if not block:
            raise S3Error(f"{printable(path, 200)} became shorter while it was read")
        yield block
        offset += len(block)


def local_fault(verb: str, path: str, error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"cannot {verb} {printable(path, 200)}: {reason}"


def shown(bucket: str, key: bytes) -> str:
    """An object's name in a message."""
    return printable(f"{bucket}/{key.decode('utf-8', 'backslashreplace')}", 200)

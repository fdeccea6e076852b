"""The files of named messages are read and written here, in blocks. All of it may block: it runs beside the loop."""

import hashlib
import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from worker_lambda._errors import CommandFailure

MODE = 0o644


class MessageSource:
    """The bytes of a message to be sent: a file's, which must stay as it is, or some that are given.

    :param path: of the file; None: ``data`` is sent.
    :param directory: where a second name of the file may be; None: nowhere.
    :raises CommandFailure: there is no such file, or it is none.
    """

    def __init__(self, path: bytes | None, data: bytes = b"", directory: Path | None = None) -> None:
        self._path = None if path is None else Path(os.fsdecode(path))
        self._data = data
        self._directory = directory
        self._kept: Path | None = None
        self._descriptor: int | None = None
        self._lock = threading.Lock()
        self._closed = self._busy = False
        self.length = len(data)
        if self._path is None:
            return
        try:
            status = self._path.stat()
        except (OSError, ValueError) as error:
            raise self._failure(error) from None
        if not S_ISREG(status.st_mode):
            raise CommandFailure(f"{self._path} is not a regular file", "NotAFile")
        self.length = status.st_size
        self._version = _version(status)

    def read(self, offset: int, count: int) -> bytes:
        """So many bytes.

        :raises CommandFailure: the file has changed, or cannot be read.
        """
        if self._path is None:
            return self._data[offset : offset + count]
        with self._lock:
            if self._closed:
                return b""
            self._busy = True
        try:
            return self._read(self._path, offset, count)
        except OSError as error:
            raise self._failure(error) from None
        finally:
            with self._lock:
                self._busy = False
                if self._closed:
                    self._close()

    @property
    def data_length(self) -> int:
        """Bytes that are in memory."""
        return len(self._data)

    @property
    def kept_length(self) -> int:
        """Bytes on disk that stay as long as this is open, whatever becomes of the file's name."""
        return self.length if self._kept is not None else 0

    def retain(self, used: int) -> bool:
        """Have the bytes stay, also where the file is removed.

        :param used: bytes of other files that are retained.
        :returns: whether they will: not where they may take more than half of what is free, or the file is on another
            file system than the temporary files'. A file that is written to again is found changed when it is read.
        """
        if self._path is None or self._kept is not None:
            return True
        kept = self._directory / f".sent.{os.urandom(8).hex()}" if self._directory is not None else None
        try:
            room = os.statvfs(self._path)
            if kept is None or 2 * (used + self.length) > room.f_bavail * room.f_frsize + used:
                return False
            kept.hardlink_to(self._path)
        except OSError:
            return False
        self._kept = kept
        return True

    def rest(self) -> None:
        """Take no descriptor as long as it is not read again."""
        with self._lock:
            if not self._busy:
                self._close()

    def close(self) -> None:
        """Close the file, once it is not being read."""
        with self._lock:
            self._closed = True
            if not self._busy:
                self._close()
        kept, self._kept = self._kept, None
        if kept is not None:
            with suppress(OSError):
                kept.unlink()

    def _read(self, path: Path, offset: int, count: int) -> bytes:
        if self._descriptor is None:
            self._descriptor = os.open(
                self._kept or path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )  # a FIFO does not stop us
        data = os.pread(self._descriptor, count, offset)
        while 0 < len(data) < count:
            more = os.pread(self._descriptor, count - len(data), offset + len(data))
            if not more:
                break
            data += more
        if len(data) < count or _version(os.fstat(self._descriptor)) != self._version:
            raise CommandFailure(f"{path} was changed while it was being sent")
        return data

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _failure(self, error: Exception) -> CommandFailure:
        code = "NoSuchFile" if isinstance(error, FileNotFoundError | NotADirectoryError) else ""
        return CommandFailure(f"cannot read {self._path}: {_reason(error)}", code)


class MessageTarget:
    """A file that a message is written to: it has its name once it is whole.

    :param path: where it is to be.
    :param length: bytes of the message.
    """

    def __init__(self, path: bytes, length: int) -> None:
        self._path = Path(os.fsdecode(path))
        self._temporary = self._path.parent / f".{self._path.name[:60]}.{os.urandom(8).hex()}"
        self._length = length
        self._written = 0
        self._digest = hashlib.sha256()
        self._lock = threading.Lock()
        self._made = self._busy = self._over = False

    def write(self, parts: Sequence[bytes], digest: bytes | None = None) -> None:
        """Write the next bytes; nothing is left of the file where that fails.

        :param digest: given with the last: the SHA-256 that all bytes must have, in hexadecimal. Then the file gets its
            name.
        :raises CommandFailure: they cannot be written, or they are not those that were sent.
        """
        with self._lock:
            if self._over:
                return
            self._busy = True
        whole = False
        try:
            self._append(parts)
            if digest is not None:
                if self._written != self._length or self._digest.hexdigest().encode("ascii") != digest:
                    raise CommandFailure("the bytes that came are not those that were sent: their SHA-256 differs")
                self._temporary.rename(self._path)
                whole = True
        except (OSError, ValueError) as error:
            self._over = True
            raise CommandFailure(f"cannot write {self._path}: {_reason(error)}") from None
        except CommandFailure:
            self._over = True
            raise
        finally:
            with self._lock:
                self._busy = False
                self._made = self._made and not whole
                if self._over:
                    self._remove()

    def discard(self) -> None:
        """Leave nothing behind of a file that is not whole."""
        with self._lock:
            self._over = True
            if not self._busy:
                self._remove()

    def _append(self, parts: Sequence[bytes]) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (0 if self._made else os.O_CREAT | os.O_EXCL)
        descriptor = os.open(self._temporary, flags, MODE)
        self._made = True
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for part in parts:
                self._digest.update(part)
                self._written += len(part)
                rest = memoryview(part)
                while rest:
                    rest = rest[file.write(rest) :]

    def _remove(self) -> None:
        if self._made:
            self._made = False
            with suppress(OSError):
                self._temporary.unlink()


def _version(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)

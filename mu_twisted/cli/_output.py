"""Standard output and standard error are guarded here: a fault on them is one line or nothing, never a traceback."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO


class OutputLost(Exception):
    """Standard output takes nothing.

    No MuError, and no OSError: a command that goes on after those would print into nothing.

    :param error: why.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"cannot write to standard output: {error.strerror}")
        self.reported = error.errno != errno.EPIPE
        """Whether to print it: a reader that closes a pipe early, as ``head`` does, has what it wants."""


class _OutputStream:
    """A text stream; what it cannot write is :class:`OutputLost`, or nothing on standard error."""

    def __init__(self, stream: TextIO, *, fails: bool) -> None:
        self._stream = stream
        self._fails = fails

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def write_bytes(self, data: bytes) -> None:
        """Bytes as they are, behind the text that was written before."""
        self.flush()
        try:
            self._stream.buffer.write(data)
        except OSError as error:
            raise OutputLost(error) from None

    def flush(self) -> None:
        if self._stream is not None:
            self._try("flush")

    def isatty(self) -> bool:
        return self._stream is not None and bool(self._stream.isatty())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _try(self, method: str, *args: str) -> None:
        try:
            if self._stream is None:  # the process was started with it closed
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            getattr(self._stream, method)(*args)
        except OSError as error:
            if self._fails:
                raise OutputLost(error) from None


@contextmanager
def guarded() -> Iterator[None]:
    """Replace both streams for the body, which raises :class:`OutputLost` if what it prints is not taken."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _OutputStream(sys.stdout, fails=True), _OutputStream(sys.stderr, fails=False)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def drop() -> None:
    """Discard what is left in the buffers: it would fail once more when the interpreter ends."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.__stdout__, sys.__stderr__):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError:
            with suppress(OSError, ValueError):
                os.dup2(null, stream.fileno())
    os.close(null)

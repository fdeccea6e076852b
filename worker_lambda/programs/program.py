"""A program is a shell command in a session of its own, of whose output the last 64 KiB are kept."""

import errno
import os
import subprocess
from pathlib import Path

from worker_lambda._errors import CommandFailure
from worker_lambda.programs._processes import MARK

MAX_OUTPUT = 64 << 10
"""Bytes of output that are kept: the last ones."""
_READ = 64 << 10
_SHOWN = 100
"""Bytes of a command that are shown."""


class Tail:
    """The last bytes of a stream, in constant memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._data = bytearray()
        self.size = 0
        """Bytes of the whole stream so far."""

    def add(self, data: bytes) -> None:
        """Take the next piece."""
        self._data += data
        self.size += len(data)
        if len(self._data) > 2 * self._limit:
            del self._data[: -self._limit]

    def value(self) -> bytes:
        """What is kept."""
        return bytes(self._data[-self._limit :])

    def since(self, offset: int, most: int) -> tuple[int, bytes]:
        """The next bytes behind so many.

        :param most: of them.
        :returns: how many bytes there were before them, which are more where some are not kept any more; and them.
        """
        begin = self.size - len(self._data)
        offset = max(offset, begin)
        return offset, bytes(self._data[offset - begin : offset - begin + most])


class Program:
    """A running command. Its end has two parts: the shell exits, and every process that holds the output closes it.

    :param command: for ``/bin/sh -c``.
    :param directory: where it runs.
    :param mark: put into its environment, see :mod:`worker_lambda.programs._processes`.
    :ivar number: among those of the task, from 0.
    :ivar streamed: bytes of its output that were streamed, or passed over.
    :ivar held: whether its output was still held when it was reported; what comes after that is dropped.
    :raises CommandFailure: it cannot be started.
    """

    def __init__(self, command: bytes, directory: Path, mark: str) -> None:
        if b"\0" in command:
            raise CommandFailure("a command cannot hold a NUL byte", "BadCommand")
        self.command = command
        self.number = self.streamed = 0
        self.held = False
        self.tail = Tail(MAX_OUTPUT)
        self._closed = False
        try:
            reading, writing = os.pipe2(os.O_CLOEXEC)
        except OSError as error:
            raise CommandFailure(f"could not start the command: {error.strerror}") from None
        try:
            self._process = subprocess.Popen(
                [b"/bin/sh", b"-c", command],
                stdin=subprocess.DEVNULL,
                stdout=writing,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, MARK: mark},
                start_new_session=True,
            )
        except OSError as error:
            os.close(reading)
            code = "BadCommand" if error.errno == errno.E2BIG else ""
            raise CommandFailure(f"could not start the command: {error.strerror}", code) from None
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        self.output = reading

    @property
    def group(self) -> int | None:
        """Its process group, None once the shell has been waited for: then the number may be another's."""
        return self._process.pid if self._process.returncode is None else None

    def read(self) -> int | None:
        """Take some output.

        :returns: how many bytes; None if there is nothing now, 0 once every holder has closed it.
        """
        try:
            data = os.read(self.output, _READ)
        except BlockingIOError:
            return None
        if not self.held:
            self.tail.add(data)
        return len(data)

    def poll(self) -> int | None:
        """Exit status, negative for a signal; None while the shell runs."""
        return self._process.poll()

    @property
    def remark(self) -> bytes:
        """What is to be said of its end, on one line; empty if that was as it should be."""
        if not self.held:
            return b""
        command = b" ".join(self.command.split())
        return (
            b"%b has ended, but a program that it has left in the background holds its output: that is not waited for, "
            b"and ends with the task; send its output elsewhere, or `wait` for it"
            % (command if len(command) <= _SHOWN else command[:_SHOWN] + b" ...")
        )

    def result(self) -> tuple[int, bytes]:
        """Status and output, as far as they are known; to be called at the end."""
        status = self._process.poll()
        return -9 if status is None else status, self.tail.value()

    def close(self) -> None:
        """Close the descriptor, and wait for the shell if it has been killed."""
        if not self._closed:
            self._closed = True
            os.close(self.output)
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:  # stuck in the kernel; subprocess reaps it later
                return

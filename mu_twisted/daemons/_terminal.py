"""The terminal is the process's real standard output and standard error; a write to it never raises.

What reads them may be gone, or the disk behind them full: no reason for a daemon to go on for ever, or to exit with
another status than it would have had. twistd replaces ``sys.stdout`` and ``sys.stderr`` by its log; these stay.
"""

import sys
from typing import Any, TextIO


class Unfailing:
    """A text stream that takes everything.

    :param stream: what it stands for; None where the process was started with the descriptor closed.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.fault: str | None = None
        """Why the last write failed, if it did."""
        self._stream = stream

    def write(self, text: str) -> int:
        """As a text stream's, but that it never raises OSError."""
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        """The same."""
        self._try("flush")

    def say(self, text: str) -> bool:
        """Write a line, at once.

        :returns: whether it was taken.
        """
        self.fault = None
        self.write(f"{text}\n")
        self.flush()
        return self.fault is None

    def __getattr__(self, name: str) -> Any:
        """Everything else that rich asks a stream for: ``isatty``, ``fileno``, ``encoding``."""
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and bool(self._stream.isatty())

    def _try(self, method: str, *args: str) -> None:
        try:
            if self._stream is None:
                raise ValueError("it is closed")
            getattr(self._stream, method)(*args)
        except (OSError, ValueError) as error:
            self.fault = getattr(error, "strerror", None) or str(error)


out = Unfailing(sys.__stdout__)
err = Unfailing(sys.__stderr__)

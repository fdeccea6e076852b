"""Exit statuses are 2 for usage, 1 for failure, 0 for success, and a failure is one line on standard error.

twistd by itself exits 1 for a usage error, 0 after every clean stop, and prints a traceback when a start fails.
"""

import atexit
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Any, NoReturn, Protocol, TextIO

from twisted.logger import Logger
from twisted.python import usage

from mu_twisted.base import MuError
from mu_twisted.daemons import _terminal
from mu_twisted.pipelines import print_version, refuse_words

SUCCESS = 0
FAILURE = 1
USAGE = 2

_log = Logger()
_status: int | None = None
_logged = False
_parent: int | None = None
"""The descriptor from which the process that waits for a daemon's start reads why it failed."""
_MAX_LINE = 4096
"""Bytes of that: a pipe takes so many at once."""


class StartFailed(Exception):
    """The daemon cannot start, and the error has been printed.

    An exception, not SystemExit: of that twistd takes no notice, so it would leave its PID file, and the process that
    the user has started would wait for ever for the one that was to be the daemon.
    """


def set_status(status: int) -> None:
    """The process is to exit with this status, once twistd has stopped everything in its own way."""
    global _status  # noqa: PLW0603 - there is one process, and it exits once
    if _status is None:
        atexit.register(_leave)
    _status = status


def _leave() -> None:
    _terminal.out.flush()
    _terminal.err.flush()
    os._exit(_status or SUCCESS)


def complain(message: str) -> None:
    """Print an error on the real standard error, and log it where the log is another place."""
    _terminal.err.say(f"error: {message}")
    if _logged:
        _log.error("{message}", message=message)


def log_complaints() -> None:
    """Have :func:`complain` log as well: the log is not what stands on standard error."""
    global _logged  # noqa: PLW0603 - as above
    _logged = True


def fail_start(error: MuError) -> NoReturn:
    """The daemon cannot start: say why, and exit 2 where what was asked for is wrong in itself, else 1."""
    message = str(error)
    complain(message)
    if error.misuse:
        set_status(USAGE)
    if _parent is not None:
        os.write(_parent, f"error: {message}\n".encode("utf-8", "backslashreplace")[:_MAX_LINE])
    sys.excepthook = partial(_without_traceback, sys.excepthook)
    raise StartFailed(message)


def _without_traceback(
    otherwise: Callable[..., Any], kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if not issubclass(kind, StartFailed):
        otherwise(kind, error, traceback)


def report_to_parent(twistd: Mapping[str, Any] | None) -> None:
    """Have the error of a failed start printed on the terminal also where twistd is about to become a daemon.

    Call it in makeService, before twistd forks. The process that the user has started waits until the daemon's start
    is decided, and prints of an error 100 bytes as a Python literal, in two lines; now it prints ours in their place.

    :param twistd: twistd's own options; None where something else runs the service.
    """
    global _parent  # noqa: PLW0603 - as above
    if twistd is not None and not twistd["nodaemon"] and sys.__stderr__ is not None:
        reading, _parent = os.pipe()
        os.set_blocking(reading, False)
        sys.__stderr__ = _ParentsError(sys.__stderr__, reading)  # type: ignore[misc,assignment]


class _ParentsError:
    """Standard error of the process that waits for the daemon's start: all that it writes there is that it failed.

    :param stream: the real one.
    :param reading: the descriptor to read why from.
    """

    def __init__(self, stream: TextIO, reading: int) -> None:
        self._stream = stream
        self._reading = reading

    def write(self, text: str) -> None:
        # Nothing is there if the start failed of what is no user's mistake: twistd's words will do.
        with suppress(BlockingIOError):
            text = os.read(self._reading, _MAX_LINE).decode("utf-8", "replace") or text
        self._stream.write(text)
        self._stream.flush()


AGAIN = 0.3
"""Seconds after which a SIGINT is another one, and not the same, that came by two ways."""


def ignore_repeat_signals(reactor: Any, *, at_once: bool = False) -> None:
    """Have SIGINT and SIGTERM stop the reactor once: Twisted takes one that comes while all ends for an error.

    A second one is common: Ctrl-C is pressed again, or a service manager signals the whole group.

    :param reactor: Twisted's, which does not run yet.
    :param at_once: whether Ctrl-C that is pressed again ends the process at once.
    """
    since: float | None = None

    def stopping() -> None:
        nonlocal since
        since = time.monotonic() if since is None else since

    def once(stop: Callable[[int, FrameType | None], object], number: int, frame: FrameType | None) -> None:
        if since is None:
            stopping()
            stop(number, frame)
        elif at_once and number == signal.SIGINT and time.monotonic() - since > AGAIN:
            _terminal.err.say("error: interrupted again, ended at once; `mu jobs` lists what is on record")
            os._exit(FAILURE)

    def wrap() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, partial(once, stop))

    reactor.callWhenRunning(wrap)
    reactor.addSystemEventTrigger("before", "shutdown", stopping)


class DefaultWords(Protocol):
    """Words that the user has configured are put before those of a command line, so that the latter count more."""

    added: set[str]
    """Names of the options that were given a value in this way."""

    def before_pipeline(self, options: usage.Options, words: Sequence[str]) -> list[str]:
        """The words of a daemon, with those that are configured.

        :param options: are about to parse the words.
        """

    def behind_pipeline(self, options: usage.Options, words: Sequence[str]) -> list[str]:
        """The words of a job, with those that are configured.

        :param options: are about to parse the words; asked about after the daemon's.
        """


class Options(usage.Options):
    """Options whose errors are one line and status 2."""

    configured: DefaultWords | None = None
    """Gives the options defaults of the user's own."""

    command = "twistd [twistd's options] COMMAND"
    """What its user types before the options, for the help."""

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """Parse, or print what is wrong and exit."""
        words = sys.argv[1:] if options is None else options
        if self.configured is not None:
            options = self.configured.before_pipeline(self, words)
        try:
            refuse_words(self, words)
            super().parseOptions(options)  # type: ignore[no-untyped-call]
        except usage.UsageError as error:
            complain(usage_text(error))
            raise SystemExit(USAGE) from None

    def opt_version(self) -> None:
        """Show the version of mu and exit."""
        print_version()

    opt_h = usage.Options.opt_help


def usage_text(error: usage.UsageError) -> str:
    """The error as a user wants to read it, with what to do."""
    text = str(error).removeprefix("Parameter type enforcement failed: ")
    return f"{text} (--help shows the options)"

"""Exit statuses: 2 for usage, 1 for failure, 0 for success, and one line on standard error for the user.

twistd by itself exits 1 for a usage error, 0 after every clean stop, and prints a traceback when a start fails.
"""

import atexit
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, NoReturn

from twisted.python import usage

from mu_twisted.pipelines import print_version

SUCCESS = 0
FAILURE = 1
USAGE = 2

_status: int | None = None


def set_status(status: int) -> None:
    """The process is to exit with this status, once twistd has stopped everything in its own way."""
    global _status  # noqa: PLW0603 - there is one process, and it exits once
    if _status is None:
        atexit.register(_leave)
    _status = status


def _leave() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status or SUCCESS)


def complain(message: str) -> None:
    """Tell the user on the real standard error; twistd redirects ``sys.stderr`` into the log."""
    print(f"error: {message}", file=sys.__stderr__, flush=True)  # noqa: T201 - the user reads it there, log or no log


def fail_start(message: str) -> NoReturn:
    """The daemon cannot start: say why and exit 1."""
    complain(message)
    raise SystemExit(FAILURE)


def heed_one_signal(reactor: Any) -> None:
    """Have SIGINT and SIGTERM stop the reactor once: Twisted takes one that comes while all ends for an error.

    A second one is common: Ctrl-C is pressed again, or a service manager tells the whole group.

    :param reactor: Twisted's, which does not run yet.
    """
    ends = False

    def stopping() -> None:
        nonlocal ends
        ends = True

    def once(stop: Callable[[int, FrameType | None], Any], number: int, frame: FrameType | None) -> None:
        if not ends:
            stopping()
            stop(number, frame)

    def wrap() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            stop = signal.getsignal(number)
            if callable(stop):
                signal.signal(number, partial(once, stop))

    reactor.callWhenRunning(wrap)
    reactor.addSystemEventTrigger("before", "shutdown", stopping)


class Options(usage.Options):
    """Options whose errors are one line and status 2."""

    def parseOptions(self, options: Any = None) -> None:
        """Parse, or tell what is wrong and exit."""
        try:
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

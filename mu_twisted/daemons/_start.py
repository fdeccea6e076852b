"""What every daemon does at its start: listen at once or fail, and profile where asked."""

import cProfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.daemons._limits import backlog_limit
from mu_twisted.daemons._options import BACKLOG
from mu_twisted.wire import MuError

_log = Logger()


class StartError(MuError):
    """The daemon cannot start."""


def listen_at_once(reactor: Any, options: Mapping[str, Any], listen: Callable[[Any], Deferred[Any]]) -> Any:
    """Listen where ``-t`` says.

    :param options: the daemon options; ``listen`` is the endpoint, ``port`` what the user has said.
    :param listen: takes the endpoint.
    :returns: the port.
    :raises StartError: it is not possible.
    """
    endpoint = serverFromString(reactor, options["listen"])  # type: ignore[no-untyped-call]
    outcome: list[Any] = []
    listen(endpoint).addBoth(outcome.append)
    if not outcome:
        raise StartError(f"-t {options['port']}: this kind of endpoint is not ready at once")
    if isinstance(outcome[0], Failure):
        raise StartError(
            f"cannot listen on {options['port']}: {' '.join(outcome[0].getErrorMessage().split())}; "
            "choose another with -t (0: any that is free)"
        )
    kernel = backlog_limit()
    if kernel is not None and kernel < BACKLOG:
        _log.warn(
            "the kernel lets only {kernel} connections wait (net.core.somaxconn): a burst of more may be delayed",
            kernel=kernel,
        )
    return outcome[0]


def open_profile(path: Path) -> cProfile.Profile:
    """Begin to profile this thread, the reactor's.

    :raises StartError: the file that is to hold the result cannot be written.
    """
    try:
        path.touch()
    except OSError as error:
        raise StartError(f"-P {path}: {error.strerror}") from None
    profile = cProfile.Profile()
    profile.enable()
    return profile

"""What every daemon does at its start: listen at once or fail, and profile where asked."""

import cProfile
import errno
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.daemons._limits import backlog_limit
from mu_twisted.daemons._options import BACKLOG, listen_description
from mu_twisted.daemons._port_holder import port_holder
from mu_twisted.wire import MuError

_log = Logger()


class StartError(MuError):
    """The daemon cannot start."""


def listen_at_once(
    reactor: Any, options: Mapping[str, Any], listen: Callable[[Any], Deferred[Any]], endpoint: Any = None
) -> Any:
    """Listen where ``-t`` says.

    :param options: the daemon options; ``listen`` is the endpoint, ``port`` what the user has said.
    :param listen: takes the endpoint.
    :param endpoint: where to listen in place of ``-t``.
    :returns: the port.
    :raises StartError: it is not possible.
    """
    if endpoint is None:
        try:
            endpoint = serverFromString(reactor, options["listen"])  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError):
            raise StartError(f"-t {options['port']}: systemd has handed over no such socket; give a port") from None
    outcome: list[Any] = []
    listen(endpoint).addBoth(outcome.append)
    if not outcome:
        raise StartError(f"-t {options['port']}: this kind of endpoint is not ready at once")
    if isinstance(outcome[0], Failure):
        raise StartError(
            f"cannot listen on {options['port']}: {_why_not(outcome[0])}; choose another with -t (0: any that is free)"
        )
    if not hasattr(outcome[0].getHost(), "port"):
        outcome[0].stopListening()
        raise StartError(f"-t {options['port']}: workers dial over TCP; give a port, or an endpoint of TCP")
    kernel = backlog_limit()
    if kernel is not None and kernel < BACKLOG:
        _log.warn(
            "the kernel lets only {kernel} connections wait (net.core.somaxconn): a burst of more may be delayed",
            kernel=kernel,
        )
    return outcome[0]


def _why_not(failure: Failure) -> str:
    """Why a port cannot be had, in the system's words where it is the system that refuses it."""
    error = failure.value
    if not isinstance(error, CannotListenError) or not isinstance(error.socketError, OSError):
        return " ".join(failure.getErrorMessage().split())
    if error.socketError.errno == errno.EADDRINUSE:
        holder = port_holder(error.port)
        if holder is not None:
            known = ", which takes jobs by `mu submit`" if holder.endswith("(mu-coordinator)") else ""
            return f"{holder} has it{known}"
    return error.socketError.strerror or str(error.socketError)


def remembered_port(options: Mapping[str, Any], directory: Path) -> Mapping[str, Any]:
    """The options with the port of the last start in place of ``-t 0``, so that workers find us again.

    :param directory: the state directory, which holds it in ``port``. One that somebody else has taken is left to them.
    """
    if options["port"] != "0":
        return options
    try:
        port = int((directory / "port").read_text(encoding="ascii"))
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", port))
    except (OSError, ValueError, OverflowError):
        return options
    return {**options, "listen": listen_description(str(port))}


def remember_port(directory: Path, port: int) -> None:
    """Note the port for the next start. One that was noted before is there until the new one is.

    :raises StartError: it cannot be written.
    """
    path, text = directory / "port", f"{port}\n"
    try:
        if not path.exists() or path.read_text(encoding="ascii") != text:
            fresh = path.with_suffix(".new")
            fresh.write_text(text, encoding="ascii")
            fresh.replace(path)
    except OSError as error:
        raise StartError(f"cannot write to the state directory {directory}: {error.strerror}") from None


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

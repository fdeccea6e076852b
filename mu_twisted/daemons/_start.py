"""Every daemon starts and ends in the same way: a clock that does not jump, a port at once or a failure, and an order.

Knows nothing of what a daemon does in between.
"""

import cProfile
import gc
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReadDescriptor, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.base import MuError
from mu_twisted.daemons._limits import backlog_limit
from mu_twisted.daemons._options import BACKLOG
from mu_twisted.transport import ListeningPort, why_not_listening

PortT = TypeVar("PortT", bound=ListeningPort)
_log = Logger()
_ANY_PORT = re.compile(r"(tcp6?:(?:(?:.*:)?port=)?)0((?::.*)?)")
"""An endpoint of TCP that names no port of its own, in all the ways that Twisted takes."""


@implementer(IReadDescriptor)
class InputEnd:
    """Reads standard input, and reports its end once: the process that has started this one is gone.

    :param reactor: Twisted's.
    :param ended: is called then, unless the reactor is stopping.
    """

    def __init__(self, reactor: Any, ended: Callable[[], object]) -> None:
        self._reactor = reactor
        self._ended = ended
        self._stopped = False
        reactor.addSystemEventTrigger("before", "shutdown", self._shut)

    def _shut(self) -> None:
        self._stopped = True

    def fileno(self) -> int:
        return 0

    def logPrefix(self) -> str:
        return "stdin"

    def doRead(self) -> None:
        if not os.read(0, 4096):
            self._reactor.removeReader(self)
            self._report()

    def connectionLost(self, reason: Failure) -> None:
        """A pipe's end comes here, which the kernel reports by a hang-up and nothing to read."""
        self._reactor.removeReader(self)
        if self._reactor.running:
            self._reactor.callWhenRunning(self._report)

    def _report(self) -> None:
        if not self._stopped:
            self._stopped = True
            self._ended()


class StartError(MuError):
    """The daemon cannot start."""


def use_monotonic_clock(reactor: Any) -> None:
    """Give the reactor a clock that cannot be set: every timer of the process counts by it from now on.

    Twisted counts by the time of day, so that setting the clock would fire all timers, or none for hours.
    """
    reactor.seconds = time.monotonic


def listen_at_once(
    reactor: Any,
    options: Mapping[str, Any],
    listen: Callable[[IStreamServerEndpoint], Deferred[PortT]],
    endpoint: IStreamServerEndpoint | None = None,
    option: str = "-t",
) -> PortT:
    """Listen where ``-t`` says, or another option.

    :param options: the daemon options; ``listen`` is the endpoint, ``port`` what the user has said.
    :param listen: takes the endpoint.
    :param endpoint: where to listen in place of ``-t``.
    :param option: how the user says it.
    :returns: the port.
    :raises StartError: it is not possible.
    """
    if endpoint is None:
        try:
            endpoint = serverFromString(reactor, options["listen"])  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, LookupError):
            raise StartError(f"-t {options['port']}: systemd has passed no such socket; give a port") from None
    outcome: list[Any] = []
    listen(endpoint).addBoth(outcome.append)
    if not outcome:
        raise StartError(f"-t {options['port']}: this kind of endpoint is not ready at once")
    if isinstance(outcome[0], Failure):
        why = why_not_listening(outcome[0])
        known = ", which takes jobs by `mu submit`" if why.endswith("(mu-coordinator) has it") else ""
        raise StartError(
            f"cannot listen on {options['port']}: {why}{known}; choose another with {option} (0: any that is free)"
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
    port: PortT = outcome[0]
    return port


def listen_as_before(
    reactor: Any,
    options: Mapping[str, Any],
    listen: Callable[[IStreamServerEndpoint], Deferred[PortT]],
    directory: Path,
    name: str = "port",
) -> PortT:
    """Listen where ``-t`` says, and note the port: where any will do it is that of the last start, if it is free.

    So workers find their coordinator again, and coordinators their rendezvous.

    :param directory: the state directory; ``name`` is the file in it that holds the port.
    :returns: the port.
    :raises StartError: it is not possible.
    """
    before = _remembered(options["listen"], directory / name)
    port: PortT | None = None
    if before is not None:
        with suppress(StartError):  # something else has it by now
            port = listen_at_once(reactor, {**options, "listen": before}, listen)
    if port is None:
        port = listen_at_once(reactor, options, listen)
    remember_port(directory, port.getHost().port, name)
    return port


def _remembered(description: str, path: Path) -> str | None:
    """The endpoint with the port of the last start; None if it names a port of its own, or none is known."""
    any_port = _ANY_PORT.fullmatch(description)
    try:
        port = int(path.read_text(encoding="ascii")) if any_port is not None else 0
    except (OSError, ValueError):
        return None
    return f"{any_port[1]}{port}{any_port[2]}" if any_port is not None and 0 < port < 65536 else None


def remember_port(directory: Path, port: int, name: str = "port") -> None:
    """Note the port for the next start. One that was noted before is there until the new one is.

    :raises StartError: it cannot be written.
    """
    path, text = directory / name, b"%d\n" % port
    try:
        if not path.exists() or path.read_bytes() != text:
            fresh = path.with_suffix(".new")
            fresh.write_bytes(text)
            fresh.replace(path)
    except OSError as error:
        raise StartError(f"cannot write to the state directory {directory}: {error.strerror}") from None


def freeze_modules() -> None:
    """Have the garbage collector pass over all that was loaded: it stays, and each full collection would take 50 ms
    for it, in which no worker is heard.
    """
    gc.collect()
    gc.freeze()


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


def write_profile(profile: cProfile.Profile, path: str) -> None:
    """End a profile that :func:`open_profile` has begun."""
    profile.disable()
    profile.dump_stats(path)


async def close_in_turn(*steps: Callable[[], Any]) -> None:
    """Take the steps one after the other. One that fails is logged, and keeps none after it from being taken.

    :param steps: each may return a Deferred or a coroutine, which is waited for.
    """
    for step in steps:
        try:
            await maybeDeferred(step)
        except Exception:  # noqa: BLE001 - the journal, not least, is to be closed whatever happens before
            _log.failure("closing failed at {step}", step=getattr(step, "__qualname__", repr(step)))

"""What carries the connections of a port is chosen here: the core, which is C, or Twisted's TLS."""

import os
from collections.abc import Mapping
from enum import StrEnum

from twisted.logger import Logger

from mu_twisted.base import MuError, one_line

VARIABLE = "MU_TRANSPORT"
"""The environment's, which names one of the two."""

MAX_IO_THREADS = 256
"""Threads for handshakes that the core takes."""

_log = Logger()


class Transport(StrEnum):
    """What carries connections."""

    CORE = "core"
    TWISTED = "twisted"


class TransportChoiceError(MuError):
    """The one that was asked for is not there; one line."""


class UnknownTransport(TransportChoiceError):
    """The variable names none."""

    misuse = True


def choose_transport(environ: Mapping[str, str]) -> Transport:
    """Choose the core, unless the environment says otherwise or it was not built, which is logged in one line.

    :param environ: the process's environment.
    :raises TransportChoiceError: the variable names none, or the core and it is not there.
    """
    wanted = environ.get(VARIABLE, "")
    if wanted == Transport.TWISTED:
        _log.warn("connections are carried by Twisted's TLS, as {variable} says", variable=VARIABLE)
        return Transport.TWISTED
    if wanted not in ("", Transport.CORE):
        raise UnknownTransport(f"{VARIABLE}={wanted[:40]}: expected {' or '.join(Transport)}")
    fault = _fault_of_core()
    if fault is None:
        return Transport.CORE
    if wanted:
        raise TransportChoiceError(f"{VARIABLE}={wanted}: the transport's core is not there ({fault}); build it anew")
    _log.warn(
        "connections are carried by Twisted's TLS, at a third of the speed, as the transport's core is not there "
        "({fault}): install a C compiler and the headers of OpenSSL, then mu anew",
        fault=fault,
    )
    return Transport.TWISTED


def _fault_of_core() -> str | None:
    """Why the core cannot be loaded; None where it can."""
    try:
        import mu_twisted.transport._core  # noqa: F401
    except ImportError as error:
        return one_line(str(error), 200)
    return None


def io_threads(wanted: int | None) -> int:
    """How many threads carry out handshakes: so many, or one for each core that this process may use."""
    return min(wanted or len(os.sched_getaffinity(0)), MAX_IO_THREADS)


def io_descriptors(threads: int) -> int:
    """How many descriptors the core takes, beside its connections'."""
    return 2 * threads + 4

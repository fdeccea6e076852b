"""What dialling needs of the system: addresses of a host, options of a socket, and faults in words."""

import socket
import ssl
from contextlib import suppress

from worker_lambda._errors import DialError

Target = tuple[int, tuple[str, int] | tuple[str, int, int, int]]
"""Address family and address."""


def resolve(host: str, port: int) -> list[Target]:
    """Where a host is. Blocks while a name is looked up; an address is not.

    :raises DialError: nowhere.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DialError(getattr(error, "strerror", None) or str(error)) from None
    targets: list[Target] = [(int(family), address) for family, _, _, _, address in found]  # type: ignore[misc]
    if not targets:
        raise DialError("the host has no address")
    return targets


def tune(sock: socket.socket) -> None:
    """No waiting for more to send, and notice within about a minute that the other side is gone without a word."""
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20),
        (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10),
        (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
    ):
        with suppress(OSError):  # not everywhere, and not vital
            sock.setsockopt(level, option, value)


def dial_error(error: OSError) -> DialError:
    """What the system or the TLS library says, as a line for a user."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return DialError(f"the certificate shown there is not trusted: {error.verify_message}", final=True)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return DialError("closed by the other side during the TLS handshake")
    if isinstance(error, ssl.SSLError):
        return DialError("TLS: " + str(error.reason or error).replace("_", " ").lower())
    return DialError(error.strerror or str(error))

"""An address that an option names is read here, and listened on: of this machine, or one that others reach."""

import ipaddress
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.python.failure import Failure

from mu_twisted.config import is_host
from mu_twisted.transport import ListeningPort, why_not_listening
from mu_twisted.web._calls import ControlError

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ListenAddress:
    """Where to listen.

    :param host: the name or address by which it is reached, without brackets.
    :param port: 0: any that is free.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def interface(self) -> str:
        """The IP address to listen on; empty, all of them, for a name that is not this machine's own."""
        try:
            return str(ipaddress.ip_address(self.host))
        except ValueError:
            return LOOPBACK if self.is_here else ""

    @property
    def is_here(self) -> bool:
        """Whether only this machine reaches it, so that it needs no TLS."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def parse_address(text: str) -> ListenAddress:
    """The address that an option names: a port on loopback, or ``HOST:PORT``.

    :raises ValueError: it names none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else LOOPBACK
    if not is_host(host) or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected a port of this machine, or HOST:PORT, got {text!r}")
    return ListenAddress(host.lower(), int(port))


def resolve_own(address: ListenAddress, option: str, look_up: Callable[..., Any] = socket.getaddrinfo) -> ListenAddress:
    """The address with the host's IP address in place of its name, for a listener that only that one may reach.

    :param option: names the host, for the error.
    :param look_up: as the standard library's, whose time limit is the system's.
    :raises ControlError: one line: the name is unknown, or another machine's.
    """
    if address.interface:
        return address
    try:
        found = [where[0] for *_, where in look_up(address.host, None, type=socket.SOCK_STREAM)]
    except OSError as error:
        raise ControlError(
            f"{option}: this machine does not find {address.host}: {error.strerror}; give one of its own IP addresses"
        ) from None
    for host in found:
        if not ipaddress.ip_address(host.partition("%")[0]).is_unspecified and _is_own(host):
            return ListenAddress(host, address.port)
    raise ControlError(
        f"{option}: {address.host} is {', '.join(found)}, no address of this machine; give one of its own IP addresses"
    )


def _is_own(host: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return True
    return False


def listen_on(reactor: Any, address: ListenAddress, factory: Any, option: str) -> ListeningPort:
    """Listen, at once; a name that is not this machine's own means all addresses.

    :param option: names the address, for the error.
    :returns: the port.
    :raises ControlError: one line.
    """
    interface = address.interface
    kind: Any = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    outcome: list[Any] = []
    kind(reactor, address.port, interface=interface).listen(factory).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        raise ControlError(
            f"cannot listen on {address}: {why_not_listening(outcome[0])}; choose another with {option} "
            "(0: any that is free)"
        )
    port: ListeningPort = outcome[0]
    return port


async def stop_listening(port: ListeningPort) -> None:
    """Accept no more, and wait until the port is closed."""
    await port.stopListening()

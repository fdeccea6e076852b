"""An address that an option names is read here, and listened on: of this machine, or one that others reach."""

import ipaddress
from dataclasses import dataclass
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.python.failure import Failure

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
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected a port of this machine, or HOST:PORT, got {text!r}")
    return ListenAddress(host.lower(), int(port))


def listen_on(reactor: Any, address: ListenAddress, factory: Any, what: str) -> Any:
    """Listen, at once; a name that is not this machine's own means all addresses.

    :param what: listens, for the error.
    :returns: the port.
    :raises ControlError: one line.
    """
    try:
        interface = str(ipaddress.ip_address(address.host))
    except ValueError:
        interface = LOOPBACK if address.is_here else ""
    kind: Any = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
    outcome: list[Any] = []
    kind(reactor, address.port, interface=interface).listen(factory).addBoth(outcome.append)
    if isinstance(outcome[0], Failure):
        reason = " ".join(outcome[0].getErrorMessage().split())
        raise ControlError(f"{what} cannot listen on {address.host} port {address.port}: {reason}")
    return outcome[0]

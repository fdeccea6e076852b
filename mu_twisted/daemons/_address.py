"""The address that workers are told to dial."""

import ipaddress
import socket
from urllib.parse import urlsplit

from mu_twisted.wire import MuError


class AddressError(MuError):
    """No address of this host can be found."""


def own_address(endpoint: str) -> str:
    """The local address of the route to an endpoint; loopback if the endpoint is there.

    :param endpoint: a URL; nothing is sent to it.
    :raises AddressError: there is no route.
    """
    url = urlsplit(endpoint)
    host, port = url.hostname or "", url.port or 443
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            return str(ipaddress.ip_address(probe.getsockname()[0].partition("%")[0]))
    except (OSError, ValueError) as error:
        raise AddressError(f"no route to {host}, so no own address ({error}): give --host-addr") from None

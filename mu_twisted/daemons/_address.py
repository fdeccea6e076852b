"""The address that workers dial is found here: the user's, this instance's, or the way to Lambda."""

import ipaddress
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from mu_twisted.aws.metadata import public_address
from mu_twisted.base import MuError

_log = Logger()


class AddressError(MuError):
    """No address of this host can be found."""


async def find_address(
    reactor: Any, endpoint: str, given: str | None = None, environ: Mapping[str, str] = os.environ
) -> str:
    """The address of this host at which workers reach it: the one that the user gives, else on EC2 its public one, else
    that of the route to Lambda. The choice is logged.

    :param endpoint: Lambda's base URL.
    :param given: ``--host-addr``.
    :raises AddressError: there is no route, or workers on this machine cannot find the host that is given.
    """
    if given:
        await deferToThread(check_found, given, endpoint)
        _log.info("workers dial {address}, as --host-addr says", address=given)
        return given
    address = await deferToThread(own_address, endpoint)
    public = None
    if not ipaddress.ip_address(address).is_loopback:
        public = await public_address(reactor, environ)
    if public is not None:
        _log.info("workers dial {address}, this instance's public address", address=public)
        return public
    _log.info("workers dial {address}, from which Lambda is reached (--host-addr)", address=address)
    return address


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


def check_found(host: str, endpoint: str) -> None:
    """Look up a host that workers are to dial. Those on AWS may know names that this machine does not.

    :param endpoint: Lambda's base URL: on loopback, its workers are on this machine.
    :raises AddressError: they would not find it.
    """
    try:
        socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except OSError as error:
        if _is_loopback(urlsplit(endpoint).hostname or ""):
            raise AddressError(f"--host-addr: no worker on this machine finds {host}: {error.strerror}") from None
        _log.warn("--host-addr: this machine does not find {host}; do workers?", host=host)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

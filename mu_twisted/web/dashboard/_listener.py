"""The dashboard listens on this machine, or with TLS under a name that browsers elsewhere know."""

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mu_twisted.coordinator import ObservedJobService
from mu_twisted.tls import KeyPair
from mu_twisted.web._api import Api
from mu_twisted.web._calls import ControlError
from mu_twisted.web._factory import ControlFactory
from mu_twisted.web.dashboard._sessions import Sessions
from mu_twisted.web.dashboard._site import Site

MAX_BODY = 1 << 20
CLOSE_TIME = 1.0
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class DashboardAddress:
    """Where the dashboard is to listen.

    :param host: the name or address by which browsers reach it, without brackets.
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


def parse_address(text: str) -> DashboardAddress:
    """The address that an option names: a port on loopback, or ``HOST:PORT``.

    :raises ValueError: it names none.
    """
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if colon else LOOPBACK
    if not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"expected a port of this machine, or HOST:PORT, got {text!r}")
    return DashboardAddress(host.lower(), int(port))


class DashboardFactory(ControlFactory):
    """Keeps its connections in the number of those that may connect only once they have shown a session, as streams do:
    of the others the oldest make room.
    """

    def admitted(self, channel: Any) -> None:
        if channel.streams:
            super().admitted(channel)


class Dashboard:
    """The open dashboard.

    :param url: of its page.
    """

    def __init__(self, url: str, port: Any, factory: ControlFactory, sessions: Sessions) -> None:
        self.url = url
        self._port = port
        self._factory = factory
        self._sessions = sessions

    def new_address(self) -> str:
        """An address that opens the page once, with a session: whoever has it first may see and change jobs."""
        # Behind the #, which browsers send to no server and put into no log.
        return f"{self.url}#code={self._sessions.new_code()}"

    def close(self) -> Deferred[Any]:
        """Listen no more and end all connections."""
        stopped: Deferred[Any] = Deferred.fromCoroutine(_stop(self._port))
        return DeferredList([stopped, self._factory.close(CLOSE_TIME)])


def open_dashboard(
    reactor: Any,
    service: ObservedJobService,
    address: DashboardAddress,
    *,
    sessions_path: Path,
    wall: Callable[[], float],
    issue: Callable[[str], KeyPair] | None = None,
    max_connections: int = 64,
) -> Dashboard:
    """Open the dashboard, at once.

    :param reactor: Twisted's.
    :param service: answers what is asked about jobs.
    :param sessions_path: of the file of its sessions.
    :param issue: gives a certificate for a host that is not this machine; None: there is no CA that could.
    :raises ControlError: one line.
    """
    if not address.is_here and issue is None:
        raise ControlError("a dashboard for other machines needs the CA's key for its certificate: give --ca-key")
    sessions = Sessions(sessions_path, wall)
    scheme = "http" if address.is_here else "https"
    hosts: set[str] = set()
    site = Site(Api(service, reactor), sessions, lambda: hosts, scheme, lambda *drop: factory.drops.dropped(*drop))
    factory: Any = DashboardFactory(
        site.answer,
        lambda transport: f"{transport.getPeer().host}",
        clock=reactor,
        max_connections=max_connections,
        max_unadmitted=max_connections,
        max_body=MAX_BODY,
    )
    protocols = factory
    if not address.is_here and issue is not None:
        protocols = TLSMemoryBIOFactory(_contexts(issue(address.host)), False, factory, reactor)
    port = listen_on(reactor, address, protocols, "the dashboard")
    number = port.getHost().port
    names = {address.host, LOOPBACK, "localhost", "::1"} if address.is_here else {address.host}
    for name in names:
        shown = f"[{name}]" if ":" in name else name
        hosts.add(f"{shown}:{number}")
        if number == (80 if address.is_here else 443):
            hosts.add(shown)
    shown = f"[{address.host}]" if ":" in address.host else address.host
    return Dashboard(f"{scheme}://{shown}:{number}/", port, factory, sessions)


def listen_on(reactor: Any, address: DashboardAddress, factory: Any, what: str) -> Any:
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


def _contexts(pair: KeyPair) -> Any:
    key = crypto.load_privatekey(crypto.FILETYPE_PEM, pair.key)
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pair.certificate)
    return CertificateOptions(
        privateKey=key, certificate=certificate, raiseMinimumTo=TLSVersion.TLSv1_2, enableSessions=False
    )


async def _stop(port: Any) -> None:
    await port.stopListening()

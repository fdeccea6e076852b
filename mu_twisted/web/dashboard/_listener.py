"""The dashboard listens on this machine, or with TLS under a name that browsers elsewhere know."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.ssl import CertificateOptions, TLSVersion
from twisted.protocols.tls import TLSMemoryBIOFactory

from mu_twisted.coordinator import ObservedJobService
from mu_twisted.tls import KeyPair
from mu_twisted.transport import ListeningPort
from mu_twisted.web._address import LOOPBACK, ListenAddress, listen_on, stop_listening
from mu_twisted.web._api import Api
from mu_twisted.web._calls import ControlError
from mu_twisted.web._factory import ControlFactory
from mu_twisted.web.dashboard._sessions import Sessions
from mu_twisted.web.dashboard._site import Site

MAX_BODY = 1 << 20
CLOSE_TIME = 1.0


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

    def __init__(self, url: str, port: ListeningPort, factory: ControlFactory, sessions: Sessions) -> None:
        self.url = url
        self._port = port
        self._factory = factory
        self._sessions = sessions

    def new_address(self) -> str:
        """An address that opens the page once, with a session: the first browser there may see and change jobs."""
        # Behind the #, which browsers send to no server and put into no log.
        return f"{self.url}#code={self._sessions.new_code()}"

    def close(self) -> Deferred[Any]:
        """Listen no more and end all connections."""
        stopped: Deferred[Any] = Deferred.fromCoroutine(stop_listening(self._port))
        return DeferredList([stopped, self._factory.close(CLOSE_TIME)])


def open_dashboard(
    reactor: Any,
    service: ObservedJobService,
    address: ListenAddress,
    *,
    sessions_path: Path,
    wall: Callable[[], float],
    issue: Callable[[str], KeyPair] | None = None,
    max_connections: int = 64,
) -> Dashboard:
    """Open the dashboard, at once.

    :param reactor: Twisted's.
    :param service: answers what is asked about jobs.
    :param address: where it listens.
    :param sessions_path: of the file of its sessions.
    :param wall: the time of day, seconds since 1970.
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
    port = listen_on(reactor, address, protocols, "--dashboard")
    number = port.getHost().port
    names = {address.host, LOOPBACK, "localhost", "::1"} if address.is_here else {address.host}
    for name in names:
        shown = f"[{name}]" if ":" in name else name
        hosts.add(f"{shown}:{number}")
        if number == (80 if address.is_here else 443):
            hosts.add(shown)
    shown = f"[{address.host}]" if ":" in address.host else address.host
    return Dashboard(f"{scheme}://{shown}:{number}/", port, factory, sessions)


def _contexts(pair: KeyPair) -> Any:
    key = crypto.load_privatekey(crypto.FILETYPE_PEM, pair.key)
    certificate = crypto.load_certificate(crypto.FILETYPE_PEM, pair.certificate)
    return CertificateOptions(
        privateKey=key, certificate=certificate, raiseMinimumTo=TLSVersion.TLSv1_2, enableSessions=False
    )

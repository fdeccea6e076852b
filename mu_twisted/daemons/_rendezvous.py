"""The coordinator's way to the rendezvous that jobs name."""

import ipaddress
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint

from mu_twisted.coordinator import Peers, RendezvousLink
from mu_twisted.daemons._keys import LAUNCH_MARGIN, Keys
from mu_twisted.tls import KeyPair, RoleIdentity, TaskIdentity, client_contexts
from mu_twisted.transport import FrameProtocol, Receiver, TransportError, connect
from mu_twisted.wire import MuError

RENDEZVOUS = RoleIdentity("rendezvous")
DIAL_TIMEOUT = 5.0
"""Seconds for the TCP connection."""
LONGEST_FUNCTION = timedelta(minutes=15)
"""Lambda's own limit: the keys of an attempt are good for so long, and the margin of a launch's."""
_MAX_NOTICE = 64 << 10


class RendezvousError(MuError):
    """The rendezvous of a job cannot be used."""


def rendezvous_address(settings: Any, lambda_endpoint: str | None) -> str:
    """HOST:PORT as workers are to dial it.

    :param settings: the job's options.
    :param lambda_endpoint: base URL of the Lambda whose workers are to reach it, where it is known.
    :raises RendezvousError: no worker could.
    """
    host = settings["rendezvous-host"].strip("[]")
    if lambda_endpoint and _is_loopback(host) and not _is_loopback(urlsplit(lambda_endpoint).hostname or ""):
        raise RendezvousError(
            f"workers on Lambda cannot reach a rendezvous at {host}: give the address at which they can with -H"
        )
    return f"[{host}]:{settings['rendezvous-port']}" if ":" in host else f"{host}:{settings['rendezvous-port']}"


class LinkOpener:
    """Connections to all rendezvous that jobs name.

    :param reactor: Twisted's.
    :param keys: the coordinator's.
    """

    def __init__(self, reactor: Any, keys: Keys) -> None:
        self._reactor = reactor
        self._keys = keys
        self._links: dict[str, RendezvousLink] = {}

    def link(self, settings: Any, address: str) -> RendezvousLink | None:
        """The connection to a rendezvous, open or not.

        :returns: None where keys are shared: the original's rendezvous knows no coordinator.
        """
        if self._keys.shared:
            return None
        if address not in self._links:
            self._links[address] = RendezvousLink(self._reactor, self._dialler(settings), address)
        return self._links[address]

    async def open(self, settings: Any, link: RendezvousLink | None) -> None:
        """See that a job's rendezvous is there.

        :raises RendezvousError: it is not, or its keys are of another CA.
        """
        try:
            if link is not None:
                await link.open()
            else:
                (await self._dialler(settings)(_Caller())).close()
        except TransportError as error:
            raise RendezvousError(_explain(rendezvous_address(settings, None), str(error))) from None

    def close(self) -> None:
        """Leave all of them."""
        for link in self._links.values():
            link.close()

    def _dialler(self, settings: Any) -> Callable[[Receiver], Deferred[FrameProtocol]]:
        host, port = settings["rendezvous-host"].strip("[]"), settings["rendezvous-port"]
        endpoint: Any = HostnameEndpoint(self._reactor, host, port, timeout=DIAL_TIMEOUT)
        contexts = client_contexts(self._keys.own, self._keys.ca, expected=None if self._keys.shared else RENDEZVOUS)

        def dial(receiver: Receiver) -> Deferred[FrameProtocol]:
            return connect(endpoint, contexts, receiver, self._reactor, _MAX_NOTICE)

        return dial


def peers(keys: Keys, job: str, address: str) -> Peers:
    """What a job's run gives to the attempts at its tasks."""
    authority = keys.authority
    if authority is None:
        return Peers(job, address, None)

    def issue(identity: TaskIdentity) -> KeyPair:
        return authority.issue(identity, lifetime=LONGEST_FUNCTION + LAUNCH_MARGIN)

    return Peers(job, address, issue)


def _explain(address: str, error: str) -> str:
    if "certificate" in error or "TLS" in error:
        return (
            f"the rendezvous at {address} and this coordinator do not know each other's keys ({error}): start both "
            "with the same --state-dir, or with files of one `mu genkeys` (-c, -s, -k)"
        )
    return (
        f"no rendezvous at {address} ({error}): start it with `twistd -n mu-rendezvous`, or say where it is with "
        "-H and -T"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Caller:
    """Wants to know only whether somebody is there."""

    def connected(self, connection: FrameProtocol) -> None:
        pass

    def frames_received(self, payloads: list[bytes]) -> None:
        pass

    def disconnected(self, reason: str) -> None:
        pass

"""The rendezvous that jobs name are found and dialled here, for the coordinator."""

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint

from mu_twisted.base import MuError
from mu_twisted.coordinator import JobLinks, Peers, RendezvousLink, spread
from mu_twisted.daemons._keys import LAUNCH_MARGIN, RENDEZVOUS, Keys
from mu_twisted.pipelines import JobSettings
from mu_twisted.tls import KeyPair, TaskIdentity, client_contexts
from mu_twisted.transport import FrameProtocol, Receiver, TransportError, connect

DIAL_TIMEOUT = 5.0
"""Seconds for the TCP connection."""
LONGEST_FUNCTION = timedelta(minutes=15)
"""Lambda's own limit: the keys of an attempt are good for so long, and the margin of a launch's."""
MAX_PORT = 65535
_MAX_NOTICE = 64 << 10
"""Largest message accepted from a rendezvous, bytes."""


class RendezvousUnreachable(MuError):
    """The rendezvous of a job cannot be used."""


def rendezvous_addresses(settings: JobSettings, lambda_endpoint: str | None) -> list[str]:
    """HOST:PORT of each shard as workers are to dial it.

    :param settings: the job's options.
    :param lambda_endpoint: base URL of the Lambda whose workers are to reach it, where it is known.
    :raises RendezvousUnreachable: no worker could.
    """
    host = settings["rendezvous-host"].strip("[]")
    first, shards = settings["rendezvous-port"], settings["rendezvous-shards"]
    if first + shards - 1 > MAX_PORT:
        raise RendezvousUnreachable(f"-R: {shards} shards from port {first} on would need ports above {MAX_PORT}")
    if lambda_endpoint and _is_loopback(host) and not _is_loopback(urlsplit(lambda_endpoint).hostname or ""):
        raise RendezvousUnreachable(
            f"workers on Lambda cannot reach a rendezvous at {host}: give the address at which they can with -H"
        )
    shown = f"[{host}]" if ":" in host else host
    return [f"{shown}:{port}" for port in range(first, first + shards)]


class LinkOpener:
    """Connections to all rendezvous that jobs name.

    :param reactor: Twisted's.
    :param keys: the coordinator's.
    """

    def __init__(self, reactor: Any, keys: Keys) -> None:
        self._reactor = reactor
        self._keys = keys
        # A link lives as long as a job holds it, or its connection does.
        self._links: WeakValueDictionary[str, RendezvousLink] = WeakValueDictionary()

    def links(self, peers: Peers) -> JobLinks | None:
        """The connections to the shards that a job uses, open or not.

        :returns: None where keys are shared: the original's rendezvous knows no coordinator.
        """
        if self._keys.shared:
            return None
        return JobLinks({shard: self._link(peers.addresses[shard]) for shard in peers.used}, peers.shards)

    async def open(self, peers: Peers) -> None:
        """See that a job's rendezvous is there.

        :raises RendezvousUnreachable: it is not, or its keys are of another CA.
        """
        for address in (peers.addresses[shard] for shard in peers.used):
            try:
                if self._keys.shared:
                    (await self._dialler(address)(_ReachabilityCheck())).close()
                else:
                    await self._link(address).open()
            except TransportError as error:
                raise RendezvousUnreachable(_explain(address, len(peers.addresses), str(error))) from None

    def close(self) -> None:
        """Leave all of them."""
        for link in list(self._links.values()):
            link.close()

    def _link(self, address: str) -> RendezvousLink:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = RendezvousLink(self._reactor, self._dialler(address), address)
        return link

    def _dialler(self, address: str) -> Callable[[Receiver], Deferred[FrameProtocol]]:
        host, _, port = address.rpartition(":")
        endpoint: Any = HostnameEndpoint(self._reactor, host.strip("[]"), int(port), timeout=DIAL_TIMEOUT)
        contexts = client_contexts(self._keys.own, self._keys.ca, expected=None if self._keys.shared else RENDEZVOUS)

        def dial(receiver: Receiver) -> Deferred[FrameProtocol]:
            return connect(endpoint, contexts, receiver, self._reactor, _MAX_NOTICE)

        return dial


def peers(
    keys: Keys,
    job: str,
    addresses: Sequence[str],
    tasks: int,
    producers: Mapping[int, Sequence[int]],
    *,
    direct: bool = True,
) -> Peers:
    """What a job's run gives to the attempts at its tasks."""
    shards = spread(tasks, producers, len(addresses)) if len(addresses) > 1 else ()
    authority = keys.authority
    if authority is None:
        return Peers(job, addresses, None, shards)

    def issue(identity: TaskIdentity) -> KeyPair:
        return authority.issue(identity, lifetime=LONGEST_FUNCTION + LAUNCH_MARGIN)

    return Peers(job, addresses, issue, shards, direct)


def _explain(address: str, shards: int, error: str) -> str:
    if "certificate" in error or "TLS" in error:
        return (
            f"the rendezvous at {address} and this coordinator do not know each other's keys ({error}): start both "
            "with the same --state-dir, or with files of one `mu genkeys` (-c, -s, -k)"
        )
    many = f" --shards {shards}" if shards > 1 else ""
    return (
        f"no rendezvous at {address} ({error}): start it with `mu rendezvous{many}`, or say where it is with "
        f"-H and -T{', and how many shards it has with -R' if many else ''}"
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _ReachabilityCheck:
    """Checks only whether a peer is there."""

    def connected(self, connection: FrameProtocol) -> None:
        pass

    def frames_received(self, payloads: list[bytes]) -> None:
        pass

    def disconnected(self, reason: str) -> None:
        pass

"""The coordinator's way to the rendezvous that a job names: checked before anything is launched."""

import ipaddress
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
_MAX_NOTICE = 64 << 10


class RendezvousError(MuError):
    """The rendezvous of a job cannot be used."""


def rendezvous_address(settings: Any, lambda_endpoint: str) -> str:
    """HOST:PORT as workers are to dial it.

    :param settings: the job's options.
    :param lambda_endpoint: base URL of the Lambda whose workers are to reach it.
    :raises RendezvousError: no worker could.
    """
    host = settings["rendezvous-host"].strip("[]")
    if _is_loopback(host) and not _is_loopback(urlsplit(lambda_endpoint).hostname or ""):
        raise RendezvousError(
            f"workers on Lambda cannot reach a rendezvous at {host}: give the address at which they can with -H"
        )
    return f"[{host}]:{settings['rendezvous-port']}" if ":" in host else f"{host}:{settings['rendezvous-port']}"


async def open_link(reactor: Any, keys: Keys, settings: Any, address: str) -> RendezvousLink | None:
    """Connect to the rendezvous.

    :returns: None where keys are shared: then it is only seen to be there, as the original's knows no coordinator.
    :raises RendezvousError: it is not there, or its keys are of another CA.
    """
    host, port = settings["rendezvous-host"].strip("[]"), settings["rendezvous-port"]
    endpoint: Any = HostnameEndpoint(reactor, host, port, timeout=DIAL_TIMEOUT)
    contexts = client_contexts(keys.own, keys.ca, expected=None if keys.shared else RENDEZVOUS)

    def dial(receiver: Receiver) -> Deferred[FrameProtocol]:
        return connect(endpoint, contexts, receiver, reactor, _MAX_NOTICE)

    link = RendezvousLink(reactor, dial, address)
    try:
        if keys.shared:
            (await dial(_Caller())).close()
            return None
        await link.open()
    except TransportError as error:
        raise RendezvousError(_explain(address, str(error))) from None
    return link


def peers(keys: Keys, job: str, address: str, function_timeout: timedelta) -> Peers:
    """What a job's run gives to the attempts at its tasks.

    :param function_timeout: an attempt's keys are good for so long, and the margin of a launch's.
    """
    authority = keys.authority
    if authority is None:
        return Peers(job, address, None)
    lifetime = function_timeout + LAUNCH_MARGIN

    def issue(identity: TaskIdentity) -> KeyPair:
        return authority.issue(identity, lifetime=lifetime)

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

"""The ports of a rendezvous' shards are consecutive, opened by the supervisor, and kept while shards come and go.

So a worker that dials while its shard is being started again waits a moment, and is not refused.
"""

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory
from twisted.python import usage

from mu_twisted.daemons._start import StartError, listen_at_once
from mu_twisted.transport import TcpPort

MAX_PORT = 65535
TRIES = 50
"""How often a run of free ports is looked for, where any will do."""
_TCP = re.compile(r"(tcp6?:(?:port=)?)([0-9]+)((?::.*)?)")
_SYSTEMD = re.compile(r"systemd:domain=INET6?:(name|index)=([^:]+)")


@dataclass(frozen=True)
class Listener:
    """A socket that listens.

    :param close: gives it back.
    """

    port: int
    fileno: int
    close: Callable[[], Any]


def check_ports(listen: str, shards: int) -> None:
    """See whether an endpoint can be several.

    :raises twisted.python.usage.UsageError: it cannot.
    """
    tcp = _TCP.fullmatch(listen)
    if tcp is None and _SYSTEMD.fullmatch(listen) is None:
        raise usage.UsageError(
            f"--shards: {listen!r} is one endpoint, and {shards} are needed: give a port, tcp:PORT with options after "
            "it, or systemd:domain=INET6:name=NAME with as many sockets of that name"
        )
    if tcp is not None and int(tcp[2]) + shards - 1 > MAX_PORT:
        raise usage.UsageError(f"--shards: {shards} ports from {tcp[2]} on would end above {MAX_PORT}")


def open_ports(reactor: Any, options: Mapping[str, Any], shards: int) -> list[Listener]:
    """Listen on as many ports, or take those that systemd has passed.

    :param options: the daemon options, which :func:`check_ports` has seen.
    :raises StartError: they cannot be had.
    """
    systemd = _SYSTEMD.fullmatch(options["listen"])
    if systemd is not None:
        return _from_systemd(reactor, systemd[1], systemd[2], shards)
    tcp = _TCP.fullmatch(options["listen"])
    assert tcp is not None
    for left in reversed(range(1 if int(tcp[2]) else TRIES)):
        opened: list[Listener] = []
        try:
            for _ in range(shards):
                port = opened[0].port + len(opened) if opened else int(tcp[2])
                opened.append(_listen(reactor, {"port": str(port), "listen": f"{tcp[1]}{port}{tcp[3]}"}))
            return opened
        except StartError:
            for listener in opened:
                listener.close()
            if not left:
                raise
    raise AssertionError("it was tried at least once")


class _NoConnections(Factory):
    """Takes no connections."""

    noisy = False


def _listen(reactor: Any, options: Mapping[str, Any]) -> Listener:
    if not 0 <= int(options["port"]) <= MAX_PORT:
        raise StartError(f"there is no port {options['port']}")

    def listening(endpoint: Any) -> Deferred[TcpPort]:
        port: Deferred[TcpPort] = endpoint.listen(_NoConnections())
        return port

    port = listen_at_once(reactor, options, listening)
    port.stopReading()  # it is for the shard to accept
    return Listener(port.getHost().port, port.fileno(), port.stopListening)


def _from_systemd(reactor: Any, by: str, which: str, shards: int) -> list[Listener]:
    descriptors: list[int] = []
    while True:
        # Twisted has taken them out of the environment, and no other code can count them.
        try:
            endpoint: Any = serverFromString(reactor, f"systemd:domain=INET:index={len(descriptors)}")  # type: ignore[no-untyped-call]
        except IndexError:
            break
        descriptors.append(endpoint.fileno)
    if by == "name":
        names = os.environ.get("LISTEN_FDNAMES", "").split(":")
        descriptors = [descriptor for descriptor, name in zip(descriptors, names, strict=False) if name == which]
    else:
        descriptors = descriptors[int(which) :]
    if len(descriptors) != shards:
        raise StartError(
            f"--shards {shards}: systemd has handed over {len(descriptors)} sockets with {by} {which}: put {shards} "
            "lines ListenStream= with consecutive ports into the socket's unit"
        )
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    if any(one.family not in (socket.AF_INET, socket.AF_INET6) for one in sockets):
        raise StartError(f"--shards: systemd's sockets with {by} {which} must be of TCP")
    sockets.sort(key=lambda one: int(one.getsockname()[1]))
    ports = [one.getsockname()[1] for one in sockets]
    if any(after != port + 1 for port, after in pairwise(ports)):
        raise StartError(f"--shards: systemd's sockets are on ports {ports}, and not on consecutive ones")
    return [Listener(port, one.fileno(), one.close) for port, one in zip(ports, sockets, strict=True)]

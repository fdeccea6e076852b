"""One local port serves the connection to the rendezvous, the listener and every dial, so that a NAT maps it once.

Sockets are closed in programs that the worker starts (PEP 446), so that none of them holds the port.
"""

import fcntl
import ipaddress
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

from mu_twisted.wire.punching import MAX_CANDIDATES, MAX_RTT, Candidate, CandidateKind, is_private, usual_address
from worker_lambda.connection import tune

BACKLOG = 16
"""Connections that may wait to be accepted."""
MAX_TTL = 255
"""Of packets: the peer may take none with a low one, see :mod:`worker_lambda.punching._candidate_dial`."""
_SIOCGIFADDR = 0x8915
_TCP_INFO_SIZE, _TCP_INFO_MIN_RTT = 152, 148


class LocalPort:
    """A port that its sockets share (SO_REUSEADDR and SO_REUSEPORT).

    :ivar number: 0 before the first socket is bound, which is given a free one.
    """

    def __init__(self) -> None:
        self.number = 0

    def prepare(self, sock: socket.socket) -> None:
        """Bind a socket to the port.

        :raises OSError: it cannot be bound.
        """
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(("", self.number))
        self.number = sock.getsockname()[1]

    def new_socket(self, family: int) -> socket.socket:
        """A socket on the port that does not block, to be connected or to listen.

        :raises OSError: there is none.
        """
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            tune(sock)
            if family == socket.AF_INET:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, MAX_TTL)
            self.prepare(sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def listen(self, family: int) -> socket.socket:
        """A socket that takes connections; until they are accepted, :data:`BACKLOG` of them wait.

        :raises OSError: there is none.
        """
        listener = self.new_socket(family)
        listener.listen(BACKLOG)
        return listener


def family_of(ip: str) -> int:
    """The address family of an IP address."""
    return socket.AF_INET6 if ":" in ip else socket.AF_INET


def host_candidates(control: socket.socket) -> tuple[Candidate, ...]:
    """The private addresses of this host, with the port of the connection to the rendezvous.

    :param control: that connection; its own address comes first, and only its address family counts.
    """
    ip, port = control.getsockname()[:2]
    addresses = [ip, *(_interfaces6() if control.family == socket.AF_INET6 else _interfaces4(control))]
    usual = dict.fromkeys(usual_address(each.partition("%")[0]) for each in addresses)
    private = [each for each in usual if is_private(each)]
    return tuple(Candidate(CandidateKind.HOST, each, port) for each in private[: MAX_CANDIDATES - 1])


def _interfaces4(any_socket: socket.socket) -> list[str]:
    found = []
    for _, name in socket.if_nameindex():
        with suppress(OSError):  # it has no address
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("16s24x", name.encode()))
            found.append(socket.inet_ntoa(answer[20:24]))
    return found


def _interfaces6() -> list[str]:
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except OSError:
        return []
    return [str(ipaddress.IPv6Address(bytes.fromhex(line[:32]))) for line in lines]


def round_trip(control: socket.socket) -> int:
    """The shortest round trip that the system has measured on a connection, microseconds; 0 where it does not say.

    The smoothed one has in it what the other side took to acknowledge, which is up to 40 ms where it has no answer yet.
    """
    try:
        info = control.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:
        return 0
    shortest = int.from_bytes(info[_TCP_INFO_MIN_RTT:], sys.byteorder) if len(info) == _TCP_INFO_SIZE else 0
    return shortest if shortest <= MAX_RTT else 0  # all ones: it has measured none

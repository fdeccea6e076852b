"""The owner of a loopback connection's far end is asked of the kernel: every local user can connect there."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ANY = 0xFFFFFFFF
_LOOPBACK = "127.0.0.1"

Address = tuple[str, int]


def _diag_request(local: Address, peer: Address) -> bytes:
    """The kernel's ``inet_diag_req_v2`` for the peer's socket, in its netlink header."""
    ends = struct.pack("!HH", peer[1], local[1])
    ends += socket.inet_aton(peer[0]).ljust(16, b"\0") + socket.inet_aton(local[0]).ljust(16, b"\0")
    request = struct.pack("=BBxxI", socket.AF_INET, socket.IPPROTO_TCP, _ANY) + ends
    request += struct.pack("=III", 0, _ANY, _ANY)
    return struct.pack("=IHHII", 16 + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + request


def _by_netlink(local: Address, peer: Address) -> int | None:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as end:
        end.settimeout(1.0)
        end.send(_diag_request(local, peer))
        answer = end.recv(4096)
    if len(answer) < 88 or struct.unpack_from("=H", answer, 4)[0] != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(struct.unpack_from("=I", answer, 16 + 4 + 48 + 12)[0])


def in_table(local: Address, peer: Address, table: str) -> int | None:
    """The owner by the text of ``/proc/net/tcp``, or None where it does not show the connection."""
    wanted = " ".join(
        f"{struct.unpack('=I', socket.inet_aton(host))[0]:08X}:{port:04X}" for host, port in (peer, local)
    )
    for line in table.splitlines():
        if wanted in line:
            return int(line.split()[7])
    return None


def owner(local: Address, peer: Address) -> int | None:
    """The user who owns the far end of a connection, or None where the kernel does not report it.

    Asked by netlink, since ``/proc/net/tcp`` walks every bucket of the kernel's table: milliseconds for each question.

    :param local: our address and port.
    :param peer: theirs.
    """
    try:
        found = _by_netlink(local, peer)
    except OSError:
        found = None
    if found is None:
        try:
            found = in_table(local, peer, Path("/proc/net/tcp").read_text())
        except OSError:
            return None
    return found


def ours(local: Address, peer: Address) -> bool:
    """Whether the far end belongs to our own user; False where the kernel does not report it, as of a closed one."""
    return owner(local, peer) == os.geteuid()


def owners_are_reported() -> bool:
    """Whether this machine's kernel reports owners at all, tried by a connection to ourselves."""
    with socket.create_server((_LOOPBACK, 0)) as server, socket.create_connection(server.getsockname()) as far:
        near, _ = server.accept()
        with near:
            return ours(near.getsockname(), far.getsockname())

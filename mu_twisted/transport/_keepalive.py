"""Has the kernel find peers that are gone without a word: a machine that lost power, a NAT that forgot the connection.

Whoever speaks the additions is pinged by those above; the original's workers know no ping, and may be silent for long.
"""

import socket
from contextlib import suppress
from typing import Any

IDLE, INTERVAL, PROBES = 60, 15, 4
"""Seconds of silence before a probe, and between probes; so many without an answer end the connection."""
UNTAKEN = IDLE + PROBES * INTERVAL
"""Seconds that a peer's kernel may leave what was sent untaken. It must not be less: Linux ends probing by it, too."""
_OPTIONS = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, IDLE),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, INTERVAL),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, PROBES),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, UNTAKEN * 1000),
)


def watch_peer(transport: Any) -> None:
    """Have a connection end, two minutes after its peer's machine is gone.

    :param transport: Twisted's, with TLS around it or without; one that has no socket is left as it is.
    """
    handle = getattr(getattr(transport, "transport", transport), "socket", None)
    for name, level, value in _OPTIONS:
        option = getattr(socket, name, None)
        if handle is not None and option is not None:
            with suppress(OSError):  # no TCP, or a system that does not know it: not vital
                handle.setsockopt(level, option, value)

"""Keepalive has the kernel detect peers that vanished: a machine that lost power, a NAT that forgot the connection.

Workers that announce it are pinged by the coordinator; the original's workers know no ping, and may be silent for long.
"""

import socket
from contextlib import suppress
from typing import Any

IDLE, INTERVAL, PROBES = 60, 15, 4
"""Seconds of silence before a probe, and between probes; the connection ends after so many unanswered probes."""
UNACKNOWLEDGED = IDLE + PROBES * INTERVAL
"""Seconds for which sent bytes may stay unacknowledged. Not less than probing takes, which Linux ends by it too."""
_OPTIONS = (
    ("SO_KEEPALIVE", socket.SOL_SOCKET, 1),
    ("TCP_KEEPIDLE", socket.IPPROTO_TCP, IDLE),
    ("TCP_KEEPINTVL", socket.IPPROTO_TCP, INTERVAL),
    ("TCP_KEEPCNT", socket.IPPROTO_TCP, PROBES),
    ("TCP_USER_TIMEOUT", socket.IPPROTO_TCP, UNACKNOWLEDGED * 1000),
)


def watch_peer(transport: Any) -> None:
    """Have a connection end two minutes after its peer's machine vanished.

    :param transport: Twisted's, with TLS around it or without; one without a socket is left as it is.
    """
    handle = getattr(getattr(transport, "transport", transport), "socket", None)
    for name, level, value in _OPTIONS:
        option = getattr(socket, name, None)
        if handle is not None and option is not None:
            with suppress(OSError):  # not TCP, or a system without the option: keepalive is optional
                handle.setsockopt(level, option, value)

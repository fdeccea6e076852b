"""Ports for daemons whose port must be known before they start."""

import random
import socket
from contextlib import ExitStack, suppress


def free_ports(count: int = 1) -> int:
    """Find the first of so many consecutive ports of loopback that are free now.

    They are below those that the system gives out, which any connection may have a moment later.

    :raises AssertionError: there are none.
    """
    # Another run of this on the same machine looks elsewhere.
    for first in random.SystemRandom().sample(range(20_000, 32_000 - count), 100):
        with ExitStack() as stack, suppress(OSError):
            for port in range(first, first + count):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
            return first
    raise AssertionError(f"{count} consecutive ports are not free")

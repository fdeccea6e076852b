"""Ports for servers whose port must be known before they start, and ports at which there is surely nothing."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress


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


@contextmanager
def held_port() -> Iterator[int]:
    """Hold a port of loopback at which a server of Twisted's or asyncio's may listen, and again after it was closed: at
    no time does anything else have it. Where none listens, connections are refused."""
    with socket.socket() as held:  # bound, and never listening
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as these servers do
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port of loopback at which connections are refused, and that nothing else is given meanwhile."""
    with socket.socket() as held:  # bound, and never listening
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]

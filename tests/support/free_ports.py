"""Ports for servers whose port must be known before they start, and ports at which there is surely nothing."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager


@contextmanager
def held_ports(count: int = 1, host: str = "127.0.0.1") -> Iterator[int]:
    """Hold so many consecutive ports, from the one that is given on, for servers that are started meanwhile.

    A server can listen there, and another after it, as both ask for ``SO_REUSEADDR``. To nothing else on this machine
    the system gives them, nor does another call of this. Where none listens connections are refused.

    :param host: the address that the servers listen on.
    :raises AssertionError: there are none.
    """
    # Below those that the system gives out; another run of this on the same machine looks elsewhere.
    for first in random.SystemRandom().sample(range(20_000, 32_000 - count), 100):
        with ExitStack() as holding:
            try:
                for port in range(first, first + count):
                    _hold(holding.enter_context(socket.socket(_family(host))), host, port)
            except OSError:
                continue
            yield first
            return
    raise AssertionError(f"{count} consecutive ports are not free on {host}")


def free_ports(count: int = 1) -> int:
    """Find the first of so many consecutive ports of loopback that are free now: others may have them a moment later.

    :raises AssertionError: there are none.
    """
    with held_ports(count) as first:
        return first


@contextmanager
def refusing_port() -> Iterator[int]:
    """Hold a port of loopback at which connections are refused, and that nothing else is given meanwhile."""
    with socket.socket() as held:  # bound, and never listening
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _hold(held: socket.socket, host: str, port: int) -> None:
    held.bind((host, port))  # which fails beside any other
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

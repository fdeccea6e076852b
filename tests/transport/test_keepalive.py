"""A peer whose machine is gone is found by the kernel, as the original's workers cannot be pinged."""

import socket
from typing import Any

import pytest
from memory_wire import End
from transport_contract import Recorder
from twisted.internet.task import Clock

from mu_twisted.transport import FrameFactory


class Around:
    """TLS around a transport, as far as it shows."""

    def __init__(self, inner: End) -> None:
        self.transport = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)


@pytest.mark.parametrize("around", [lambda end: end, Around])
def test_the_kernel_gives_up_a_peer_after_two_minutes_of_silence(around: Any) -> None:
    with socket.socket() as handle:
        end: Any = End(1)
        end.socket = handle
        FrameFactory(Recorder, clock=Clock(), max_frame=1).buildProtocol(None).makeConnection(around(end))
        options = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
        found = [handle.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in options]
        assert handle.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert found == [60, 15, 4, 120_000]


def test_a_connection_that_is_not_tcp_is_none_the_worse() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        end: Any = End(1)
        end.socket = ours
        recorder = Recorder()
        FrameFactory(lambda: recorder, clock=Clock(), max_frame=1).buildProtocol(None).makeConnection(end)
        assert recorder.connection is not None

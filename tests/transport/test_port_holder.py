"""Who has a port."""

import os
import socket

from mu_twisted.transport._port_holder import port_holder


def test_the_process_that_listens_is_told_and_one_that_does_not_is_not() -> None:
    # Of all addresses: of another one than loopback's the same port may be another process's.
    with socket.create_server(("", 0)) as listener:
        assert (port_holder(listener.getsockname()[1]) or "").startswith(f"process {os.getpid()} (")
    with socket.socket() as bound:
        bound.bind(("", 0))
        assert port_holder(bound.getsockname()[1]) is None

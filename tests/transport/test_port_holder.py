"""Who has a port."""

import os
import socket

from mu_twisted.transport._port_holder import port_holder


def test_the_process_that_listens_is_told_and_one_that_does_not_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert (port_holder(listener.getsockname()[1]) or "").startswith(f"process {os.getpid()} (")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert port_holder(bound.getsockname()[1]) is None

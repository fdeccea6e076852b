"""Who owns the far end of a connection."""

from __future__ import annotations

import os
import socket
import struct

from mu_twisted.local.environments._peer import in_table, ours, owner, owners_are_reported

TABLE = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 0100007F:0050 01 00000000:00000000 00:00000000 00000000  1000        0 11 1
   1: 0100007F:0050 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     7        0 12 1
"""


def test_the_kernel_tells_whose_a_connection_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as far:
        near, _ = server.accept()
        with near:
            assert owner(near.getsockname(), far.getsockname()) == os.geteuid()
            assert ours(near.getsockname(), far.getsockname())


def test_a_connection_that_is_not_there_has_no_owner_and_is_not_ours() -> None:
    assert owner(("127.0.0.1", 1), ("127.0.0.1", 2)) is None
    assert not ours(("127.0.0.1", 1), ("127.0.0.1", 2))


def test_a_peer_that_has_gone_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = socket.create_connection(server.getsockname())
        near, peer = server.accept()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.close()  # by a reset: nothing of it is left
        with near:
            assert not ours(near.getsockname(), peer)


def test_this_machine_tells_owners() -> None:
    assert owners_are_reported()


def test_the_table_is_read_from_the_peers_side() -> None:
    assert in_table(("127.0.0.1", 80), ("127.0.0.1", 8080), TABLE) == 1000
    assert in_table(("127.0.0.1", 8080), ("127.0.0.1", 80), TABLE) == 7
    assert in_table(("127.0.0.1", 81), ("127.0.0.1", 8080), TABLE) is None

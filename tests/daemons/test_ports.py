"""The port of a daemon that may have any: that of its last start."""

from pathlib import Path
from typing import Any

import pytest
from free_ports import held_ports
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory

from mu_twisted.daemons._options import listen_description
from mu_twisted.daemons._start import listen_as_before


def start(directory: Path, given: str) -> Any:
    def listen(endpoint: Any) -> Deferred[Any]:
        return endpoint.listen(Factory())  # type: ignore[no-any-return]

    return listen_as_before(reactor, {"port": given, "listen": listen_description(given)}, listen, directory)


def stop(port: Any) -> None:
    port.stopListening()
    reactor.runUntilCurrent()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("0", "0.0.0.0"),
        ("tcp:0", "0.0.0.0"),
        ("tcp:0:interface=127.0.0.1", "127.0.0.1"),
        ("tcp:port=0:interface=127.0.0.1", "127.0.0.1"),
        ("tcp:interface=127.0.0.1:port=0", "127.0.0.1"),
        ("tcp6:0:interface=\\:\\:1", "::1"),
    ],
)
def test_any_port_is_that_of_the_last_start_unless_it_is_taken(tmp_path: Path, given: str, host: str) -> None:
    with held_ports(host=host) as port:
        (tmp_path / "port").write_text(f"{port}\n")
        first = start(tmp_path, given)
        try:
            assert (first.getHost().host, first.getHost().port) == (host, port)
            other = start(tmp_path, given)
            assert other.getHost().port != port
            assert (tmp_path / "port").read_text() == f"{other.getHost().port}\n"
            stop(other)
        finally:
            stop(first)


@pytest.mark.parametrize("noted", [b"", b"x", b"70000", b"-1", b"0", b"\xff\xfe", bytes(4096), b"9" * 5000])
def test_a_note_that_is_no_port_changes_nothing(tmp_path: Path, noted: bytes) -> None:
    (tmp_path / "port").write_bytes(noted)
    listening = start(tmp_path, "tcp:0:interface=127.0.0.1")
    port = listening.getHost().port
    stop(listening)
    assert (tmp_path / "port").read_text() == f"{port}\n"

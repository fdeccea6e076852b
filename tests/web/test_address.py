"""An address to listen on is this machine's, or refused: a name that is mistyped opens nothing to others."""

import socket
from typing import Any

import pytest

from mu_twisted.web import ControlError, ListenAddress, open_metrics, parse_address
from mu_twisted.web._address import resolve_own


@pytest.mark.parametrize(
    "text",
    [
        *("999.1.1.1:15999", "1.2.3:80", "1.2.3.4.5:80", "256.0.0.1:1", "0:80", "a:1:2", "example.invalid:1:15999"),
        *("[::g]:80", "a b:80", "-x:80", "a..b:80", f"{'x' * 64}:80", "http://a:80", "é:80", "127.0.0.1:65536"),
    ],
)
def test_what_can_be_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="^expected a port of this machine, or HOST:PORT, got "):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "host", "interface"),
    [
        ("8791", "127.0.0.1", "127.0.0.1"),
        ("localhost:8791", "localhost", "127.0.0.1"),
        ("192.0.2.1:8791", "192.0.2.1", "192.0.2.1"),
        ("0.0.0.0:8791", "0.0.0.0", "0.0.0.0"),  # noqa: S104 - as a user may ask for it
        ("[::1]:8791", "::1", "::1"),
        ("Host.example.org:8791", "host.example.org", ""),
        ("my_host-2:8791", "my_host-2", ""),
    ],
)
def test_an_address_alone_is_listened_on_and_with_a_name_all_are(text: str, host: str, interface: str) -> None:
    address = parse_address(text)
    assert address == ListenAddress(host, 8791)
    assert address.interface == interface


def found(*hosts: str) -> Any:
    """A look-up that finds these."""
    return lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, 0)) for host in hosts]


@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["192.0.2.1", "127.0.0.2"], ["0.0.0.0", "127.0.0.3"]])  # noqa: S104
def test_a_name_stands_for_an_address_of_this_machine(hosts: list[str]) -> None:
    assert resolve_own(ListenAddress("here", 7), "--metrics", found(*hosts)) == ListenAddress(hosts[-1], 7)


@pytest.mark.parametrize("hosts", [["192.0.2.1"], ["192.0.2.1", "198.51.100.7"], ["0.0.0.0"]])  # noqa: S104
def test_a_name_of_another_machine_is_refused(hosts: list[str]) -> None:
    with pytest.raises(ControlError) as refused:
        resolve_own(ListenAddress("there", 7), "--metrics", found(*hosts))
    assert str(refused.value).startswith(f"--metrics: there is {', '.join(hosts)}, no address of this machine; ")


def test_metrics_are_not_served_where_a_name_is_unknown() -> None:
    with pytest.raises(ControlError, match="^--metrics: this machine does not find nosuch.invalid: .*; give one of"):
        open_metrics(None, parse_address("nosuch.invalid:0"), lambda: b"")

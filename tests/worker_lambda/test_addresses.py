"""The argument of ``connect:``: any bytes are an address and a text, or a reason."""

import ipaddress
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import CommandError
from worker_lambda.peers import parse_address

names = st.from_regex(rb"[a-z0-9.-]{1,40}", fullmatch=True)
ports = st.integers(1, 65535)


@given(names, ports, st.binary(max_size=50))
def test_the_text_is_all_that_follows_the_port(host: bytes, port: int, text: bytes) -> None:
    assert parse_address(b"%b:%d:%b" % (host, port, text)) == (host.decode(), port, text)


@given(st.ip_addresses(v=6), ports, st.binary(max_size=50))
def test_an_address_of_ipv6_loses_its_brackets(host: ipaddress.IPv6Address, port: int, text: bytes) -> None:
    assert parse_address(b"[%b]:%d:%b" % (str(host).encode(), port, text)) == (str(host), port, text)


@given(st.binary(max_size=60) | st.from_regex(rb"\[?[a-z:]*\]?:[0-9 +-]*:?.*", fullmatch=True))
def test_anything_else_has_a_reason(argument: bytes) -> None:
    with suppress(CommandError):
        host, port, text = parse_address(argument)
        assert host
        assert 0 < port < 65536
        assert argument.endswith(text)


@pytest.mark.parametrize("port", [b"0", b"-1", b"65536", b"9" * 5000, b"1_0", b"0x10", b""])
def test_ports_beyond_the_range_and_other_notations_are_refused(port: bytes) -> None:
    with pytest.raises(CommandError, match="^(the port is|could not interpret)"):
        parse_address(b"h:" + port + b":t")

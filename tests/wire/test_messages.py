"""What the payloads say: any bytes may come, only the grammar's own splits are made."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import (
    VERSION,
    CommandError,
    Greeting,
    WireError,
    fail,
    info,
    is_fail,
    parse_command,
    parse_greeting,
    parse_info,
    parse_integer,
)


@given(st.binary(), st.binary())
def test_a_command_is_split_at_its_first_colon_only(name: bytes, argument: bytes) -> None:
    name = name.replace(b":", b"")
    command = parse_command(name + b":" + argument)
    assert (command.name, command.argument) == (name, argument)


def test_a_command_without_colon_has_an_empty_argument() -> None:
    assert parse_command(b"quit").argument == b""


@given(st.integers(), st.text(" \t\n", max_size=3), st.text("0", max_size=3))
def test_an_integer_may_have_blanks_a_sign_and_leading_zeros(number: int, blank: str, zeros: str) -> None:
    sign = "-" if number < 0 else ""
    assert parse_integer(f"{blank}{sign}{zeros}{abs(number)}{blank}".encode()) == number


def test_an_integer_may_have_any_size() -> None:
    assert parse_integer(b"-" + b"9" * 9001) == 1 - 10**9001


@pytest.mark.parametrize("text", [b"", b" ", b"-", b"1_000", b"0x10", b"12L", b"1.0", b"1 2", b"\xff", "٣".encode()])
def test_what_python_2_would_not_read_as_an_integer_is_refused(text: bytes) -> None:
    with pytest.raises(CommandError, match="could not interpret"):
        parse_integer(text)


@given(st.binary())
def test_parse_integer_raises_nothing_but_its_own_error(text: bytes) -> None:
    try:
        value = parse_integer(text)
    except CommandError:
        return
    assert value == int(text)


@given(st.binary(), st.binary())
def test_info_survives_the_way_there_and_back(key: bytes, value: bytes) -> None:
    key = key.replace(b":", b"") or b"k"
    assert parse_info(info(key, value)) == (key, value)


@pytest.mark.parametrize("message", [b"", b"INFO", b"INFO:", b"INFO:key", b"INFO::value", b"OK:INFO:a:b"])
def test_a_malformed_info_is_a_wire_error(message: bytes) -> None:
    with pytest.raises(WireError, match="expected INFO:key:value"):
        parse_info(message)


@given(st.one_of(st.binary(), st.text(st.characters())))
def test_a_fail_is_one_line_whatever_the_reason_holds(reason: str | bytes) -> None:
    message = fail(reason)
    assert message.startswith(b"FAIL(")
    assert message.endswith(b")")
    assert b"\n" not in message
    assert is_fail(message)


def test_a_fail_keeps_the_bytes_of_text_that_was_decoded_with_surrogateescape() -> None:
    assert fail(b"a\xffb".decode("utf-8", "surrogateescape")) == b"FAIL(a\xffb)"


def test_a_fail_can_hold_a_surrogate_that_stands_for_no_byte() -> None:
    assert fail("\ud800") == b"FAIL(\\ud800)"


printable = st.text(max_size=256).filter(str.isprintable)


@given(
    st.builds(
        Greeting,
        st.integers(1, 99),
        printable,
        st.integers(0, 900_000),
        st.integers(0, 10_240),
        st.booleans(),
        st.lists(st.text(max_size=20), max_size=64).map(tuple),
        st.text(max_size=256),
        st.integers(0, 900_000),
    )
)
def test_a_greeting_survives_the_way_there_and_back(greeting: Greeting) -> None:
    encoded = greeting.encode()
    assert encoded.startswith(b"OK:HELLO:")
    assert parse_greeting(encoded) == greeting


def test_a_token_is_not_shown_where_a_greeting_is() -> None:
    assert "5ec7e7" not in repr(Greeting(1, "0-0", token="5ec7e7"))


def test_a_worker_that_announces_nothing_greets_as_the_originals_does() -> None:
    assert Greeting().encode() == b"OK:HELLO"
    assert parse_greeting(b"OK:HELLO") == Greeting(version=0)


def test_members_that_are_missing_have_defaults_and_unknown_ones_are_ignored() -> None:
    assert parse_greeting(b'OK:HELLO:{"version":1,"colour":"red"}') == Greeting(version=VERSION)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"HELLO",
        b"OK:HELLOx",
        b"OK:HELLO:",
        b"OK:HELLO:[]",
        b"OK:HELLO:7",
        b"OK:HELLO:{",
        b"OK:HELLO:\xff\xfe",
        b'OK:HELLO:{"version":"1"}',
        b'OK:HELLO:{"version":true}',
        b'OK:HELLO:{"version":1.0}',
        b'OK:HELLO:{"launch_id":null}',
        b'OK:HELLO:{"launch_id":"two\\nlines"}',
        b'OK:HELLO:{"launch_id":"\\ud800"}',
        b'OK:HELLO:{"launch_id":"' + b"x" * 257 + b'"}',
        b"OK:HELLO:" + b"[" * 200_000,
        b'OK:HELLO:{"version":' + b"9" * 5000 + b"}",
        b'OK:HELLO:{"supports":"token"}',
        b'OK:HELLO:{"supports":[1]}',
        b'OK:HELLO:{"supports":["' + b"x" * 65 + b'"]}',
        b'OK:HELLO:{"supports":' + b'["x"' + b',"x"' * 64 + b"]}",
        b'OK:HELLO:{"token":1}',
        b'OK:HELLO:{"token":"' + b"x" * 257 + b'"}',
        b'OK:HELLO:{"init_ms":0.5}',
    ],
)
def test_anything_else_is_not_a_greeting(message: bytes) -> None:
    with pytest.raises(WireError):
        parse_greeting(message)


@given(st.binary())
def test_parse_greeting_raises_nothing_but_its_own_error(rest: bytes) -> None:
    for message in (rest, b"OK:HELLO:" + rest):
        with contextlib.suppress(WireError):
            parse_greeting(message)

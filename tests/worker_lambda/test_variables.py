"""Variables: strings and numbers as the wire has them, nothing else in reach."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import CommandError
from worker_lambda._errors import CommandFailure
from worker_lambda._variables import MAX_DUMP, MAX_TOTAL, Variables, canonical_integer


@given(st.integers(), st.sampled_from(["", " ", "\t\n"]), st.sampled_from(["", "0", "000"]))
def test_a_number_is_kept_without_blanks_sign_and_leading_zeros(number: int, blank: str, zeros: str) -> None:
    sign = "-" if number < 0 else "+"
    assert canonical_integer(f"{blank}{sign}{zeros}{abs(number)}{blank}".encode()) == b"%d" % number


@pytest.mark.parametrize(
    "text", [b"", b" ", b"1_000", b"0x10", b"12L", b"1.0", b"--1", b"1 2", b"\xff", b"9" * 5000 + b"x"]
)
def test_what_is_no_number_is_refused(text: bytes) -> None:
    with pytest.raises(CommandError):
        canonical_integer(text)


def test_a_number_of_a_million_digits_is_kept_at_once() -> None:
    variables = Variables({})
    variables.set_integer(b"n", b"0" + b"7" * 1_000_000)
    assert variables.get(b"n") == b"7" * 1_000_000
    with pytest.raises(CommandFailure):
        variables.integer(b"n")


def test_the_old_value_stays_where_the_new_one_is_refused() -> None:
    variables = Variables({b"n": b"5"})
    with pytest.raises(CommandError):
        variables.set_integer(b"n", b"five")
    assert variables.get(b"n") == b"5"


def test_restoring_returns_to_the_events_values() -> None:
    variables = Variables({b"a": b"1"})
    variables.set(b"a", b"2")
    variables.set(b"b", b"3")
    variables.restore()
    assert (variables.get(b"a"), variables.get(b"b")) == (b"1", None)


def test_variables_take_bounded_memory() -> None:
    variables = Variables({})
    for number in range(15):
        variables.set(b"%d" % number, bytes(1 << 20))
    with pytest.raises(CommandFailure, match="more than"):
        variables.set(b"x", bytes(1 << 20))
    variables.set(b"0", b"")  # what is given back can be used again
    variables.set(b"x", bytes((1 << 20) - 10))
    assert sum(len(variables.get(b"%d" % number) or b"") for number in range(15)) < MAX_TOTAL


def test_a_dump_hides_secrets_and_stays_below_the_limit_of_a_reply() -> None:
    variables = Variables({b"bucket": b"bk", b"aws_secret_access_key": b"s3cr3t", b"r\xffw": b"\x00\xfe"})
    dump = variables.dump(["srvkey"])
    assert b"bucket': 'bk'" in dump
    assert b"'srvkey': '<secret>'" in dump
    assert b"s3cr3t" not in dump
    assert dump.isascii()
    for number in range(10):
        variables.set(b"%d" % number, bytes(1 << 20))
    assert len(variables.dump()) <= MAX_DUMP + 3


@pytest.mark.parametrize(("text", "on"), [(b"1", True), (b" 02 ", True), (b"0", False), (b"-0", False), (b"", False)])
def test_a_switch_is_on_if_it_is_not_zero(text: bytes, on: bool) -> None:
    assert Variables({b"s": text}).flag(b"s") is on

"""Placeholders: what replaces what, in which order, and how far."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_lambda._errors import CommandFailure
from worker_lambda._template import (
    MAX_COMMAND_TEXT,
    Substitutions,
    expand_command,
    expand_file,
    state_placeholders,
)

MARKS = (b"##QUALITY##", b"##INFILE##", b"##OUTFILE##", b"##INSTATEWAIT##", b"##INSTATESWITCH##", b"##TMPDIR##")
plain = st.binary(max_size=20).filter(lambda text: b"#" not in text)
optional = st.none() | plain
pieces = st.lists(plain | st.sampled_from(MARKS) | st.just(b"##NOSUCH##"), max_size=12)


@given(pieces, optional, optional, optional, optional, optional, plain)
def test_each_placeholder_becomes_its_value_and_an_unset_one_stays(
    parts: list[bytes],
    quality: bytes | None,
    infile: bytes | None,
    outfile: bytes | None,
    variables: bytes | None,
    arguments: bytes | None,
    tmpdir: bytes,
) -> None:
    values = Substitutions(tmpdir, quality, infile, outfile, variables, arguments, b"WAIT", b"SWITCH")
    replaced = {
        b"##QUALITY##": quality,
        b"##INFILE##": infile,
        b"##OUTFILE##": outfile,
        b"##INSTATEWAIT##": b"WAIT",
        b"##INSTATESWITCH##": b"SWITCH",
        b"##TMPDIR##": tmpdir,
    }
    parts = [part + b"." for part in parts]  # so that two pieces never make a placeholder together
    values_or_marks = [part[:-1] if replaced.get(part[:-1]) is None else replaced[part[:-1]] for part in parts]
    expected = b"".join(each + b"." for each in values_or_marks)
    front = b"" if variables is None else variables + b" "
    back = b"" if arguments is None else b" " + arguments
    assert expand_command(b"".join(parts), values) == front + expected + back


@given(st.binary(max_size=200).filter(lambda text: b"##" not in text), plain)
def test_text_without_placeholders_is_left_alone(text: bytes, tmpdir: bytes) -> None:
    assert expand_command(text, Substitutions(tmpdir)) == text
    assert expand_file(text, tmpdir) == text


def test_a_value_may_hold_the_placeholders_that_come_after_it() -> None:
    values = Substitutions(b"/t", quality=b"##INFILE##", infile=b"##TMPDIR##/##QUALITY##")
    assert expand_command(b"q ##QUALITY##", values) == b"q /t/##QUALITY##"


def test_a_value_that_would_take_all_memory_is_refused_before_it_does() -> None:
    values = Substitutions(b"/t", infile=b"x" * (1 << 20))
    with pytest.raises(CommandFailure, match="limit"):
        expand_command(b"##INFILE##" * 100_000, values)
    with pytest.raises(CommandFailure, match="a shell takes"):
        expand_command(b"x" * (MAX_COMMAND_TEXT + 1), Substitutions(b"/t"))


def test_no_state_is_waited_for_in_the_first_run_or_where_none_is_expected() -> None:
    assert state_placeholders(0, expected=True, minimal_recode=False) == (b"", b"")
    assert state_placeholders(3, expected=False, minimal_recode=False) == (b"", b"")


@pytest.mark.parametrize(("minimal", "back"), [(False, b"5"), (True, b"0")])
def test_the_state_before_and_the_one_before_that_are_named(minimal: bool, back: bytes) -> None:
    wait, switch = state_placeholders(7, expected=True, minimal_recode=minimal)
    assert b'"##TMPDIR##/6.state"' in wait
    assert wait.endswith(b"| ")
    assert switch == b'-r -I "##TMPDIR##/6.state" -p "##TMPDIR##/prev.ivf" -S "##TMPDIR##/' + back + b'.state"'

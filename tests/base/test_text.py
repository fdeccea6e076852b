"""Text of others is shown with nothing in it that a terminal obeys, and none of it is longer than it may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.base import counted, one_line, printable, terminal_safe

ANY = st.text(st.characters(), max_size=60)


@given(ANY, st.none() | st.integers(0, 40))
def test_one_line_prints_on_one_line_of_bounded_length(text: str, limit: int | None) -> None:
    line = one_line(text, limit)
    assert line.isprintable()
    assert limit is None or len(line) <= limit + 3
    assert "  " not in line
    assert not limit or one_line(line, limit + 3) == line


@given(ANY, st.none() | st.integers(0, 40))
def test_what_is_quoted_to_the_letter_keeps_its_blanks(text: str, limit: int | None) -> None:
    line = printable(text, limit)
    assert line.isprintable()
    assert limit is None or len(line) <= limit + 3
    if text.isprintable() and (limit is None or len(text) <= limit):
        assert line == text


@given(ANY)
def test_of_what_a_terminal_obeys_only_line_ends_and_tabs_stay(text: str) -> None:
    safe = terminal_safe(text)
    assert safe.replace("\n", "").replace("\t", "").isprintable()
    assert safe.count("\n") == text.count("\n")
    assert terminal_safe(safe) == safe


@pytest.mark.parametrize(
    ("text", "line", "quoted"),
    [
        ("a  b\n c", "a b c", "a  b\\n c"),
        ("\x1b[2Jgone", "\\x1b[2Jgone", "\\x1b[2Jgone"),
        ("\u202etxt.exe", "\\u202etxt.exe", "\\u202etxt.exe"),
        ("caf\udce9", "caf\\udce9", "caf\\udce9"),
        ("été 漢字", "été 漢字", "été 漢字"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, line: str, quoted: str) -> None:
    assert (one_line(text), printable(text)) == (line, quoted)


def test_a_text_that_is_too_long_says_so() -> None:
    assert one_line("abcdef", 3) == printable("abcdef", 3) == "abc..."
    assert one_line("abc", 3) == printable("abc", 3) == "abc"


def test_one_is_counted_as_one() -> None:
    assert [counted(number, "more task") for number in (0, 1, 2)] == ["0 more tasks", "1 more task", "2 more tasks"]
    assert [counted(number, "job runs", "jobs run") for number in (1, 12)] == ["1 job runs", "12 jobs run"]

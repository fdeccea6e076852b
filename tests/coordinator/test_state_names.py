"""The states of attempts are shown by names that people can read."""

import pytest

from mu_twisted.coordinator.observation._states import shifted, state_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("3:(encoding)", "encoding"),
        ("3:((encoding) (#2))", "encoding, step 2"),
        ("0:(task, line 7)", "task, line 7"),
        ("5:(superposition: (a) (b))", "superposition: (a) (b)"),
        ("5:(a) and (b)", "(a) and (b)"),
        ("5:wrong) (#1", "wrong) (#1"),
        ("5:(((x)))", "x"),
        ("5:", "5:"),
        ("odd", "odd"),
    ],
)
def test_a_name_has_no_brackets_around_it(text: str, name: str) -> None:
    assert state_name(text) == name


def test_states_that_differ_in_nothing_but_brackets_are_one() -> None:
    assert shifted([(5.0, "1:(a)"), (6.0, "1:((a))"), (7.0, "1:((b) (#1))")], 100.0) == [
        (100.0, "a"),
        (102.0, "b, step 1"),
    ]

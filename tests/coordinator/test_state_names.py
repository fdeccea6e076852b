"""The states of attempts are shown by names that people can read."""

import pytest

from mu_twisted.coordinator.observation._states import attempt_states, shifted, state_name
from mu_twisted.jobs import AttemptStates


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
    line = {"states": [(5.0, "1:(a)"), (6.0, "1:((a))"), (7.0, "1:((b) (#1))")]}
    assert shifted(line, 100.0) == [(100.0, "a"), (102.0, "b, step 1")]
    ended = {"states": [*line["states"], (9.0, "1:(terminal state)")], "end": 9.0}
    assert shifted(ended, 100.0) == shifted(line, 100.0)
    assert shifted({"states": [(5.0, "1:(ERROR: no)")], "end": 5.0}, 100.0) == [(100.0, "ERROR: no")]


def test_where_the_earliest_are_not_kept_the_others_are_at_their_time_all_the_same() -> None:
    line = {"states": [(25.0, "1:(x)"), (26.0, "1:(y)")], "begin": 5.0, "dropped": 9, "end": 28.5}
    assert shifted(line, 100.0) == [(120.0, "x"), (121.0, "y")]
    assert attempt_states(line) == AttemptStates([(20.0, 21.0, "x"), (21.0, 23.5, "y")], 9)


def test_what_an_attempt_did_is_each_state_that_took_time() -> None:
    states = [
        (1.0, "0:(fetch)"),
        (1.5, "0:((fetch))"),
        (2.0, "0:(run)"),
        (2.0, "0:(store)"),
        (4.0, "0:(terminal state)"),
    ]
    assert attempt_states({"states": states, "end": 4.0}).states == [(0.0, 1.0, "fetch"), (1.0, 3.0, "store")]
    assert attempt_states({"states": [], "end": 4.0}) == AttemptStates([])


@pytest.mark.parametrize(
    "line", [{}, {"states": [(1.0, "0:(x)")]}, {"states": [[]], "end": 1.0}, {"states": 7, "end": 1}]
)
def test_a_damaged_line_is_an_error_that_callers_expect(line: dict[str, object]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError)):
        attempt_states(line)

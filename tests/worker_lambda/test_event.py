"""Events: what is taken, and the one line for what is not."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_lambda._errors import EventError
from worker_lambda._event import parse_event

GOOD: dict[str, Any] = {"mode": 1, "addr": "127.0.0.1", "port": 13579}


def test_variables_have_the_originals_defaults() -> None:
    values = parse_event(GOOD).variables
    assert values[b"bucket"] == b"excamera-us-west-1"
    assert values[b"region"] == b"us-east-1"
    assert values[b"rm_tmpdir"] == b"1"
    assert values[b"nonblock"] == values[b"run_iter"] == b"0"


def test_integers_may_be_given_as_text() -> None:
    event = parse_event({**GOOD, "mode": "1", "port": "99", "nonblock": "1", "rm_tmpdir": "0", "bg_silent": True})
    assert (event.port, event.variables[b"nonblock"], event.variables[b"rm_tmpdir"]) == (99, b"1", b"0")
    assert event.variables[b"bg_silent"] == b"1"


def test_arguments_may_be_a_list_and_an_empty_one_is_none() -> None:
    event = parse_event({**GOOD, "args": ["one", "two three", 4], "vars": [], "infile": ""})
    assert event.fallbacks == {b"args": b"one two three 4", b"infile": b""}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"mode": 2}, "mode is 2"),
        ({"addr": None}, "no addr"),
        ({"addr": 5}, "addr is 5, expected text"),
        ({"port": None}, "port is None"),
        ({"port": 65536}, "expected 1 to 65535"),
        ({"port": "http"}, "port is 'http', expected an integer"),
        ({"nonblock": "1_0"}, "nonblock"),
        ({"nonblock": []}, "nonblock"),
        ({"srvcrt": "x", "cacert": "x"}, "only one of srvcrt and srvkey"),
        ({"srvcrt": "x", "srvkey": "x"}, "no cacert"),
        ({"args": [None]}, "args holds None"),
        ({"orphan_timeout": -1}, "orphan_timeout"),
        ({"launch_id": "a\nb"}, "launch_id"),
    ],
)
def test_a_bad_event_is_told_in_one_line(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(EventError, match=reason) as caught:
        parse_event({**GOOD, **change})
    assert "\n" not in str(caught.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(["mode", "addr", "port", "job", "srvkey", "nonblock", "args", "quality", "orphan_timeout", "x"])


@given(st.dictionaries(names, json_values) | json_values)
def test_no_event_is_worse_than_an_error(event: object) -> None:
    with suppress(EventError):
        parse_event(event)

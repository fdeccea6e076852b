"""What travels through the rendezvous."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted import wire

RUNS = st.binary(max_size=20).filter(lambda run: b":" not in run)
JOBS = st.from_regex(r"\A[A-Za-z0-9._-]{1,64}\Z")
NUMBERS = st.integers(0, 10**17)


@given(RUNS, st.integers(-(10**9), 10**9), st.integers(-(10**9), 10**9))
def test_the_originals_greeting_comes_back_as_it_went(run: bytes, me: int, to: int) -> None:
    greeting = wire.PeerGreeting(run, me, to)
    assert wire.parse_peer_greeting(greeting.encode()) == greeting


@given(JOBS, NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_the_new_greeting_comes_back_as_it_went(job: str, me: int, to: int, attempt: int, replay: bool) -> None:
    greeting = wire.PeerGreeting(job.encode(), me, to, attempt, replay)
    assert wire.parse_peer_greeting(greeting.encode()) == greeting


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"HELLO_STATE",
        b"HELLO_STATE:run:1",
        b"HELLO_STATE:run:1:2:3",
        b"HELLO_STATE:run:a:2",
        b"HELLO_STATE:run:1.0:2",
        b"HELLO_STATE:run:1:" + b"9" * 65,
        b"HELLO_STATE2:run:1:2",
        b"HELLO_STATE2:run:1:2:0:2",
        b"HELLO_STATE2:run:-1:2:0:0",
        b"HELLO_STATE2:r n:1:2:0:0",
        b"HELLO_STATE2::1:2:0:0",
        b"STATE(1):x",
    ],
)
def test_what_is_no_greeting_is_refused_on_one_line(message: bytes) -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.parse_peer_greeting(message)
    assert "\n" not in str(refused.value)


@given(NUMBERS, st.binary(max_size=5000))
def test_a_state_comes_back_as_it_went(number: int, state: bytes) -> None:
    assert wire.parse_state(wire.state_message(number, state), 5000) == (number, state)


def test_a_small_message_cannot_stand_for_a_large_state() -> None:
    bomb = b"STATE(0):" + zlib.compress(bytes(10_000_000))
    with pytest.raises(wire.WireError, match="more than 1000000 bytes"):
        wire.parse_state(bomb, 1_000_000)


@pytest.mark.parametrize("message", [b"STATE(x):", b"STATE(1)", b"STATE(1):abc", wire.state_message(1, b"abc")[:-3]])
def test_what_is_no_whole_state_is_refused(message: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.parse_state(message, 1000)


@given(JOBS, NUMBERS, st.dictionaries(st.sampled_from(["retain", "spill"]), NUMBERS))
def test_notices_come_back_as_they_went(job: str, task: int, limits: dict[str, int]) -> None:
    for notice in (
        wire.JobNotice(job, limits),
        wire.JobTaken(job, "a1B2"),
        wire.EndNotice(job),
        wire.EndTaken(job),
        wire.LostNotice(job, task),
    ):
        assert wire.parse_notice(notice.encode()) == notice


ALMOST = [b"JOB:j:[]", b'JOB:j:{"retain":-1}', b'JOB:j:{"a":1.5}', b"JOB:j", b"LOST:j:", b"OK:LOST:j:1", b"END:j:"]


@given(st.binary(max_size=60) | st.sampled_from(ALMOST))
def test_any_other_bytes_are_no_notice(message: bytes) -> None:
    with pytest.raises(wire.WireError) as refused:
        wire.parse_notice(message)
    assert "\n" not in str(refused.value)

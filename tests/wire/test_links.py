"""The frames of links: what is written is read again, and anything else is one error."""

from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import PeerError
from mu_twisted.wire.links import (
    MAX_LINK_FRAME,
    MAX_NAME,
    MAX_NUMBER,
    MAX_PART,
    Ack,
    Begin,
    Cut,
    End,
    Held,
    LinkFrame,
    LinkGreeting,
    LinkPing,
    LinkWelcome,
    Nak,
    Part,
    TaskRanges,
    Unwant,
    Want,
    WantAny,
    Whole,
    check_name,
    is_link_greeting,
    parse_link_frame,
    parse_link_greeting,
    parse_link_welcome,
    parse_paths,
    parse_tasks,
    parse_waits,
    paths_info,
    waits_info,
)


def is_name(text: str) -> bool:
    try:
        check_name(text)
    except ValueError:
        return False
    return True


peers = st.integers(0, 10**9)
numbers = st.integers(1, MAX_NUMBER)
names = st.text(min_size=1, max_size=60).filter(is_name).map(str.encode)
parts = st.binary(max_size=300)
frames = st.one_of(
    st.builds(lambda p, n, m, b: Begin(p, n, len(b), m, b), peers, numbers, names, parts),
    st.builds(lambda p, n, m, b: Whole(p, n, sha256(b).hexdigest().encode(), m, b), peers, numbers, names, parts),
    st.builds(Part, peers, numbers, st.integers(0, 1 << 40), names, parts.filter(bool)),
    st.builds(End, peers, numbers, st.binary(min_size=32, max_size=32).map(lambda b: b.hex().encode()), names),
    st.builds(Cut, peers, numbers, names),
    st.builds(Ack, peers, numbers, names),
    st.builds(Nak, peers, numbers, names, st.just(b"no room: \xff")),
    st.builds(Want, peers, numbers, names),
    st.builds(WantAny, names, st.lists(st.tuples(peers, numbers), max_size=5).map(tuple)),
    st.builds(Unwant, st.none() | peers, names),
    st.builds(Held, peers, numbers, peers, st.binary(min_size=32, max_size=32).map(lambda b: b.hex().encode()), names),
    st.builds(LinkPing, st.booleans()),
)


@given(frames)
def test_a_frame_is_read_as_it_was_written(frame: LinkFrame) -> None:
    assert parse_link_frame(frame.encode()) == frame


@given(st.binary(max_size=200) | st.builds(lambda f, a, b: f.encode()[:a] + b, frames, st.integers(0, 80), parts))
def test_anything_is_a_frame_or_one_error(message: bytes) -> None:
    with suppress(PeerError):
        assert parse_link_frame(message).encode() == message


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"SEND:1:1:5:x",  # no bytes
        b"SEND:1:1:5:x\0abc",  # fewer than there are
        b"SEND:1:1:2:x\0abc",  # more
        b"SEND:1:0:0:x\0",  # messages are counted from 1
        b"SEND:01:1:0:x\0",
        b"SEND:-1:1:0:x\0",
        b"SEND:1:1:0:\0",
        b"SEND:1:1:0:a\nb\0",
        b"SEND:1:1:0:\xff\0",
        b"SEND:1:%d:0:x\0" % (MAX_NUMBER + 1),
        b"SEND:1:1:%d:x\0" % ((1 << 40) + 1),
        b"SEND:1:1:%d:x\0" % (MAX_PART + 1) + bytes(MAX_PART + 1),
        b"DATA:1:1:5:x\0",
        b"WHOLE:1:1:" + b"a" * 64 + b":x",
        b"WHOLE:1:1:" + b"a" * 63 + b":x\0",
        b"WHOLE:1:0:" + b"a" * 64 + b":x\0",
        b"WHOLE:1:1:" + b"a" * 64 + b":x\0" + bytes(MAX_PART + 1),
        b"END:1:1:abc:x",
        b"END:1:1:" + b"A" * 64 + b":x",
        b"ACK:1:1:x\0",
        b"WANT:*:1:x",
        b"WANT_ANY:x",
        b"WANT_ANY:x\0" + b"1=1," * 4096 + b"1=1",
        b"UNWANT:x",
        b"NAK:1:1:x\0" + b"a" * 501,
        b"ACK:1:1:" + b"a" * (MAX_NAME + 1),
    ],
)
def test_what_breaks_the_grammar_or_a_limit_is_an_error(message: bytes) -> None:
    with pytest.raises(PeerError, match="expected a frame of a link"):
        parse_link_frame(message)


def test_no_frame_is_larger_than_said() -> None:
    name = b"n" * MAX_NAME
    assert len(Begin(10**18, MAX_NUMBER, 1 << 40, name, bytes(MAX_PART)).encode()) <= MAX_LINK_FRAME
    assert len(Whole(10**18, MAX_NUMBER, b"a" * 64, name, bytes(MAX_PART)).encode()) <= MAX_LINK_FRAME
    assert len(Part(10**18, MAX_NUMBER, 1 << 40, name, bytes(MAX_PART)).encode()) <= MAX_LINK_FRAME


@given(st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True), peers, st.integers(0, 99))
def test_a_greeting_is_read_as_it_was_written(job: str, task: int, attempt: int) -> None:
    greeting = LinkGreeting(job.encode(), task, attempt, {"candidates": ["host/10.0.0.1/5000"]})
    assert is_link_greeting(greeting.encode())
    assert parse_link_greeting(greeting.encode()) == greeting
    welcome = LinkWelcome({"store": "a:b"})
    assert parse_link_welcome(welcome.encode()) == welcome


@pytest.mark.parametrize(
    "message",
    [
        b"HELLO_LINK:j:1:1",
        b"HELLO_LINK:j:1:1:[]",
        b"HELLO_LINK:j:1:1:" + b"[" * 3000,
        b"HELLO_LINK:j:1:1:{" + b" " * 5000 + b"}",
        b"HELLO_LINK:j j:1:1:{}",
        b"HELLO_LINK:j:-1:1:{}",
        b"HELLO_LINK:j:1:x:{}",
        b"HELLO_STATE2:j:1:1:1:{}",
    ],
)
def test_another_greeting_is_an_error(message: bytes) -> None:
    with pytest.raises(PeerError, match="expected HELLO_LINK"):
        parse_link_greeting(message)
    with pytest.raises(PeerError, match="expected OK:HELLO_LINK"):
        parse_link_welcome(b"OK:" + message)


waits = st.lists(st.tuples(st.none() | peers, names.map(bytes.decode), numbers), max_size=16).map(tuple)


@given(waits)
def test_waits_are_read_as_they_were_written(found: tuple[tuple[int | None, str, int], ...]) -> None:
    assert parse_waits(waits_info(found)) == found


@given(st.dictionaries(peers, st.sampled_from(["direct", "edm", "lost"]), max_size=20))
def test_paths_are_read_as_they_were_written(outcomes: dict[int, str]) -> None:
    assert parse_paths(paths_info(outcomes)) == outcomes


@pytest.mark.parametrize(
    "text", ["[]", '{"x":"direct"}', '{"1":"no way"}', '{"1":2}', "{", '{"01":"edm"}', '{"1":"' + "x" * 30 + '"}']
)
def test_what_is_no_outcome_of_paths_is_an_error(text: str) -> None:
    with pytest.raises(PeerError, match=r"expected INFO:paths:"):
        parse_paths(b"INFO:paths:" + text.encode())
    with pytest.raises(PeerError, match=r"expected INFO:paths:"):
        parse_paths(b"INFO:paths:" + paths_info(dict.fromkeys(range(250), "edm"))[11:-1] + b"," * 20)


@given(st.sets(st.integers(0, 60)))
def test_tasks_are_named_by_ranges(tasks: set[int]) -> None:
    ranges = parse_tasks(TaskRanges.of(tasks).encode())
    assert list(ranges) == sorted(tasks)
    assert [task for task in range(100) if task in ranges] == sorted(tasks)
    assert bool(ranges) == bool(tasks)


def test_where_there_are_too_many_ranges_some_more_tasks_are_named() -> None:
    ranges = TaskRanges.of(range(0, 10_000, 2))
    assert ranges.encode().count(b",") == 999
    assert all(task in ranges for task in range(0, 10_000, 2))
    parse_tasks(ranges.encode())


@pytest.mark.parametrize("text", [b"x", b"1-", b"-1", b"1,,2", b"1;2", b"1-2-3", b"1," * 1000 + b"1"])
def test_what_names_no_tasks_is_an_error(text: bytes) -> None:
    with pytest.raises(PeerError, match="expected numbers of tasks"):
        parse_tasks(text)

"""Frames of pipes come back as they were, and nothing else is taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import (
    MAX_CREDIT,
    MAX_CUT_REASON,
    MAX_PIPE_PART,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
    check_pipe_name,
    parse_pipe_frame,
)

numbers = st.integers(0, 10**18 - 1)
names = st.from_regex(rb"[A-Za-z0-9._-]{1,64}", fullmatch=True)
lines = st.binary(max_size=MAX_CUT_REASON).map(lambda text: b" ".join(text.replace(b"\0", b"").split()))
frames: st.SearchStrategy[PipeFrame] = st.one_of(
    st.builds(OpenPipe, numbers, numbers, names, st.booleans()),
    st.builds(PipeCredit, numbers, st.integers(1, MAX_CREDIT), names),
    st.builds(PipeData, numbers, names, st.binary(min_size=1, max_size=100)),
    st.builds(EndPipe, numbers, names),
    st.builds(ClosePipe, numbers, names),
    st.builds(MovePipe, numbers, numbers, names),
    st.builds(CutPipe, numbers, names, lines),
)


@given(frames)
def test_each_frame_comes_back_as_it_was(frame: PipeFrame) -> None:
    assert parse_pipe_frame(frame.encode()) == frame


@given(st.one_of(st.binary(max_size=100), st.builds(lambda frame, more: frame.encode() + more, frames, st.binary())))
def test_whatever_comes_is_a_frame_within_its_limits_or_refused(message: bytes) -> None:
    try:
        frame = parse_pipe_frame(message)
    except PeerError:
        return
    assert parse_pipe_frame(frame.encode()) == frame


@pytest.mark.parametrize(
    "message",
    [
        b"PIPE_OPEN:1:0:x",
        b"PIPE_OPEN:1:0:both:x",
        b"PIPE_OPEN:01:0:to:x",
        b"PIPE_OPEN:1:0:to:x\0more",
        b"PIPE_CREDIT:1:0:x",
        b"PIPE_CREDIT:1:%d:x" % (MAX_CREDIT + 1),
        b"PIPE_CREDIT:1:-1:x",
        b"PIPE_DATA:1:x",
        b"PIPE_DATA:1:x\0",
        b"PIPE_DATA:1:x\0" + bytes(MAX_PIPE_PART + 1),
        b"PIPE_END:1:",
        b"PIPE_END:1:a b",
        b"PIPE_END:1:" + b"n" * 65,
        b"PIPE_CLOSE:1:\xc3\xa4",
        b"PIPE_CUT:1:x",
        b"PIPE_CUT:1:x\0" + b"r" * (MAX_CUT_REASON + 1),
        b"PIPE_MORE:1:x",
    ],
)
def test_what_breaks_a_limit_is_refused(message: bytes) -> None:
    with pytest.raises(PeerError):
        parse_pipe_frame(message)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "##", "ä", "n" * 65, "a\n", None, 3])
def test_a_name_that_cannot_stand_in_a_command_is_refused(name: object) -> None:
    with pytest.raises(ValueError, match="a pipe's name has 1 to 64"):
        check_pipe_name(name)  # type: ignore[arg-type]

"""A worker streams what its programs print as far as it was granted credit, and never before anything else."""

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.wire import PeerError
from mu_twisted.wire.tee import COST, MAX_PIECE, OUT, RESERVE, OutputPiece, parse_piece
from worker_lambda.programs import tee
from worker_lambda.programs.program import MAX_OUTPUT, Tail
from worker_lambda.programs.tee import Tee

ENOUGH = b"tee:1000000"


def program(number: int = 0) -> Any:
    return SimpleNamespace(number=number, streamed=0, tail=Tail(MAX_OUTPUT))


class Streamed:
    """A tee whose pieces are read."""

    def __init__(self, credit: int) -> None:
        self.pieces: list[OutputPiece] = []
        self.tee = Tee(lambda payload: self.pieces.append(parse_piece(payload)))
        self.tee.grant(b"%d" % credit)

    def step_all(self, *programs: Any) -> None:
        while self.tee.step(programs, idle=True) == 0:
            pass


@given(
    st.lists(st.tuples(st.integers(0, 2), st.binary(max_size=40_000)), max_size=12),
    st.integers(1, 100_000),
)
def test_whatever_is_printed_the_pieces_are_of_it_and_cost_no_more_than_was_granted(
    printed: list[tuple[int, bytes]], credit: int
) -> None:
    streamed, programs = Streamed(credit), [program(number) for number in range(3)]
    whole = [b"", b"", b""]
    for number, data in printed:
        programs[number].tail.add(data)
        whole[number] += data
        streamed.step_all(*programs)
    for each in programs:
        streamed.tee.ended(each)
    reached = [0, 0, 0]
    for piece in streamed.pieces:
        assert piece.offset >= reached[piece.run]
        assert whole[piece.run][piece.offset : piece.offset + len(piece.data)] == piece.data
        reached[piece.run] = piece.offset + len(piece.data)
    assert sum(piece.cost for piece in streamed.pieces) <= credit
    ends = [piece for piece in streamed.pieces if not piece.data]
    assert all(len(whole[end.run]) == end.offset for end in ends)
    assert len(ends) == min(3, credit // COST)


def test_nothing_is_streamed_before_all_else_has_been_taken() -> None:
    streamed, one = Streamed(1 << 20), program()
    one.tail.add(b"x" * MAX_PIECE)
    assert streamed.tee.step([one], idle=False) is None
    assert not streamed.pieces
    streamed.step_all(one)
    assert [len(piece.data) for piece in streamed.pieces] == [MAX_PIECE]


def test_lines_that_come_one_by_one_are_sent_together(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(tee, "time", SimpleNamespace(monotonic=lambda: now))
    streamed, one = Streamed(1 << 20), program()
    for _ in range(100):
        one.tail.add(b"a line\n")
        wait = streamed.tee.step([one], idle=True)
    assert [len(piece.data) for piece in streamed.pieces] == [7]
    assert wait is not None
    assert 0 < wait <= 0.1
    now += wait
    assert streamed.tee.step([one], idle=True) == 0
    assert [len(piece.data) for piece in streamed.pieces] == [7, 693]


def test_what_is_printed_faster_than_it_is_taken_is_passed_over() -> None:
    streamed, one = Streamed(1 << 20), program()
    one.tail.add(b"first")
    streamed.step_all(one)
    one.tail.add(b"y" * (10 * MAX_OUTPUT))
    streamed.step_all(one)
    assert streamed.pieces[1].offset >= 5 + 8 * MAX_OUTPUT
    assert streamed.pieces[-1].offset + len(streamed.pieces[-1].data) == 5 + 10 * MAX_OUTPUT


def test_programs_that_print_at_once_take_turns() -> None:
    streamed, programs = Streamed(RESERVE + 9 * (MAX_PIECE + COST)), [program(number) for number in range(3)]
    for each in programs:
        each.tail.add(b"x" * MAX_OUTPUT)
    streamed.step_all(*programs)
    assert sorted(piece.run for piece in streamed.pieces) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


@pytest.mark.parametrize("message", [b"OUT:", b"OUT:0:0", b"OUT:a:0:x", b"OUT:0:-1:x", b"OK:", b"OUT:\xb2:0:x"])
def test_what_is_no_piece_is_refused(message: bytes) -> None:
    with pytest.raises(PeerError, match="expected OUT:RUN:OFFSET:BYTES"):
        parse_piece(message)


def test_a_piece_that_is_too_long_is_refused() -> None:
    with pytest.raises(PeerError, match="at most 16384 are allowed"):
        parse_piece(b"OUT:0:0:" + b"x" * (MAX_PIECE + 1))


@pytest.fixture
def talk(here: Callable[..., Any], coordinator: Any, event: Callable[..., Any]) -> Any:
    """With a worker of ours, which has greeted."""
    worker = here(event(coordinator, job="j", launch_id="j/0"))
    talk = coordinator.accept()
    assert b'"tee"' in talk.hear()
    yield talk
    talk.say(b"quit:")
    assert worker.result() == {"ended": "the coordinator said quit"}


def until_reply(talk: Any) -> tuple[list[OutputPiece], bytes]:
    pieces = []
    while (message := talk.hear()).startswith(OUT):
        pieces.append(parse_piece(message))
    return pieces, message


def test_what_a_program_prints_comes_while_it_runs_and_its_end_before_the_reply(talk: Any) -> None:
    talk.say(ENOUGH, b"run:echo first; read -r x < /dev/null; sleep 0.2; printf second")
    pieces, reply = until_reply(talk)
    assert pieces[0].data.startswith(b"first\n")
    assert (pieces[-1].run, pieces[-1].offset, pieces[-1].data) == (0, 12, b"")
    assert reply.startswith(b"OK:RETVAL(0):OUTPUT(first\nsecond):")
    talk.say(b"run:true")
    pieces, reply = until_reply(talk)
    assert [(piece.run, piece.offset, piece.data) for piece in pieces] == [(1, 0, b"")]


def test_credit_that_comes_later_is_of_use_to_a_program_that_runs(talk: Any) -> None:
    where = talk.ask(b"run:printf %s ##TMPDIR##").partition(b":OUTPUT(")[2].partition(b")")[0]
    talk.say(b"run:echo first; until [ -f %b/go ]; do sleep 0.02; done; echo second" % where)
    talk.say(b"ping:")
    assert talk.hear() == b"OK:PONG()"
    talk.say(ENOUGH)
    assert parse_piece(talk.hear()).data == b"first\n"
    (Path(os.fsdecode(where)) / "go").touch()
    pieces, _ = until_reply(talk)
    assert b"".join(piece.data for piece in pieces) in (b"second\n", b"")


def test_nothing_is_streamed_without_credit_nor_after_a_reset(talk: Any) -> None:
    assert talk.ask(b"run:echo x").startswith(b"OK:RETVAL(0):OUTPUT(x\n)")
    talk.say(ENOUGH)
    assert talk.ask(b"reset:").startswith(b"OK:HELLO")
    assert talk.ask(b"run:echo x").startswith(b"OK:RETVAL(0):OUTPUT(x\n)")


@pytest.mark.parametrize("count", [b"", b"0", b"-1", b"x", b"9" * 30])
def test_credit_that_is_none_is_refused(talk: Any, count: bytes) -> None:
    assert talk.ask(b"tee:" + count).startswith(b"FAIL(")

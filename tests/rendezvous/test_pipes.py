"""What the rendezvous does with pipes: bytes go through whole or not at all, and what waits is bounded."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.rendezvous._message import Account
from mu_twisted.rendezvous._pipes import SMALL_WINDOW, WINDOW, Pipes, PipeSession
from mu_twisted.wire import PeerError
from mu_twisted.wire.pipes import (
    MAX_CREDIT,
    MAX_PIPE_PART,
    MAX_PIPES,
    ClosePipe,
    CutPipe,
    EndPipe,
    MovePipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    PipeFrame,
    parse_pipe_frame,
)


@dataclass
class Worker:
    """One connection; what it is sent waits until it is taken."""

    pipes: Pipes
    task: int
    attempt: int = 0
    session: PipeSession = field(init=False)

    def __post_init__(self) -> None:
        self.session = PipeSession(self.pipes, self.task, self.attempt, self)

    def deliver(self) -> None:
        """Nothing is taken at once."""

    def says(self, frame: PipeFrame) -> None:
        self.session.receive(parse_pipe_frame(frame.encode()))

    def hears(self) -> list[PipeFrame]:
        found = list[PipeFrame]()
        while (frame := self.session.next_frame()) is not None:
            found.append(parse_pipe_frame(frame))
        return found


def joined(memory: Account | None = None) -> tuple[Worker, Worker]:
    """A writer, task 3, and a reader, task 5, of pipe x."""
    pipes = Pipes(memory or Account(64 << 20))
    writer, reader = Worker(pipes, 3), Worker(pipes, 5)
    writer.says(OpenPipe(5, 0, b"x", True))
    reader.says(OpenPipe(3, 0, b"x", False))
    return writer, reader


def test_bytes_go_through_and_the_end_behind_them() -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, 100, b"x"))
    assert writer.hears() == [PipeCredit(5, 100, b"x")]
    writer.says(PipeData(5, b"x", b"abc"))
    writer.says(PipeData(5, b"x", b"def"))
    writer.says(EndPipe(5, b"x"))
    *data, end = reader.hears()
    assert b"".join(frame.part for frame in data if isinstance(frame, PipeData)) == b"abcdef"
    assert end == EndPipe(3, b"x")
    reader.says(ClosePipe(3, b"x"))
    assert writer.hears() == [ClosePipe(5, b"x")]
    writer.session.close()
    assert reader.hears() == []


def test_credit_that_comes_before_the_writer_is_kept_for_it() -> None:
    pipes = Pipes(Account(64 << 20))
    reader, writer = Worker(pipes, 5), Worker(pipes, 3)
    reader.says(OpenPipe(3, 0, b"x", False))
    reader.says(PipeCredit(3, 77, b"x"))
    assert reader.hears() == []
    writer.says(OpenPipe(5, 0, b"x", True))
    assert writer.hears() == [PipeCredit(5, 77, b"x")]


def test_no_more_waits_for_a_slow_reader_than_a_window() -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, MAX_CREDIT, b"x"))
    (credit,) = writer.hears()
    assert credit == PipeCredit(5, WINDOW, b"x")
    for _ in range(WINDOW // MAX_PIPE_PART):
        writer.says(PipeData(5, b"x", bytes(MAX_PIPE_PART)))
    assert writer.hears() == []
    assert reader.session.next_frame() is not None  # it takes one
    assert writer.hears() == [PipeCredit(5, MAX_PIPE_PART, b"x")]


def test_windows_are_smaller_when_memory_is_short_and_pipes_are_refused_in_the_end() -> None:
    memory = Account(2 * WINDOW + SMALL_WINDOW)
    first, second, third, fourth = joined(memory), joined(memory), joined(memory), None
    credits = []
    for writer, reader in (first, second, third):
        reader.says(PipeCredit(3, MAX_CREDIT, b"x"))
        credits += writer.hears()
    assert credits == [PipeCredit(5, size, b"x") for size in (WINDOW, SMALL_WINDOW, SMALL_WINDOW)]
    while fourth is None:
        writer, reader = joined(memory)
        heard = writer.hears()
        if heard:
            fourth = writer, reader
    assert isinstance(heard[0], CutPipe)
    assert b"no memory for another pipe" in heard[0].reason
    assert memory.used <= memory.limit
    for writer, reader in (first, second, third):
        writer.session.close()
        reader.session.close()
    assert memory.free >= 2 * SMALL_WINDOW + WINDOW - SMALL_WINDOW


@pytest.mark.parametrize("gone", ["writer", "reader"])
@pytest.mark.parametrize("ended", [False, True])
def test_one_whose_connection_is_lost_cuts_the_other_who_has_not_all(gone: str, ended: bool) -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, 1000, b"x"))
    writer.hears()
    writer.says(PipeData(5, b"x", b"abc"))
    if ended:
        writer.says(EndPipe(5, b"x"))
    lost, other = (writer, reader) if gone == "writer" else (reader, writer)
    lost.session.close()
    (heard,) = other.hears()
    assert isinstance(heard, CutPipe)
    assert heard.reason == b"task %d, at the other end of pipe 'x', is gone" % lost.task


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("leaves", [False, True])
def test_nothing_waits_for_a_reader_that_leaves_or_fails(leaves: bool, ended: bool) -> None:
    memory = Account(64 << 20)
    writer, reader = joined(memory)
    reader.says(PipeCredit(3, WINDOW, b"x"))
    writer.hears()
    writer.says(PipeData(5, b"x", bytes(MAX_PIPE_PART)))
    writer.says(PipeData(5, b"x", bytes(MAX_PIPE_PART)))
    if ended:
        writer.says(EndPipe(5, b"x"))
    end = writer.pipes._ends[5, b"x"]
    assert sum(map(len, end.parts)) == 2 * MAX_PIPE_PART
    if leaves:
        reader.session.close()
    else:
        reader.says(CutPipe(3, b"x", b"it failed"))
    assert memory.used == 0
    assert not end.parts
    assert end.last is None
    assert reader.hears() == []


def test_a_writer_that_fails_says_why_and_its_bytes_are_dropped() -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, 1000, b"x"))
    writer.says(PipeData(5, b"x", b"abc"))
    writer.says(CutPipe(5, b"x", b"its command ended with status 3"))
    assert reader.hears() == [CutPipe(3, b"x", b"its command ended with status 3")]
    writer.session.close()
    assert reader.hears() == []


def test_what_is_on_its_way_to_a_reader_that_closes_early_is_dropped() -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, 1000, b"x"))
    writer.says(PipeData(5, b"x", b"abc"))
    reader.says(ClosePipe(3, b"x"))
    assert writer.hears() == [ClosePipe(5, b"x")]
    writer.says(PipeData(5, b"x", b"more"))
    writer.says(EndPipe(5, b"x"))
    assert reader.hears() == []
    reader.session.close()
    assert writer.hears() == []


@pytest.mark.parametrize("mine", [0, 1, 2])
@pytest.mark.parametrize("theirs", [0, 1, 2])
def test_only_the_attempts_that_name_each_other_meet(mine: int, theirs: int) -> None:
    pipes = Pipes(Account(64 << 20))
    writer, reader = Worker(pipes, 3, 1), Worker(pipes, 5, 1)
    writer.says(OpenPipe(5, mine, b"x", True))
    reader.says(OpenPipe(3, theirs, b"x", False))
    cuts = [*writer.hears(), *reader.hears()]
    reader.session.receive(PipeCredit(3, 10, b"x")) if not cuts else None
    assert bool(writer.hears()) is (mine == theirs == 1)
    assert all(isinstance(frame, CutPipe) for frame in cuts)


def test_an_end_whose_task_has_left_it_unused_is_not_waited_for() -> None:
    pipes = Pipes(Account(64 << 20))
    writer, reader = Worker(pipes, 3), Worker(pipes, 5)
    reader.says(OpenPipe(3, 0, b"x", False))
    reader.session.close()
    writer.says(OpenPipe(5, 0, b"x", True))
    assert writer.hears() == [CutPipe(5, b"x", b"task 5 has left its end of pipe 'x' unused")]
    later = Worker(pipes, 3, 1)
    later.says(OpenPipe(5, 1, b"x", True))  # the next attempt is not that one
    assert later.hears() == []


@pytest.mark.parametrize("leaves", [False, True])
def test_a_reader_that_has_closed_it_before_the_writer_came_has_not_broken_it(leaves: bool) -> None:
    pipes = Pipes(Account(64 << 20))
    reader, other, writer = Worker(pipes, 5), Worker(pipes, 3, 1), Worker(pipes, 3)
    reader.says(OpenPipe(3, 0, b"x", False))
    reader.says(ClosePipe(3, b"x"))
    if leaves:
        reader.session.close()
    writer.says(OpenPipe(5, 0, b"x", True))
    assert writer.hears() == [ClosePipe(5, b"x")]
    writer.session.close()
    other.says(OpenPipe(5, 0, b"x", True))  # which the reader did not mean
    assert [type(frame) for frame in other.hears()] == [CutPipe]


def test_an_end_that_was_cut_before_it_met_the_other_is_not_waited_for() -> None:
    pipes = Pipes(Account(64 << 20))
    writer, reader = Worker(pipes, 3), Worker(pipes, 5)
    reader.says(OpenPipe(3, 0, b"x", False))
    reader.says(CutPipe(3, b"x", b"its command has ended by signal 9"))
    reader.session.close()
    writer.says(OpenPipe(5, 0, b"x", True))
    assert [type(frame) for frame in writer.hears()] == [CutPipe]


HOSTILE: list[tuple[str, Callable[[Worker, Worker], object]]] = [
    ("credit for", lambda writer, _: writer.says(PipeData(5, b"x", b"four"))),
    ("credit came from the writer", lambda writer, _: writer.says(PipeCredit(5, 1, b"x"))),
    ("takes none", lambda _, reader: reader.says(PipeData(3, b"x", b"a"))),
    ("none to come", lambda _, reader: reader.says(EndPipe(3, b"x"))),
    ("none to come", lambda writer, _: [writer.says(EndPipe(5, b"x")) for _ in range(2)]),
    ("takes none", lambda writer, _: [writer.says(EndPipe(5, b"x")), writer.says(PipeData(5, b"x", b"a"))]),
    ("as a reader does", lambda writer, _: writer.says(ClosePipe(5, b"x"))),
    ("closed before", lambda _, reader: [reader.says(ClosePipe(3, b"x")) for _ in range(2)]),
    ("more credit", lambda _, reader: [reader.says(PipeCredit(3, MAX_CREDIT, b"x")) for _ in range(2)]),
    ("the rendezvous is none", lambda writer, _: writer.says(MovePipe(5, 0, b"x"))),
    ("not open", lambda writer, _: writer.says(PipeData(6, b"x", b"a"))),
    ("not open", lambda writer, _: writer.says(EndPipe(5, b"y"))),
    ("opened already", lambda writer, _: writer.says(OpenPipe(5, 0, b"x", True))),
    ("opened already", lambda writer, _: writer.says(OpenPipe(6, 0, b"x", False))),
    ("with itself", lambda writer, _: writer.says(OpenPipe(3, 0, b"z", True))),
    ("no more may be", lambda writer, _: [writer.says(OpenPipe(9, 0, b"%d" % at, True)) for at in range(MAX_PIPES)]),
]


@pytest.mark.parametrize(("says", "does"), HOSTILE)
def test_a_peer_that_breaks_the_rules_is_refused(says: str, does: Callable[[Worker, Worker], object]) -> None:
    writer, reader = joined()
    reader.says(PipeCredit(3, 3, b"x"))
    writer.hears()
    with pytest.raises(PeerError, match=says):
        does(writer, reader)


@settings(max_examples=examples(60), deadline=None)
@given(st.data())
def test_whatever_two_workers_do_what_is_read_is_the_beginning_of_what_was_written(data: st.DataObject) -> None:
    memory = Account(64 << 20)
    writer, reader = joined(memory)
    written, read, credit = bytearray(), bytearray(), 0
    ended = closed = cut = False
    for at in range(data.draw(st.integers(1, 40))):
        match data.draw(st.sampled_from(["credit", "write", "read", "end", "close", "cut", "lose"][: 3 + at // 4])):
            case "credit" if not closed and not cut:
                reader.says(PipeCredit(3, data.draw(st.integers(1, 20_000)), b"x"))
            case "write" if not ended and not cut and credit:
                part = data.draw(st.binary(min_size=1, max_size=8)) * data.draw(st.integers(1, 1000))
                part = part[: min(credit, MAX_PIPE_PART)]
                writer.says(PipeData(5, b"x", part))
                written += part
                credit -= len(part)
            case "read" if not closed:
                for heard in reader.hears():
                    read += heard.part if isinstance(heard, PipeData) else b""
                    cut = cut or isinstance(heard, CutPipe)
                    assert not isinstance(heard, EndPipe) or (ended and read == written)
            case "end" if not ended and not cut:
                writer.says(EndPipe(5, b"x"))
                ended = True
            case "close" if not closed and not cut:
                reader.says(ClosePipe(3, b"x"))
                closed = True
            case "cut" if not cut and not closed:
                writer.says(CutPipe(5, b"x", b"why"))
                cut = True
            case "lose":
                data.draw(st.sampled_from([writer, reader])).session.close()
                break
            case _:
                pass
        credit += sum(heard.size for heard in writer.hears() if isinstance(heard, PipeCredit))
        assert credit <= WINDOW
        assert written.startswith(read)
    writer.session.close()
    reader.session.close()
    assert memory.used == 0

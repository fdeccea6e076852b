"""Sending and receiving messages without a connection: frames of one side are given to the other, with any losses."""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_link_paths import SIZES, Beside
from property_examples import examples

from mu_twisted.wire.byte_counts import parse_byte_counts
from mu_twisted.wire.links import MAX_PART, Ack, Cut, Nak, Unwant, Want, parse_link_frame
from worker_lambda._errors import CommandFailure
from worker_lambda._traffic import Traffic
from worker_lambda.links._files import MessageSource, MessageTarget
from worker_lambda.links._receives import MAX_ANY_NAMES, MAX_WANTED, Receives, WaitReport
from worker_lambda.links._sends import MAX_SENDING, MAX_WAITING, MAX_WAITING_BYTES, Sends, StreamNumbers


class Pair:
    """A task 1 that sends and a task 2 that receives, and a direct path between them that may break."""

    def __init__(self) -> None:
        self.beside = Beside()
        runs: Any = self.beside
        self.sent, self.got = Traffic(wanted=True), Traffic(wanted=True)
        self.sends, self.receives = Sends(runs, traffic=self.sent), Receives(runs, self.got)
        self.wants: list[Any] = []

    def carry(self, frames: int = 1 << 30) -> bool:
        """Carry up to so many frames each way, as two ends of a path without a rendezvous do."""
        moved = False
        for _ in range(frames):
            there, back = self.sends.next_frame(), self.receives.next_frame()
            if there is None and back is None:
                return moved
            moved = True
            if there is not None:
                frame: Any = parse_link_frame(there)
                assert frame.peer == 2
                object.__setattr__(frame, "peer", 1)
                self.receives.received(frame)
            if back is not None:
                answer: Any = parse_link_frame(back)
                if isinstance(answer, Ack):
                    object.__setattr__(answer, "peer", 2)
                    self.sends.answered(answer)
                else:
                    self.wants.append(answer)
        return moved

    def settle(self) -> None:
        while self.beside.step() or self.carry():
            pass

    def breaks(self, *, whole: bool = False) -> None:
        self.sends.restart(whole=whole)
        self.receives.restart()


def test_bytes_are_counted_once_a_message_is_safe_and_once_it_is_there(tmp_path: Path) -> None:
    pair = Pair()
    safe: list[Any] = []
    for number in range(3):
        pair.receives.add(1, b"x", os.fsencode(tmp_path / f"in{number}"), lambda *_: safe.append(pair.got.report()))
        pair.sends.add(2, b"x", None, b"12345", lambda _: safe.append(pair.sent.report()))
    pair.carry(2)
    pair.breaks()  # what goes again is not counted again
    pair.settle()
    reports = [parse_byte_counts(report) for report in safe if report is not None]
    assert max(report.sent for report in reports) == 15
    assert max(report.received for report in reports) == 15
    pair.sends.add(2, b"y", None, b"123", safe.append)
    pair.sends.fail("killed", final=True)
    assert pair.sent.report() is None


@settings(max_examples=examples(60))
@given(st.data())
def test_whatever_breaks_each_message_comes_once_in_order_and_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("links")
    pair, chance = Pair(), random.Random(1)
    any_sender = data.draw(st.booleans())  # then one message comes after the other
    sizes = data.draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=1 if any_sender else 5))
    bodies = [chance.randbytes(16) * (size // 16) + bytes(size % 16) for size in sizes]
    sent: list[str | None] = []
    got: list[tuple[int, str | None]] = []
    for number in range(len(bodies)):
        path = os.fsencode(folder / f"in{number}")
        pair.receives.add(None if any_sender else 1, b"x", path, lambda peer, error: got.append((peer, error)))
    for number, body in enumerate(bodies):
        (folder / f"out{number}").write_bytes(body)
        pair.sends.add(2, b"x", os.fsencode(folder / f"out{number}"), b"", sent.append)
    for _ in range(data.draw(st.integers(0, 12))):
        match data.draw(st.sampled_from(["carry", "beside", "break"])):
            case "carry":
                pair.carry(data.draw(st.integers(1, 30)))
            case "beside":
                pair.beside.step(data.draw(st.integers(0, 5)))
            case _:
                pair.breaks(whole=data.draw(st.booleans()))
    for _ in range(3):  # an acknowledgement that was lost is said again with the next connection
        pair.settle()
        pair.breaks()
    pair.settle()
    assert sent == [None] * len(bodies)
    assert got == [(1, None)] * len(bodies)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted([f"{way}{number}" for number in range(len(bodies)) for way in ("in", "out")])
    for number, body in enumerate(bodies):
        assert (folder / f"in{number}").read_bytes() == body


def test_only_so_many_messages_are_sent_at_once_and_wait(tmp_path: Path) -> None:
    pair = Pair()
    done: list[str | None] = []
    for _ in range(MAX_WAITING):
        pair.sends.add(2, b"x", None, b"1", done.append)
    with pytest.raises(CommandFailure, match="too many messages wait to be sent"):
        pair.sends.add(2, b"x", None, b"1", done.append)
    pair.beside.run()
    begun = set()
    while (frame := pair.sends.next_frame()) is not None:
        begun.add(parse_link_frame(frame).number)  # type: ignore[union-attr]
        pair.beside.run()
    assert begun == set(range(1, MAX_SENDING + 1))
    pair.sends.fail("it is over", final=True)
    assert done == ["it is over"] * MAX_WAITING
    size = 64 << 10
    for _ in range(MAX_WAITING_BYTES // size):
        pair.sends.add(2, b"x", None, bytes(size), done.append)
    with pytest.raises(CommandFailure, match=f"with {MAX_WAITING_BYTES} bytes"):
        pair.sends.add(2, b"x", None, b"1", done.append)


def test_only_so_many_messages_are_wanted_at_once_and_names_taken_of_any(tmp_path: Path) -> None:
    receives = Pair().receives
    for _ in range(MAX_WAITING):
        receives.add(1, b"x", b"f", lambda *_: None)
    with pytest.raises(CommandFailure, match="that is the limit"):
        receives.add(1, b"x", b"f", lambda *_: None)
    wants = 0
    while receives.next_frame() is not None:
        wants += 1
    assert wants == MAX_WANTED
    receives = Pair().receives
    for number in range(MAX_ANY_NAMES):
        receives.add(None, b"%d" % number, b"f", lambda *_: None)
    with pytest.raises(CommandFailure, match="names are received of any task"):
        receives.add(None, b"more", b"f", lambda *_: None)


def test_what_is_given_up_is_cut_and_unwanted_and_its_number_comes_again(tmp_path: Path) -> None:
    pair = Pair()
    (tmp_path / "out").write_bytes(bytes(5 * MAX_PART))
    sent: list[str | None] = []
    for _ in range(2):
        pair.sends.add(2, b"x", os.fsencode(tmp_path / "out"), b"", sent.append)
    pair.beside.run()
    assert pair.sends.next_frame() is not None
    pair.sends.fail("killed")
    assert parse_link_frame(pair.sends.next_frame() or b"") == Cut(2, 1, b"x")
    assert pair.sends.next_frame() is None
    pair.sends.add(2, b"x", None, b"y", sent.append)
    pair.beside.run()
    frame = parse_link_frame(pair.sends.next_frame() or b"")
    assert (frame.number, sent) == (1, ["killed"] * 2)  # type: ignore[union-attr]
    pair.sends.answered(Nak(2, 2, b"x", b"late"))
    got: list[tuple[int, str | None]] = []
    pair.receives.add(1, b"x", os.fsencode(tmp_path / "in"), lambda *said: got.append(said))
    pair.receives.fail("killed")
    said = [parse_link_frame(pair.receives.next_frame() or b"") for _ in range(2)]
    assert said == [Want(1, 1, b"x"), Unwant(1, b"x")]
    assert got == [(1, "killed")]


def test_numbers_that_were_given_back_come_first() -> None:
    numbers = StreamNumbers()
    one, other = (1, b"x"), (1, b"y")
    assert [numbers.take(one) for _ in range(4)] == [1, 2, 3, 4]
    numbers.give_back(one, 3)
    numbers.give_back(one, 2)
    assert [numbers.take(one) for _ in range(3)] == [2, 3, 5]
    numbers.taken(other, 7)
    assert numbers.take(other) == 8
    assert numbers.last(b"x") == [(1, 5)]


@pytest.mark.parametrize("change", ["grows", "shrinks", "replaced", "touched", "removed"])
def test_a_file_must_stay_as_it_was_when_it_was_to_be_sent(tmp_path: Path, change: str) -> None:
    path = tmp_path / "f"
    path.write_bytes(bytes(1000))
    source = MessageSource(os.fsencode(path))
    match change:
        case "grows":
            path.write_bytes(bytes(1001))
        case "shrinks":
            path.write_bytes(bytes(10))
        case "replaced":
            (tmp_path / "g").write_bytes(bytes(1000))
            (tmp_path / "g").rename(path)
        case "touched":
            os.utime(path, (1, 1))
        case _:
            path.unlink()
    why = "No such file or directory" if change == "removed" else "was changed while it was being sent"
    with pytest.raises(CommandFailure, match=why):
        source.read(0, 1000)
    source.close()


def test_a_file_being_received_is_never_left_half(tmp_path: Path) -> None:
    target = MessageTarget(os.fsencode(tmp_path / "f"), 4)
    target.write([b"ab"])
    assert len(list(tmp_path.iterdir())) == 1
    target.discard()
    target.write([b"cd"])
    assert list(tmp_path.iterdir()) == []
    target = MessageTarget(os.fsencode(tmp_path / ("n" * 255)), 2)
    target.write([b"ab"], b"fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603")
    assert [path.name for path in tmp_path.iterdir()] == ["n" * 255]


def test_waits_are_told_when_they_last_and_taken_back_at_once() -> None:
    report = WaitReport(0.0)
    waits: list[tuple[int | None, str, int]] = [(1, "x", 1)]
    assert report.look([]) == (False, None)
    assert report.look(waits) == (True, None)
    assert report.look(waits) == (False, None)
    assert report.look([]) == (True, None)
    slow = WaitReport(60.0)
    told, left = slow.look(waits)
    assert not told
    assert left is not None
    assert 50 < left <= 60
    assert slow.look([]) == (False, None)

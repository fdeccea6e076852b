"""Messages between two tasks by the rendezvous and a direct path, both of which may break at any time.

Without sockets: the rendezvous's store is the real one, frames are carried by hand, files are real.
"""

import math
import os
import random
import time
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_link_paths import RECEIVER, SENDER, SIZES, World
from property_examples import examples

from mu_twisted.wire.links import (
    MAX_DATA,
    MAX_HELD,
    MAX_PART,
    Ack,
    Begin,
    Cut,
    End,
    Held,
    Nak,
    TaskRanges,
    Want,
    parse_link_frame,
)
from worker_lambda.links._receives import LATE_WANT
from worker_lambda.links._sends import MAX_KEPT


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.store.close()


def body(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def test_what_is_wanted_goes_by_the_direct_path_and_nothing_of_it_by_the_rendezvous(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    sent = body(5 * MAX_PART + 3)
    world.send(sent)
    world.settle()
    assert (world.sent, world.got) == ([None], [(SENDER, None)])
    assert world.received() == sent
    assert world.bytes_by(world.relayed) == 0
    assert world.bytes_by(world.direct_frames) == len(sent)
    assert world.store.on_disk() == 0


def test_what_is_not_wanted_yet_goes_to_the_rendezvous_at_once(world: World) -> None:
    world.link()
    world.send(body(5000))
    world.settle()
    assert world.sent == [None]
    assert not world.direct_frames
    world.want()
    world.settle()
    assert world.received() == body(5000)


def test_of_what_goes_directly_the_rendezvous_hears_only_who_holds_it(world: World) -> None:
    world.link()
    for number in range(3):
        world.want()
        world.beside.run()
        world.carry()
        world.send(body(1000, number))
        world.settle()
        assert world.received() == body(1000, number)
    assert world.sent == [None] * 3
    assert Counter(type(frame) for frame in world.relayed) == {Held: 3, Ack: 3}
    assert Counter(type(frame) for frame in world.direct_frames) == {Want: 3, Begin: 3, End: 3, Ack: 3}


@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize(("size", "writes"), [(0, 1), (1, 1), (MAX_PART, 1), (MAX_PART + 1, 2)])
def test_what_came_in_one_frame_is_written_once(world: World, direct: bool, size: int, writes: int) -> None:
    if direct:
        world.link()
    world.want()
    world.carry()
    world.sends.add(RECEIVER, b"x", *as_data(world, size), world.sent.append)
    world.beside.run()
    world.beside.begun = 0
    world.settle()
    assert world.received() == body(size)
    assert world.beside.begun == writes


def as_data(world: World, size: int) -> tuple[bytes | None, bytes]:
    """A file, or bytes that are no longer than a command may have."""
    if size <= MAX_DATA:
        return None, body(size)
    path = world.folder / "large"
    path.write_bytes(body(size))
    return os.fsencode(path), b""


def test_a_sender_says_at_once_that_a_message_does_not_come_by_the_path(world: World) -> None:
    world.link()
    world.send(body(1000))
    world.settle()
    world.want()
    while world.beside.step() or world.carry():  # and no time passes
        pass
    assert world.received() == body(1000)
    assert [type(frame) for frame in world.direct_frames] == [Want, Cut]


def test_what_has_not_begun_to_come_on_a_path_is_wanted_at_the_rendezvous_too(world: World) -> None:
    world.link()
    begun = time.monotonic()
    world.want(2)
    world.carry()
    assert not world.of_receiver.wants(SENDER, b"x", 1)
    due = world.receives.say_late(begun)
    assert due is not None
    assert due >= LATE_WANT
    world.carry()
    assert not world.of_receiver.wants(SENDER, b"x", 1)
    world.late()
    assert world.of_receiver.wants(SENDER, b"x", 1)
    assert world.of_receiver.wants(SENDER, b"x", 2)
    assert world.receives.say_late(math.inf) is None


def test_what_came_directly_is_known_where_any_tasks_message_is_wanted_next(world: World) -> None:
    for number in range(3):  # of one task, of any, of one
        if number == 0:
            world.link()
        where = os.fsencode(world.folder / f"got{number}")
        world.receives.add(
            None if number == 1 else SENDER, b"x", where, lambda peer, error: world.got.append((peer, error))
        )
        world.beside.run()
        world.carry()
        world.send(body(100, number))
        world.settle()
        assert (world.folder / f"got{number}").read_bytes() == body(100, number)
    world.receives.add(
        None, b"x", os.fsencode(world.folder / "got3"), lambda peer, error: world.got.append((peer, error))
    )
    world.send(body(100, 3))
    world.settle()
    assert (world.folder / "got3").read_bytes() == body(100, 3)
    assert world.sent == [None] * 4


def test_a_long_message_moves_to_the_direct_path(world: World) -> None:
    sent = body(20 * MAX_PART)
    world.send(sent)
    world.want()
    world.beside.run()
    world.carry(3)
    assert world.bytes_by(world.relayed) > 0
    world.link()
    world.settle()
    assert (world.sent, world.got, world.received()) == ([None], [(SENDER, None)], sent)
    assert world.bytes_by(world.direct_frames) == len(sent)


def test_a_path_that_is_lost_in_the_middle_leaves_the_rest_to_the_rendezvous(world: World) -> None:
    world.link()
    world.want(3)
    world.settle()
    sent = [body(30 * MAX_PART + number, number) for number in range(3)]
    for each in sent:
        world.send(each)
    world.beside.run()
    world.carry(5)
    assert 0 < world.bytes_by(world.direct_frames) < sum(map(len, sent))
    world.cut()
    world.settle()
    assert world.sent == [None] * 3
    assert [world.received(number) for number in range(3)] == sent


def test_a_later_attempt_of_the_receiver_gets_what_went_directly_from_its_sender(world: World) -> None:
    world.link()
    world.want(2)
    world.settle()
    sent = [body(4 * MAX_PART, number) for number in range(2)]
    for path in [world.send(each) for each in sent]:
        world.settle()
        path.unlink()  # its script is done with it
    assert world.sent == [None] * 2
    world.cut()
    world.begin(RECEIVER, 1)
    world.want(2)
    world.settle()
    assert [world.received(number) for number in range(2)] == sent
    assert not world.store.lost
    assert not list(world.folder.glob(".sent*"))


@pytest.mark.parametrize("acknowledges", [False, True])
@pytest.mark.parametrize("size", [0, 1000, 9 * MAX_PART + 1])
def test_a_later_attempt_gets_what_the_one_before_has_not_acknowledged(
    world: World, size: int, acknowledges: bool
) -> None:
    world.link()
    world.want()
    world.settle()
    assert world.path is not None
    at_sender: Any = world.path[0]
    world.path = None  # it is stuck, and still there
    world.send(body(size))
    while world.beside.step() or world.sends.next_frame(at_sender) is not None or world.carry():
        pass
    assert world.run.links.stream(SENDER, RECEIVER, b"x") is not None  # it was said to be held
    assert world.sent == []
    world.begin(RECEIVER, 1)
    world.want()
    world.carry()
    if acknowledges:
        world.sends.arrived(Ack(RECEIVER, 1, b"x"))
    world.settle()
    assert (world.sent, world.got, world.received()) == ([None], [(SENDER, None)], body(size))
    assert not world.run.links.take_lost()


def test_what_is_asked_for_before_it_is_known_to_be_held_is_handed_over(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"short")
    world.beside.run()
    while world._direct() or world.beside.step():
        pass
    assert world.sent == []
    world.sends.ask(Want(RECEIVER, 1, b"x"))
    world.begin(RECEIVER, 1)
    world.want()
    world.settle()
    assert (world.sent, world.received()) == ([None], b"short")


def test_what_goes_by_another_path_when_it_is_asked_for_begins_again(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(body(30 * MAX_PART))
    world.beside.step()
    world.beside.step()
    world.carry(3)
    assert 0 < world.bytes_by(world.direct_frames) < 30 * MAX_PART
    world.sends.ask(Want(RECEIVER, 1, b"x"))
    world.settle()
    assert (world.sent, world.got, world.received()) == ([None], [(SENDER, None)], body(30 * MAX_PART))


def test_a_sender_that_is_gone_with_what_it_held_is_reported_when_that_is_wanted(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"short")
    world.settle()
    world.run.links.detach(world.of_sender)
    assert not world.run.links.take_lost()
    world.begin(RECEIVER, 1)
    world.want()
    world.carry(1)
    assert world.run.links.take_lost() == {SENDER}


def test_a_sender_that_goes_while_it_is_asked_is_reported(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"short")
    world.settle()
    world.begin(RECEIVER, 1)
    world.want()
    frame = world.receives.next_frame()
    assert frame is not None
    world.of_receiver.receive(parse_link_frame(frame))
    assert not world.run.links.take_lost()
    world.run.links.detach(world.of_sender)
    assert world.run.links.take_lost() == {SENDER}


def test_a_file_that_was_written_to_again_cannot_be_sent_again(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    path = world.send(body(1000))
    world.settle()
    path.write_bytes(body(1000, 2))
    os.utime(path, ns=(1, 1))
    world.begin(RECEIVER, 1)
    world.want()
    world.settle()
    assert world.run.links.take_lost() == {SENDER}


def test_what_is_handed_over_is_kept_for_those_that_may_want_it(world: World) -> None:
    world.link()
    world.want(1)
    world.want(1, b"y")
    world.settle()
    world.send(body(1000))
    world.send(body(2000), b"y")
    world.settle()
    assert world.sends.holding == 2
    assert len(list(world.folder.glob(".sent*"))) == 2
    world.sends.hand_over(TaskRanges.of([RECEIVER]))
    assert world.sends.handing_over
    world.settle()
    assert not world.sends.handing_over
    world.run.links.detach(world.of_sender)
    world.begin(RECEIVER, 1)
    world.want(1)
    world.want(1, b"y")
    while world.carry():
        world.beside.run()
    assert (world.received(), world.received(name="y")) == (body(1000), body(2000))
    assert not list(world.folder.glob(".sent*"))


def test_what_will_not_be_wanted_again_is_not_handed_over(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(body(1000))
    world.settle()
    world.sends.hand_over(TaskRanges.of([7]))
    world.settle()
    assert world.bytes_by(world.relayed) == 0
    assert (world.sends.holding, list(world.folder.glob(".sent*"))) == (0, [])


def test_of_many_messages_the_oldest_are_copied_to_the_rendezvous(world: World) -> None:
    world.link()
    done: list[str | None] = []
    for _ in range(MAX_KEPT + 5):
        world.receives.add(SENDER, b"x", os.fsencode(world.folder / "in"), lambda *_: None)
        world.settle()
        world.sends.add(RECEIVER, b"x", None, b"1", done.append)
        world.settle()
        if len(world.relayed) > 50:
            del world.relayed[:-20], world.direct_frames[:-20]
    assert done == [None] * (MAX_KEPT + 5)
    assert world.sends.holding <= MAX_KEPT < MAX_HELD


def test_other_bytes_of_a_later_attempt_are_refused_before_the_receiver_has_them(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"one")
    world.settle()
    world.begin(SENDER, 1)
    world.begin(RECEIVER, 1)
    world.link()
    world.want()
    world.carry()
    world.send(b"other")
    world.settle()
    assert len(world.got) == 1
    assert "not deterministic" in (world.sent[1] or "")
    assert not any(isinstance(frame, End) for frame in world.direct_frames[-3:])


def test_a_held_message_is_compared_with_what_a_later_attempt_sends(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"one")
    world.settle()
    world.begin(SENDER, 1)
    world.send(b"one")
    world.send(b"next")
    world.settle()
    assert world.sent == [None] * 3


def test_an_end_that_was_said_keeps_its_number_when_the_message_is_given_up(world: World) -> None:
    world.send(b"one")
    world.beside.run()
    for _ in range(2):
        frame = world.sends.next_frame()
        assert frame is not None
        world.of_sender.receive(parse_link_frame(frame))
    world.sends.fail("it was killed")
    assert world.sent == ["it was killed"]
    world.send(b"two")  # before the answer has come
    world.settle()
    world.send(b"three")
    world.want(3)
    world.settle()
    assert [world.received(number) for number in range(3)] == [b"one", b"two", b"three"]
    assert world.sent == ["it was killed", None, None]


def test_a_refused_message_that_was_given_up_gives_its_number_back(world: World) -> None:
    world.sends.add(RECEIVER, b"x", None, b"one", world.sent.append)
    world.beside.run()
    frames = [world.sends.next_frame() for _ in range(2)]
    assert None not in frames
    world.sends.fail("it was killed")
    world.sends.answered(Nak(RECEIVER, 1, b"x", b"there is no room"))
    world.sends.add(RECEIVER, b"x", None, b"two", world.sent.append)
    world.beside.run()
    frame: Any = parse_link_frame(world.sends.next_frame() or b"")
    assert frame.number == 1
    assert world.sent == ["it was killed"]


def test_unwanted_messages_go_to_the_rendezvous(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(body(20 * MAX_PART))
    world.beside.run()
    world.carry(2)
    world.receives.fail("it was killed")
    world.settle()
    assert world.sent == [None]
    world.want()
    world.settle()
    assert world.received() == body(20 * MAX_PART)


def test_a_rendezvous_that_is_dialled_again_knows_what_is_held(world: World) -> None:
    world.link()
    world.want()
    world.settle()
    world.send(b"one")
    world.settle()
    world.dial(SENDER)
    world.settle()
    world.begin(RECEIVER, 1)
    world.want()
    world.settle()
    assert (world.received(), world.run.links.take_lost()) == (b"one", set())


@settings(max_examples=examples(150))
@given(st.data())
def test_whatever_breaks_each_message_comes_once_in_order_and_whole(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    world = World(tmp_path_factory.mktemp("paths"))
    chance = random.Random(1)
    sizes = data.draw(st.lists(st.sampled_from([*SIZES, 30 * MAX_PART]), min_size=1, max_size=5))
    bodies = [chance.randbytes(16) * (size // 16) + bytes(size % 16) for size in sizes]
    todo = deque(bodies)
    again = wanted = 0
    for _ in range(data.draw(st.integers(0, 25))):
        match data.draw(st.sampled_from(["send", "want", "carry", "beside", "late", "link", "cut", "dial", "attempt"])):
            case "send" if todo:
                world.send(todo.popleft())
            case "want" if wanted == 0:
                wanted = 1
                world.want(len(bodies))
            case "carry":
                world.carry(data.draw(st.integers(1, 30)))
            case "beside":
                world.beside.step(data.draw(st.integers(0, 5)))
            case "late":
                world.late()
            case "link" if world.path is None:
                world.link()
            case "cut":
                world.cut(data.draw(st.sampled_from([(0, 1), (1, 0)])))
            case "dial":
                world.dial(data.draw(st.sampled_from([SENDER, RECEIVER])))
            case "attempt" if not again:
                again = 1
                world.cut()
                world.receives.close()
                world.got.clear()
                world.begin(RECEIVER, 1)
                wanted = 0
    for each in todo:
        world.send(each)
    if not wanted:
        world.want(len(bodies))
    for _ in range(3):  # an acknowledgement that was lost is said again with the next connection
        world.settle()
        world.cut()
        world.settle()
        world.dial(RECEIVER)
        world.dial(SENDER)
    world.settle()
    lost = world.run.links.take_lost()
    assert world.sent == [None] * len(bodies)
    if lost:  # only a sender that was dialling again when its messages were wanted is taken for gone
        assert again
        return
    assert world.got == [(SENDER, None)] * len(bodies)
    assert [world.received(number) for number in range(len(bodies))] == bodies

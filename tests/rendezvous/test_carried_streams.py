"""Streams that the transport's core carries by itself, and what ends that: workers see no difference, and so each rule
holds on both transports.
"""

import time
from collections.abc import Callable

import pytest
from core_relay import CoreRelay
from memory_links import frames_of
from memory_relay import Link, MemoryRelay
from warm_processes import LIMIT

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.wire import EndNotice
from mu_twisted.wire.links import Ack, Begin, End, LinkFrame, Nak, Unwant, Want, WantAny, Whole, parse_link_frame

KIB = 1 << 10
Make = Callable[..., MemoryRelay]
NEW = {"whole": True}


class Worker(Link):
    """A connection that acknowledges what comes only if it is to."""

    acknowledges = True

    def frames_received(self, payloads: list[bytes]) -> None:
        if self.acknowledges:
            super().frames_received(payloads)
        else:
            self.got += payloads


def worker(world: MemoryRelay, task: int, attempt: int = 0, *, acknowledges: bool = True) -> Worker:
    made = Worker(world)
    made.acknowledges = acknowledges
    world.dial(None, made)
    made.says(f"HELLO_LINK:j:{task}:{attempt}:".encode() + b'{"whole":true}')
    assert made.heard()[0].startswith(b"OK:HELLO_LINK:")
    return made


def body(number: int, size: int = 1000) -> bytes:
    return number.to_bytes(4, "big") * (size // 4)


def message(to: int, number: int, size: int = 1000, name: bytes = b"x") -> bytes:
    return next(frames_of(to, name, number, body(number, size), whole=True)).encode()


def want(sender: int, *numbers: int, name: bytes = b"x") -> list[bytes]:
    return [Want(sender, number, name).encode() for number in numbers]


def heard(link: Link) -> list[LinkFrame]:
    link.world.settle()
    return [parse_link_frame(frame) for frame in link.heard()]


def numbers(link: Link, size: int = 1000) -> list[int]:
    """Of the messages that have come since, which are as they were sent."""
    got: list[int] = []
    for frame in heard(link):
        assert isinstance(frame, Whole)
        assert frame.part == body(frame.number, size)
        got.append(frame.number)
    return got


def all_numbers(link: Link, count: int, size: int = 1000) -> list[int]:
    """As numbers, of so many messages."""
    return _enough(lambda: numbers(link, size), count)


def _enough(take: Callable[[], list[int]], count: int) -> list[int]:
    """So many, or more; after a closed window the kernel takes its time."""
    got: list[int] = []
    end = time.monotonic() + LIMIT
    while len(got) < count and time.monotonic() < end:
        got += take()
    return got


def carried(world: MemoryRelay) -> bool:
    """Whether the core has a stream; there is no core on the other transport, and nothing to be carried by it."""
    job = world.relay.mailboxes.jobs[b"j"]
    return bool(job.links.storage.carried) or not isinstance(world, CoreRelay)


def acknowledged(link: Link) -> list[int]:
    frames = heard(link)
    assert all(isinstance(frame, Ack) for frame in frames)
    return [frame.number for frame in frames if isinstance(frame, Ack)]


def all_acknowledged(link: Link, count: int) -> list[int]:
    return _enough(lambda: acknowledged(link), count)


@pytest.mark.parametrize("wanted_first", [True, False])
def test_a_steady_stream_comes_in_order_and_is_acknowledged(make_both: Make, wanted_first: bool) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    every = range(1, 151)
    if wanted_first:
        receiver.says(*want(1, *every))
    for first in range(1, 151, 15):
        sender.says(*(message(2, number) for number in range(first, first + 15)))
    if not wanted_first:
        assert receiver.heard() == []
        receiver.says(*want(1, *every))
    assert numbers(receiver) == list(every)
    assert acknowledged(sender) == list(every)
    assert carried(world)
    assert world.in_memory() == 150 * 1000
    assert world.relay.mailboxes.store.named.used == 151


def test_streams_of_several_names_and_tasks_do_not_mix(make_both: Make) -> None:
    world = make_both()
    one, two, three = worker(world, 1), worker(world, 2), worker(world, 3)
    for name in b"x", b"xx":
        three.says(*want(1, 1, 2, name=name), *want(2, 1, 2, name=name))
        two.says(message(3, 1, 40, name), message(1, 1, 44, name))
        one.says(message(3, 1, 48, name), message(3, 2, 52, name))
        assert [(frame.peer, frame.number, len(frame.part)) for frame in heard(three) if isinstance(frame, Whole)] == [
            (2, 1, 40),
            (1, 1, 48),
            (1, 2, 52),
        ]
    assert one.heard() == [Ack(3, number, name).encode() for name in (b"x", b"xx") for number in (1, 2)]
    one.says(*want(2, 1, name=b"xx"))
    assert [frame.part for frame in heard(one) if isinstance(frame, Whole)] == [body(1, 44)]


@pytest.mark.parametrize("acknowledges", [True, False])
def test_a_receivers_next_attempt_gets_all_again(make_both: Make, acknowledges: bool) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2, acknowledges=acknowledges)
    receiver.says(*want(1, *range(1, 10)))
    sender.says(*(message(2, number) for number in range(1, 13)))
    assert numbers(receiver) == list(range(1, 10))
    assert carried(world)
    again = worker(world, 2, 1)
    again.says(*want(1, *range(1, 14)))
    assert numbers(again) == list(range(1, 13))
    sender.heard()
    sender.says(message(2, 13))
    assert numbers(again) == [13]
    assert acknowledged(sender) == [13]


def test_what_a_later_attempt_sends_again_is_compared_and_not_delivered_twice(make_both: Make) -> None:
    world = make_both()
    first, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, 1, 2, 3, 4))
    first.says(message(2, 1), message(2, 2), message(2, 3))
    assert numbers(receiver) == [1, 2, 3]
    assert carried(world)
    second = worker(world, 1, 1)
    second.says(message(2, 1), message(2, 2, 996), message(2, 3), message(2, 4))
    one, other, *rest = heard(second)
    assert [one, *rest] == [Ack(2, 1, b"x"), Ack(2, 3, b"x"), Ack(2, 4, b"x")]
    assert isinstance(other, Nak)
    assert b"not deterministic" in other.reason
    assert numbers(receiver) == [4]


def test_what_is_on_its_way_when_its_sender_goes_is_acknowledged_later(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2, acknowledges=False)
    receiver.says(*want(1, 1, 2, 3, 4))
    sender.says(message(2, 1), message(2, 2))
    assert numbers(receiver) == [1, 2]
    assert carried(world)
    sender.wire.abort()
    world.settle()
    receiver.says(Ack(1, 1, b"x").encode(), Ack(1, 2, b"x").encode())
    again = worker(world, 1)
    again.says(message(2, 2), message(2, 3))
    assert acknowledged(again) == [2, 3]
    assert numbers(receiver) == [3]
    again.says(message(2, 4))
    assert numbers(receiver) == [4]
    assert len(world.relay.mailboxes.store.taken) == 2 + (isinstance(world, CoreRelay) and 1)


def test_a_long_message_in_a_stream_keeps_its_place(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, 1, 2, 3, 4, 5))
    size = 300 * KIB
    long = [frame.encode() for frame in frames_of(2, b"x", 2, body(2, size))]
    sender.says(message(2, 1), *long, message(2, 3), message(2, 4, 100 * KIB))
    sender.says(message(2, 5))
    got: dict[int, bytes] = {}
    for frame in heard(receiver):
        assert not isinstance(frame, Ack | Nak)
        if not isinstance(frame, End):
            got[frame.number] = got.get(frame.number, b"") + frame.part  # type: ignore[union-attr]
    assert got == {1: body(1), 2: body(2, size), 3: body(3), 4: body(4, 100 * KIB), 5: body(5)}
    assert acknowledged(sender) == [1, 2, 3, 4, 5]


def test_a_stream_that_was_broken_off_is_carried_again_but_not_at_once(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, *range(1, 301)))
    sender.says(message(2, 1), message(2, 1))
    job = world.relay.mailboxes.jobs[b"j"]
    for first in range(2, 302, 10):
        assert first > 100 or not job.links.storage.carried
        sender.says(*(message(2, number) for number in range(first, first + 10)))
    assert carried(world)
    assert all_numbers(receiver, 300) == list(range(1, 301))
    assert acknowledged(sender) == [1, *range(1, 302)]


def test_who_waits_for_any_task_gets_what_came_first(make_both: Make) -> None:
    world = make_both()
    one, two, three = worker(world, 1), worker(world, 2), worker(world, 3)
    for sender, number in ((one, 1), (two, 1), (two, 2), (one, 2)):
        sender.says(message(3, number))
    assert carried(world)
    three.says(*[WantAny(b"x").encode()] * 2)
    world.settle()
    three.says(*[WantAny(b"x").encode()] * 2)
    assert [(frame.peer, frame.number) for frame in heard(three) if isinstance(frame, Whole)] == [
        (1, 1),
        (2, 1),
        (2, 2),
        (1, 2),
    ]
    three.says(WantAny(b"x").encode())
    one.says(message(3, 3))
    assert numbers(three) == [3]


def test_what_comes_goes_to_who_waits_for_any_task(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*[WantAny(b"x").encode()] * 2)
    sender.says(message(2, 1), message(2, 2), message(2, 3))
    world.settle()
    assert numbers(receiver) == [1, 2]
    receiver.says(WantAny(b"x").encode())
    assert numbers(receiver) == [3]


def test_what_came_before_its_receiver_is_delivered_and_what_comes_behind_it(make_both: Make) -> None:
    world = make_both()
    sender = worker(world, 1)
    sender.says(message(2, 1), message(2, 2))
    receiver = worker(world, 2)
    receiver.says(*want(1, 1))
    sender.says(message(2, 3))
    receiver.says(*want(1, 2, 3, 4))
    sender.says(message(2, 4))
    assert numbers(receiver) == [1, 2, 3, 4]


def test_what_is_not_waited_for_any_more_is_not_sent(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, 1, 2, 3))
    sender.says(message(2, 1))
    assert numbers(receiver) == [1]
    assert carried(world)
    receiver.says(Unwant(1, b"x").encode())
    sender.says(message(2, 2), message(2, 3))
    assert receiver.heard() == []
    receiver.says(*want(1, 3))
    assert numbers(receiver) == [3]


def test_a_message_that_is_wanted_again_comes_again(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2, acknowledges=False)
    receiver.says(*want(1, 1, 2, 3))
    sender.says(message(2, 1), message(2, 2))
    assert numbers(receiver) == [1, 2]
    receiver.says(*want(1, 2))
    assert numbers(receiver) == [2]
    sender.says(message(2, 2), message(2, 3))
    assert acknowledged(sender) == [1, 2, 2, 3]
    assert numbers(receiver) == [3]


def test_who_takes_nothing_has_it_kept_and_gets_it_later(make_both: Make) -> None:
    world = make_both(RelayLimits(memory=1 << 20))
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, *range(1, 401)))
    receiver.wire.pause_reading()
    for first in range(1, 401, 20):
        sender.says(*(message(2, number, 8000) for number in range(first, first + 20)))
        assert world.in_memory() <= 1 << 20
    assert all_acknowledged(sender, 400) == list(range(1, 401))
    assert world.on_disk() > 1 << 20
    receiver.wire.resume_reading()
    assert all_numbers(receiver, 400, 8000) == list(range(1, 401))


def test_a_stream_that_was_held_up_goes_on(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, *range(1, 301)))
    for part in range(3):
        receiver.wire.pause_reading()
        sender.says(*(message(2, 100 * part + number, 8000) for number in range(1, 101)))
        receiver.wire.resume_reading()
        world.settle()
    assert all_numbers(receiver, 300, 8000) == list(range(1, 301))
    assert carried(world)


def test_messages_go_to_disk_when_memory_is_short_and_come_again(make_both: Make) -> None:
    world = make_both(RelayLimits(memory=128 * KIB))
    sender, receiver = worker(world, 1), worker(world, 2)
    for first in range(1, 601, 10):
        receiver.says(*want(1, *range(first, first + 10)))
        sender.says(*(message(2, number) for number in range(first, first + 10)))
        assert world.in_memory() <= 128 * KIB
    assert all_numbers(receiver, 600) == list(range(1, 601))
    assert carried(world)
    assert world.on_disk() + world.in_memory() == 600_000
    again = worker(world, 2, 1)
    again.says(*want(1, *range(1, 601)))
    assert all_numbers(again, 600) == list(range(1, 601))


def test_beyond_its_limit_a_job_loses_what_was_taken_first(make_both: Make) -> None:
    world = make_both(RelayLimits(links=400 * KIB))
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    sender, receiver = worker(world, 1), worker(world, 2)
    for first in range(1, 501, 10):
        receiver.says(*want(1, *range(first, first + 10)))
        sender.says(*(message(2, number) for number in range(first, first + 10)))
    assert all_numbers(receiver, 500) == list(range(1, 501))
    assert all_acknowledged(sender, 500) == list(range(1, 501))
    store = world.relay.mailboxes.store
    assert store.stored.used <= 400 * KIB
    coordinator.heard()
    again = worker(world, 2, 1)
    again.says(*want(1, 500))
    assert numbers(again) == [500]
    again.says(*want(1, 1))
    assert again.heard() == []
    assert coordinator.heard() == [b"LOST:j:1"]


def test_beyond_its_limit_a_job_is_refused_what_cannot_be_kept(make_both: Make) -> None:
    world = make_both(RelayLimits(links=400 * KIB))
    sender = worker(world, 1)
    worker(world, 2)
    sender.says(*(message(2, number, 8000) for number in range(1, 52)))
    assert all_acknowledged(sender, 51) == list(range(1, 52))
    sender.says(message(2, 52, 8000))
    (refused,) = heard(sender)
    assert isinstance(refused, Nak)
    assert b"finds no room" in refused.reason


def test_a_stream_may_have_more_messages_than_the_core_has_at_once(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    for first in range(1, 9001, 500):
        receiver.says(*want(1, *range(first, first + 500)))
        sender.says(*(message(2, number, 4) for number in range(first, first + 500)))
    assert all_numbers(receiver, 9000, 4) == list(range(1, 9001))
    assert all_acknowledged(sender, 9000) == list(range(1, 9001))
    assert carried(world)


def test_streams_that_are_only_waited_for_leave_room_for_messages(make_both: Make) -> None:
    world = make_both(RelayLimits(named=60))
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*(Want(1, 1, b"%d" % name).encode() for name in range(100)))
    sender.says(*(message(3, number) for number in range(1, 50)))
    assert acknowledged(sender) == list(range(1, 50))
    sender.says(*(message(2, 1, name=b"%d" % name) for name in range(3)))
    assert [frame.name for frame in heard(receiver) if isinstance(frame, Whole)] == [b"0", b"1", b"2"]


def test_what_was_taken_makes_room_whatever_else_the_core_has(make_both: Make) -> None:
    world = make_both(RelayLimits(named=4400))
    sender, receiver = worker(world, 1), worker(world, 2)
    slow = worker(world, 4, acknowledges=False)
    kept = 4100  # more than one file has
    for first in range(1, kept, 100):
        sender.says(*(message(3, number, 4) for number in range(first, first + 100)))
    slow.says(*want(1, 1))
    sender.says(message(4, 1))
    receiver.says(*want(1, *range(1, 201)))
    sender.says(*(message(2, number) for number in range(1, 201)))
    assert all_numbers(receiver, 200) == list(range(1, 201))
    assert carried(world)
    sender.heard()
    sender.says(*(message(3, number, 4) for number in range(kept + 1, kept + 201)))
    assert all_acknowledged(sender, 200) == list(range(kept + 1, kept + 201))


def test_messages_with_gaps_are_waited_for_without_the_core(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    awaited = range(100, 2100, 20)
    receiver.says(*want(1, *awaited))
    sender.says(*(message(2, number) for number in range(1, 50)))
    sessions = world.relay.mailboxes.jobs[b"j"].links.receivers
    assert sessions[2].irregular or not isinstance(world, CoreRelay), "it is tried anew with each message"
    for first in range(50, 2100, 50):
        sender.says(*(message(2, number) for number in range(first, first + 50)))
    assert all_numbers(receiver, len(awaited)) == list(awaited)


@pytest.mark.parametrize("limits", [RelayLimits(named=600), RelayLimits(links=4 << 20), RelayLimits(disk=4 << 20)])
def test_streams_are_carried_on_beside_what_was_taken(make_both: Make, limits: RelayLimits) -> None:
    world = make_both(limits)
    store = world.relay.mailboxes.store
    sender, receiver = worker(world, 1), worker(world, 2)
    for first in range(1, 1001, 100):
        receiver.says(*want(1, *range(first, first + 100)))
        sender.says(*(message(2, number, 6000) for number in range(first, first + 100)))
        assert carried(world)
        assert store.named.free >= 0
        assert store.stored.used <= min(limits.links, limits.disk)
    assert all_numbers(receiver, 1000, 6000) == list(range(1, 1001))
    assert all_acknowledged(sender, 1000) == list(range(1, 1001))
    again = worker(world, 2, 1)
    again.says(*want(1, *range(800, 1001)))
    assert all_numbers(again, 201, 6000) == list(range(800, 1001))


def test_what_is_acknowledged_unasked_was_taken(make_both: Make) -> None:
    world = make_both(RelayLimits(links=400 * KIB))
    sender, receiver = worker(world, 1), worker(world, 2)
    sender.says(message(2, 1, 60_000), message(2, 2, 60_000))
    assert carried(world)
    sender.wire.abort()
    world.settle()
    receiver.says(Ack(1, 1, b"x").encode())
    again = worker(world, 1)
    again.says(*(message(2, number, 60_000) for number in range(3, 8)))
    assert acknowledged(again) == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    "frame",
    [
        b"WHOLE:2:0:" + b"0" * 64 + b":x\0",
        b"WHOLE:2:02:" + b"0" * 64 + b":x\0",
        b"WHOLE:2:2:" + b"G" * 64 + b":x\0",
        b"WHOLE:2:2:" + b"0" * 63 + b":x\0",
        b"WHOLE:2:2:" + b"0" * 64 + b":x",
        b"WHOLE:2:2:",
        b"WHOLE:2:1000000001:" + b"0" * 64 + b":x\0",
        b"WANT:2:99999999999999999999:x",
        b"WANT:2:-1:x",
        b"ACK:2:1:x\0",
        b"ACK::1:x",
        b"WANT",
        b"",
    ],
)
def test_what_is_no_frame_is_refused_with_a_carried_stream_as_without(make_both: Make, frame: bytes) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2)
    receiver.says(*want(1, 1))
    sender.says(message(2, 1))
    assert carried(world)
    sender.says(frame)
    assert sender.heard()[-1].startswith(b"FAIL(expected a frame of a link, got ")
    assert sender.reasons


def test_more_than_a_connection_may_wait_for_is_refused(make_both: Make) -> None:
    world = make_both()
    worker(world, 1)
    receiver = worker(world, 2)
    receiver.says(*want(1, *range(1, 4097)))
    assert receiver.heard() == []
    receiver.says(*want(1, 4097))
    assert receiver.heard()[-1].startswith(b"FAIL(4096 messages are waited for")


def test_an_older_worker_is_sent_what_it_knows(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), world.link(2)
    receiver.heard()
    receiver.says(*want(1, 1))
    sender.says(message(2, 1))
    begin, end = heard(receiver)
    assert (type(begin), type(end)) == (Begin, End)


def test_nothing_is_left_of_a_job_that_is_over(make_both: Make) -> None:
    world = make_both()
    sender, receiver = worker(world, 1), worker(world, 2, acknowledges=False)
    receiver.says(*want(1, 1, 2))
    sender.says(message(2, 1), message(2, 2), message(2, 3))
    assert carried(world)
    world.coordinator().says(EndNotice("j").encode())
    store = world.relay.mailboxes.store
    assert (store.memory.used, store.stored.used, store.named.used) == (0, 0, 0)
    assert not store.taken
    assert not store.idle
    assert sender.reasons
    assert receiver.reasons

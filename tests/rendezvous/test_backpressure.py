"""Back-pressure and bounds: a slow reader delays its own senders only, and memory stays within its limit."""

from collections.abc import Callable

import pytest
from memory_relay import MemoryRelay, Peer

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.wire import encode

KIB = 1 << 10
MIB = 1 << 20
Make = Callable[..., MemoryRelay]


def unread(world: MemoryRelay, peer: Peer) -> int:
    """Bytes that a peer has sent and the relay has not read."""
    return sum(len(end.out) for end in world.network.ends if end.protocol is peer.connection)


def test_what_one_read_brought_is_forwarded_with_one_write(make: Make) -> None:
    world = make()
    one, two = world.peer(1, 2), world.peer(2, 3)
    [end] = [end for end in world.network.ends if end.other.protocol is two.connection]
    writes: list[int] = []
    plain_write = end.write

    def counting(data: bytes) -> None:
        writes.append(len(data))
        plain_write(data)

    end.write = counting  # type: ignore[method-assign]
    one.says(*[b"m" * 100] * 50)
    assert len(two.heard()) == 50
    assert writes == [50 * 113]


def test_a_reader_that_takes_nothing_holds_its_sender_back_then_reads_from_disk(make: Make) -> None:
    world = make(RelayLimits(window=200_000))
    slow, sender = world.peer(2, 3), world.peer(1, 2)
    slow.wire.pause_reading()
    for _ in range(20):
        sender.says(b"x" * 100_000)
    assert unread(world, sender) > 1_000_000
    assert world.in_memory() < 500_000
    world.advance(3)
    assert unread(world, sender) == 0
    assert world.in_memory() < 500_000
    assert world.on_disk() > 1_000_000
    slow.wire.resume_reading()
    world.settle()
    assert slow.heard() == [b"x" * 100_000] * 20
    assert world.on_disk() == 0


def test_a_slow_reader_holds_back_its_own_senders_only(make: Make) -> None:
    world = make(RelayLimits(window=100_000, memory=2 * MIB))
    slow, of_slow = world.peer(2, 2), world.peer(1, 2)
    slow.wire.pause_reading()
    fast, of_fast = world.peer(4, 4), world.peer(3, 4)
    for _ in range(50):
        of_slow.says(b"s" * 60_000)
        of_fast.says(b"f" * 60_000)
        assert fast.heard() == [b"f" * 60_000]
        world.advance(0.25)
    assert slow.heard() == []
    slow.wire.resume_reading()
    world.settle()
    assert slow.heard() == [b"s" * 60_000] * 50


def test_a_sender_whose_reader_catches_up_goes_on_at_once(make: Make) -> None:
    world = make(RelayLimits(window=200_000))
    reader, sender = world.peer(2, 3), world.peer(1, 2)
    reader.wire.pause_reading()
    for _ in range(10):
        sender.says(b"x" * 100_000)
    assert unread(world, sender)
    reader.wire.resume_reading()
    world.settle()
    assert not unread(world, sender)
    assert len(reader.heard()) == 10
    assert not world.on_disk()


def test_a_reader_that_goes_lets_its_senders_go_on(make: Make) -> None:
    world = make(RelayLimits(window=200_000))
    reader, sender = world.peer(2, 3), world.peer(1, 2)
    reader.wire.pause_reading()
    for _ in range(10):
        sender.says(b"x" * 100_000)
    reader.wire.abort()
    world.settle()
    assert not unread(world, sender)
    # The first was on its way to the one that has gone.
    assert len(world.peer(2, 3).heard()) == 9


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_what_was_sent_before_a_goodbye_is_taken_before_it_is_answered(make: Make, tls: bool) -> None:
    world = make(RelayLimits(window=200_000, memory=MIB), tls=tls, shared_key=True)
    slow, sender = world.worker(2, 3), world.worker(1, 2)
    slow.wire.pause_reading()
    sender.wire.send(*[b"%d " % number + b"x" * 100_000 for number in range(20)])
    sender.wire.close()
    world.settle()
    assert not sender.reasons
    world.advance(5)
    assert sender.reasons == ["closed here"]
    again = world.worker(2, 3, 1, replay=True)
    assert [message.split()[0] for message in again.heard()] == [b"%d" % number for number in range(20)]


def test_a_message_is_read_only_when_there_is_memory_for_it(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    peers = [world.peer(at, at + 100) for at in range(8)]
    for peer in peers:
        peer.wire.write(encode(b"x" * 400_000)[:300_000])
    world.settle(16 * KIB)
    assert [unread(world, peer) > 200_000 for peer in peers] == [False] * 2 + [True] * 6
    assert world.in_memory() == 800_000
    # Each that is complete goes to disk for the next, as no reader is connected.
    for peer in peers:
        peer.wire.write(encode(b"x" * 400_000)[300_000:])
    world.settle(16 * KIB)
    assert not any(unread(world, peer) for peer in peers)
    assert world.in_memory() <= MIB
    for at in range(8):
        assert world.peer(at + 100, at).heard() == [b"x" * 400_000]


def test_a_small_message_waits_for_no_memory(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    for at in range(8):
        world.peer(at, at + 100).wire.write(encode(b"x" * 400_000)[:300_000])
    reader, sender = world.peer(20, 21), world.peer(21, 20)
    sender.wire.write(encode(b"y" * 9000)[:8000])
    world.settle()
    sender.wire.write(encode(b"y" * 9000)[8000:])
    world.settle()
    assert reader.heard() == [b"y" * 9000]


def test_who_takes_too_long_with_a_message_gives_way_to_those_who_wait(make: Make, log: list[str]) -> None:
    world = make(RelayLimits(memory=MIB))
    slow = [world.peer(at, at + 100) for at in (1, 2)]
    for peer in slow:
        peer.wire.write(encode(b"x" * 400_000)[:100_000])
    world.settle()
    world.advance(30)
    assert not any(peer.reasons for peer in slow)
    waiting = world.peer(3, 103)
    waiting.says(b"y" * 400_000)
    world.advance(3)
    assert all(peer.reasons for peer in slow)
    assert world.peer(103, 3).heard() == [b"y" * 400_000]
    assert "a message of 400000 bytes has not come within 31 s, and others wait for the memory" in log[0]


def test_who_finds_no_memory_for_long_is_told_if_it_can_understand(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    memory = world.relay.mailboxes.store.memory
    memory.used += MIB  # by others, without end
    worker, original = world.worker(1, 2), world.peer(1, 2)
    worker.says(b"y" * 400_000)
    original.says(b"y" * 400_000)
    world.advance(59)
    assert worker.heard() == []
    world.advance(3)
    assert worker.heard() == [b"FULL"]
    assert worker.reasons
    memory.used -= MIB
    world.advance(1)
    assert world.peer(2, 1).heard() == [b"y" * 400_000]
    assert original.heard() == []


def test_memory_of_a_message_that_never_comes_to_its_end_is_given_back(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    for at in range(4):
        peer = world.peer(at, at + 100)
        peer.wire.write(encode(b"x" * 400_000)[:100_000])
        world.settle()
        peer.wire.abort()
        world.settle()
        assert world.in_memory() == 0


def test_large_messages_are_received_in_turn_and_wait_on_disk(make: Make) -> None:
    world = make(RelayLimits(memory=MIB, message=5 * MIB))
    one, two = world.peer(1, 2), world.peer(3, 4)
    one.wire.write(encode(b"1" * 3 * MIB)[:MIB])
    two.wire.write(encode(b"2" * 3 * MIB)[:MIB])
    world.settle()
    assert unread(world, one) == 0
    assert unread(world, two) > MIB // 2
    small, reader = world.peer(5, 6), world.peer(6, 5)
    small.says(b"s" * 100_000)
    assert reader.heard() == [b"s" * 100_000]
    one.wire.write(encode(b"1" * 3 * MIB)[MIB:])
    two.wire.write(encode(b"2" * 3 * MIB)[MIB:])
    world.settle()
    assert world.on_disk() > 6 * MIB
    assert world.in_memory() < 10_000
    assert world.peer(2, 1).heard() == [b"1" * 3 * MIB]
    assert world.peer(4, 3).heard() == [b"2" * 3 * MIB]


def test_large_messages_within_the_limit_of_one_are_received_together(make: Make) -> None:
    world = make(RelayLimits(memory=MIB, message=5 * MIB))
    peers = [world.peer(at, at + 100) for at in range(3)]
    for peer in peers:
        peer.wire.write(encode(b"x" * 2 * MIB)[:MIB])
    world.settle()
    assert [unread(world, peer) > 0 for peer in peers] == [False, False, True]


def test_who_waits_its_turn_in_a_queue_that_moves_is_not_told_to_go(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    workers = [world.worker(at, at + 100) for at in range(20)]
    for worker in workers:
        worker.wire.write(encode(b"x" * 400_000)[:390_000])
    for worker in workers:
        world.advance(6)
        assert not worker.reasons
        worker.wire.write(encode(b"x" * 400_000)[390_000:])
        world.settle()
    assert not any(worker.heard() for worker in workers)


def test_a_message_over_the_limit_ends_its_connection(make: Make, log: list[str]) -> None:
    world = make(RelayLimits(message=MIB))
    sender = world.peer(1, 2)
    sender.says(b"x" * (MIB + 1))
    assert sender.reasons
    assert "a frame of 1048577 bytes was announced, the limit is 1048576" in log[0]


def test_messages_for_readers_that_take_nothing_make_way_for_others(make: Make) -> None:
    world = make(RelayLimits(memory=MIB))
    for at in range(10):
        stuck = world.peer(at + 100, at)
        stuck.wire.pause_reading()
        for _ in range(3):
            world.peer(at, at + 100).says(b"x" * 90_000)
    assert world.in_memory() <= MIB
    reader = world.peer(300, 299)
    sender = world.peer(299, 300)
    sender.says(b"y" * 400_000)
    world.advance(2)
    assert reader.heard() == [b"y" * 400_000]


def test_delivered_messages_go_when_memory_is_short(make: Make) -> None:
    world = make(RelayLimits(memory=MIB, retain=MIB))
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    receiver = world.worker(2, 2)
    world.worker(1, 2).says(b"a" * 400_000, b"b" * 400_000)
    assert len(receiver.heard()) == 2
    sender = world.peer(5, 6)
    sender.wire.write(encode(b"x" * 400_000)[:100_000])
    world.settle()
    assert world.in_memory() <= MIB
    again = world.worker(2, 2, 1, replay=True)
    assert [message[:1] for message in again.heard()] == [b"b"]
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"LOST:j:1"]


@pytest.mark.parametrize("size", [0, 1, 100])
def test_many_small_messages_are_bounded_too(make: Make, size: int) -> None:
    world = make(RelayLimits(memory=MIB, window=200_000))
    sender = world.peer(1, 2)
    for _ in range(10):
        sender.says(*[b"x" * size] * 2000)
        assert world.in_memory() <= MIB
    assert world.peer(2, 3).heard() == [b"x" * size] * 20_000


def test_a_disk_that_takes_nothing_is_told_once_and_the_job_is_full(make: Make, log: list[str]) -> None:
    world = make(RelayLimits(memory=MIB, window=100_000))
    (world.directory / "spill").write_bytes(b"in the way")
    sender = world.worker(1, 2)
    for _ in range(20):
        if not sender.reasons:
            sender.says(b"x" * 100_000)
    world.advance(2)
    assert sender.heard() == [b"FULL"]
    assert world.in_memory() < 2 * MIB
    [line] = [line for line in log if "cannot write" in line]
    assert line.endswith("until it can, no more is taken than fits the memory")
    (world.directory / "spill").unlink()
    receiver = world.worker(2, 3)
    assert receiver.heard()
    world.worker(1, 3, 1).says(b"y" * 200_000)
    assert world.worker(3, 3).heard() == [b"y" * 200_000]


def test_a_bundle_that_has_gone_from_the_disk_is_lost_for_its_run_only(make: Make) -> None:
    world = make(RelayLimits(window=1000))
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    world.worker(1, 2).says(b"x" * 5000)
    for path in world.directory.glob("spill/*/*"):
        path.unlink()
    assert world.worker(2, 2).reasons
    assert not world.worker(2, 2, 1, replay=True).reasons
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"LOST:j:1"]


def test_who_is_replaced_in_the_middle_of_a_message_is_cut_off(make: Make) -> None:
    world = make()
    first, sender = world.worker(2, 3), world.worker(1, 2)
    first.wire.pause_reading()
    sender.says(b"x" * MIB)
    second = world.worker(2, 3, 1, replay=True)
    assert second.heard() == [b"x" * MIB]
    first.wire.resume_reading()
    world.advance(20)
    assert first.heard() == []
    assert first.reasons


def test_who_is_told_to_go_first_gets_the_rest_of_its_message(make: Make) -> None:
    world = make(RelayLimits(spill=300_000))
    worker, sender = world.worker(2, 3), world.worker(1, 2)
    worker.wire.pause_reading()
    sender.says(b"x" * 250_000)
    worker.says(b"y" * 300_000)
    worker.wire.resume_reading()
    world.settle()
    assert worker.heard() == [b"x" * 250_000, b"FULL"]
    assert worker.reasons


def test_who_is_told_to_go_and_replaced_takes_nothing_more(make: Make) -> None:
    world = make(RelayLimits(spill=600_000))
    first, sender = world.worker(2, 3), world.worker(1, 2)
    first.wire.pause_reading()
    sender.says(b"x" * 250_000)
    first.says(b"y" * 600_000)
    second = world.worker(2, 3, 1, replay=True)
    assert second.heard() == [b"x" * 250_000]
    second.wire.pause_reading()
    sender.says(b"z" * 300_000)
    first.wire.resume_reading()
    world.settle()
    assert first.reasons
    second.wire.resume_reading()
    world.settle()
    assert second.heard() == [b"z" * 300_000]


def test_who_is_told_to_go_and_takes_nothing_is_cut_off(make: Make) -> None:
    world = make(RelayLimits(spill=300_000))
    worker, sender = world.worker(2, 3), world.worker(1, 2)
    worker.wire.pause_reading()
    sender.says(b"x" * 250_000)
    worker.says(b"y" * 300_000)
    world.advance(17)
    assert worker.reasons

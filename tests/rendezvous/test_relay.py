"""What the relay does for its peers: carries, keeps, refuses, tells."""

import time
from collections.abc import Callable

import pytest
from memory_relay import MemoryRelay, Peer
from warm_processes import LIMIT

from mu_twisted.rendezvous import RelayLimits, Spill
from mu_twisted.wire import FULL, PeerGreeting, encode

MIB = 1 << 20
Make = Callable[..., MemoryRelay]


def failed(peer: Peer) -> str:
    """The reason that a peer was refused with; its connection is closed."""
    peer.world.settle()
    [said] = peer.heard()
    assert peer.reasons
    assert said.startswith(b"FAIL(")
    return said[5:-1].decode()


@pytest.mark.parametrize("kind", ["peer", "worker"])
def test_messages_go_verbatim_to_next_in_order(make_both: Make, kind: str) -> None:
    world = make_both()
    one, two = getattr(world, kind)(1, 2), getattr(world, kind)(2, 3)
    one.says(b"a", b"", b"b" * 100_000, b"HELLO_STATE:r:7:8")
    one.says(b"c")
    assert two.heard() == [b"a", b"", b"b" * 100_000, b"HELLO_STATE:r:7:8", b"c"]
    assert one.heard() == []


def test_messages_wait_for_their_receiver(make_both: Make) -> None:
    world = make_both()
    one = world.peer(1, 2)
    one.says(b"a", b"b")
    one.wire.close()
    world.settle()
    world.advance(599)
    two = world.peer(2, 3)
    assert two.heard() == [b"a", b"b"]
    two.wire.close()
    world.settle()
    assert world.peer(2, 3).heard() == []


def test_messages_of_a_run_are_kept_for_600_s(make_both: Make) -> None:
    world = make_both()
    world.peer(1, 2).says(b"old")
    world.advance(300)
    world.peer(1, 2).says(b"young")
    world.advance(300)
    assert world.peer(2, 3).heard() == [b"young"]


def test_one_look_that_fails_does_not_end_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = MemoryRelay()
    world.peer(0, 1).says(b"old")
    sweep, calls = world.relay.backpressure.sweep, []

    def fails_once() -> None:
        calls.append(None)
        if len(calls) == 1:
            raise ZeroDivisionError
        sweep()

    monkeypatch.setattr(world.relay.backpressure, "sweep", fails_once)
    world.advance(700)
    assert len(calls) == 700
    assert world.in_memory() == 0
    world.close()


def test_runs_and_jobs_of_one_name_are_apart(make_both: Make) -> None:
    world = make_both()
    of_run, of_job = world.peer(2, 3, b"j"), world.worker(2, 3)
    world.worker(1, 2).says(b"to the job")
    world.peer(1, 2, b"j").says(b"to the run")
    assert of_run.heard() == [b"to the run"]
    assert of_job.heard() == [b"to the job"]


def test_a_second_connection_takes_the_place_of_the_first(make_both: Make, log: list[str]) -> None:
    world = make_both()
    one, first, second = world.peer(1, 2), world.peer(2, 3), world.peer(2, 3)
    one.says(b"m")
    assert first.reasons == ["closed by the peer"]
    assert first.heard() == []
    assert second.heard() == [b"m"]
    assert "another connection has taken its place" in log[0]


def test_a_higher_attempt_takes_over_and_a_lower_one_is_refused(make_both: Make) -> None:
    world = make_both()
    sender, first = world.worker(1, 2), world.worker(2, 3)
    sender.says(b"a")
    assert first.heard() == [b"a"]
    second = world.worker(2, 3, 1, replay=True)
    assert failed(first) == "another connection has taken its place"
    assert second.heard() == [b"a"]
    refused = "attempt 0 of task 2 of job j is over: attempt 1 has its mailbox"
    assert failed(world.worker(2, 3, 0)) == refused
    second.wire.close()
    world.settle()
    assert failed(world.worker(2, 3, 0, replay=True)) == refused
    assert world.worker(2, 3, 1, replay=True).heard() == [b"a"]


def test_what_a_replaced_sender_still_sends_is_not_taken(make_both: Make) -> None:
    world = make_both()
    receiver, stale = world.worker(2, 3), world.worker(1, 2)
    stale.wire.write(encode(b"x" * 50)[:30])
    world.settle()
    world.worker(1, 2, 1).says(b"fresh")
    stale.wire.write(encode(b"x" * 50)[30:])
    world.settle()
    assert receiver.heard() == [b"fresh"]


def test_replay_has_the_order_in_which_several_senders_messages_came(make_both: Make) -> None:
    world = make_both()
    world.coordinator().says(b"JOB:j:{}")
    reader, others = world.worker(3, 9), [world.worker(task, 3) for task in (4, 5, 6)]
    known = world.worker(2, 3)
    known.says(b"before")
    for other in others:
        for sender, message in ((other, b"other"), (known, b"known")):  # one read of the rendezvous brings both
            sender.wire.write(encode(message))
        world.settle()
    had = reader.heard()
    assert sorted(had) == [b"before"] + [b"known"] * 3 + [b"other"] * 3
    assert world.worker(3, 9, 1, replay=True).heard() == had


def test_replay_gives_what_was_delivered_and_what_waits_in_order(make_both: Make) -> None:
    world = make_both()
    sender, first = world.worker(1, 2), world.worker(2, 3)
    sender.says(b"a", b"b")
    first.wire.close()
    world.settle()
    sender.says(b"c")
    assert world.worker(2, 3).heard() == [b"c"]
    assert world.worker(2, 3, 1, replay=True).heard() == [b"a", b"b", b"c"]
    assert world.worker(2, 3, 2, replay=True).heard() == [b"a", b"b", b"c"]


def test_the_oldest_delivered_messages_go_and_their_loss_is_told(make_both: Make) -> None:
    world = make_both(RelayLimits(retain=250_000))
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store1"]
    receiver = world.worker(9, 9)
    for task in (1, 2, 3):
        world.worker(task, 9).says(b"%d" % task * 100_000)
    assert len(receiver.heard()) == 3
    again = world.worker(9, 9, 1, replay=True)
    assert [message[:1] for message in again.heard()] == [b"2", b"3"]
    assert coordinator.heard() == [b"LOST:j:1"]
    # The producer runs again; what was lost of its first attempt is of no interest then.
    world.worker(1, 9, 1).says(b"1" * 10)
    third = world.worker(9, 9, 2, replay=True)
    assert [message[:1] for message in third.heard()] == [b"2", b"3", b"1"]
    assert coordinator.heard() == []


def test_a_coordinator_may_ask_for_less_than_is_allowed(make_both: Make) -> None:
    world = make_both()
    coordinator = world.coordinator()
    coordinator.says(b'JOB:j:{"retain":1000,"spill":5000,"other":1}')
    receiver, sender = world.worker(2, 2), world.worker(1, 2)
    sender.says(b"x" * 2000)
    assert len(receiver.heard()) == 1
    assert world.worker(2, 2, 1, replay=True).heard() == []
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"LOST:j:1"]
    world.worker(1, 3, 1).says(b"y" * 4000, b"y" * 4000)
    assert world.worker(3, 3).heard() == [b"y" * 4000]


def test_a_loss_is_told_to_the_coordinator_that_comes_later(make_both: Make) -> None:
    world = make_both(RelayLimits(retain=0))
    receiver = world.worker(2, 3)
    world.worker(1, 2).says(b"a")
    assert receiver.heard() == [b"a"]
    world.worker(2, 3, 1, replay=True)
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"LOST:j:1"]


def test_end_drops_a_jobs_messages_and_its_workers(make_both: Make) -> None:
    world = make_both()
    coordinator, sender = world.coordinator(), world.worker(1, 2)
    sender.says(b"a")
    coordinator.says(b"JOB:j:{}", b"END:j", b"END:unknown", b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"OK:END:j", b"OK:END:unknown", b"OK:JOB:j:store2"]
    assert failed(sender) == "job j is over"
    assert world.worker(2, 3).heard() == []


def test_a_job_lives_while_a_coordinator_mentions_it(make_both: Make) -> None:
    world = make_both()
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}")
    world.worker(1, 2).says(b"a")
    for _ in range(30):
        world.advance(60)
        coordinator.says(b"JOB:j:{}")
    assert set(coordinator.heard()) == {b"OK:JOB:j:store1"}
    world.advance(590)
    receiver = world.worker(2, 3)
    assert receiver.heard() == [b"a"]
    world.advance(11)
    assert failed(receiver) == "no coordinator has mentioned job j for 600 s"
    coordinator.says(b"JOB:j:{}")
    assert coordinator.heard() == [b"OK:JOB:j:store2"]


@pytest.mark.parametrize("said", [b"JOB:j:[]", b"LOST:j:1", b"OK:END:j", b"quit:", b""])
def test_a_coordinator_that_says_anything_else_is_dropped(make_both: Make, said: bytes, log: list[str]) -> None:
    world = make_both()
    coordinator = world.coordinator()
    coordinator.says(b"JOB:j:{}", said)
    assert coordinator.reasons
    assert log


@pytest.mark.parametrize(
    "greeting", [b"", b"FOO", b"HELLO_STATE:r:1", b"HELLO_STATE:r:x:2", b"HELLO_STATE:r:1:2:3", b"HELLO:r:1:2"]
)
def test_a_malformed_greeting_ends_that_connection_only(make_both: Make, greeting: bytes, log: list[str]) -> None:
    world = make_both()
    one, two, stranger = world.peer(1, 2), world.peer(2, 3), world.dial()
    stranger.says(greeting, b"more")
    assert stranger.reasons
    assert stranger.heard() == []
    one.says(b"m")
    assert two.heard() == [b"m"]
    assert len(log) == 1


def test_a_malformed_new_greeting_is_told_why(make_both: Make) -> None:
    stranger = make_both().dial()
    stranger.says(b"HELLO_STATE2:j:1:2:0")
    assert failed(stranger).startswith("expected HELLO_STATE2:JOB:ME:NEXT:ATTEMPT:REPLAY, got ")


def test_who_does_not_greet_is_dropped(make_both: Make, log: list[str]) -> None:
    world = make_both()
    silent, greeted = world.dial(), world.peer(1, 2)
    world.advance(32)
    assert silent.reasons
    assert not greeted.reasons
    assert "it has not greeted within 30 s" in log[0]


@pytest.mark.parametrize("said", [encode(b"x" * 5000)[:4500], encode(b"HELLO_STATE:" + b"x" * 5000 + b":1:2")])
def test_a_stranger_is_given_little(make_both: Make, said: bytes) -> None:
    world = make_both()
    stranger = world.dial()
    stranger.wire.write(said)
    world.settle()
    assert stranger.reasons
    assert not world.relay.mailboxes.runs


def test_only_so_many_connections_are_there(make_both: Make, log: list[str]) -> None:
    world = make_both(connections=2)
    one, two = world.peer(1, 2), world.peer(2, 1)
    assert world.dial().reasons
    one.says(b"m")
    assert two.heard() == [b"m"]
    two.wire.close()
    world.settle()
    assert not world.dial().reasons


def test_who_never_greets_gives_way_and_leaves_descriptors_for_others(make_both: Make, log: list[str]) -> None:
    world = make_both(descriptors=40)
    one, two = world.peer(1, 2), world.peer(2, 1)
    strangers = [world.dial() for _ in range(60)]
    assert 1 <= sum(not each.reasons for each in strangers) <= 12
    one.says(b"m")
    assert two.heard() == [b"m"]
    assert not world.peer(3, 4).reasons
    assert any("it has not greeted, and others want its place" in line for line in log)


def test_only_so_many_mailboxes_and_jobs_are_there(make_both: Make) -> None:
    world = make_both(RelayLimits(mailboxes=4, runs=2))
    world.worker(1, 2)
    world.worker(3, 4)
    assert failed(world.worker(5, 6)) == "there are 4 mailboxes already"
    world.coordinator().says(b"END:j", b"JOB:k:{}", b"JOB:l:{}")
    assert failed(world.worker(1, 2)) == "there are 2 jobs already"
    assert not world.peer(1, 2).reasons


def test_full_is_said_to_the_sender_whose_message_finds_no_room(make_both: Make) -> None:
    world = make_both(RelayLimits(spill=250_000, window=50_000))
    sender = world.worker(1, 2)
    sender.says(b"a" * 100_000, b"b" * 100_000)
    assert sender.heard() == []
    assert world.on_disk() > 200_000
    sender.says(b"c" * 100_000, b"never")
    assert sender.heard() == [FULL]
    assert sender.reasons
    assert [message[:1] for message in world.worker(2, 3).heard()] == [b"a", b"b"]


def test_an_original_sender_is_not_read_while_its_run_has_too_much(make_both: Make) -> None:
    world = make_both(RelayLimits(spill=250_000, window=50_000))
    sender = world.peer(1, 2)
    for letter in (b"a", b"b", b"c", b"d", b"e"):
        sender.says(letter * 100_000)
    assert world.on_disk() < 350_000
    receiver = world.peer(2, 3)
    world.advance(5)
    assert [message[:1] for message in receiver.heard()] == [b"a", b"b", b"c", b"d", b"e"]


def test_comings_and_goings_are_logged_where_that_is_wanted(make_both: Make, log: list[str]) -> None:
    for debug in (False, True):
        world = make_both(debug=debug)
        world.coordinator().says(b"JOB:j:{}")
        world.worker(1, 2).wire.close()
        world.settle()
    assert [line.partition(" ")[2] for line in log] == [
        "sends a notice: b'JOB:j:{}'",
        "has greeted: b'HELLO_STATE2:j:1:2:0:0'",
        "is gone: closed by the peer",
    ]


def test_closing_says_so_and_forgets_everything(make_both: Make) -> None:
    world = make_both(RelayLimits(window=1000))
    sender = world.worker(1, 2)
    sender.says(b"a" * 100_000)
    assert world.on_disk()
    world.relay.close()
    assert failed(sender) == "the rendezvous stops"
    assert not world.on_disk()


def test_what_an_earlier_process_left_on_disk_is_removed_and_nothing_else(make_both: Make) -> None:
    world = make_both()
    root = world.directory / "spill"
    (root / "7").mkdir(parents=True)
    (root / "7" / "8").write_bytes(b"x")
    (root / "mine").write_bytes(b"y")
    Spill(root)
    assert [path.name for path in root.iterdir()] == ["mine"]


def test_what_follows_in_a_row_is_kept_as_the_first(make_both: Make) -> None:
    world = make_both()
    sender, first = world.worker(1, 2), world.worker(2, 3)
    for number in range(20):
        sender.says(b"%d" % number, b"x" * number)
    said = [message for number in range(20) for message in (b"%d" % number, b"x" * number)]
    assert first.heard() == said
    assert world.relay.counts().mailbox_bytes == sum(map(len, map(encode, said)))
    second = world.worker(2, 3, 1, replay=True)
    assert second.heard() == said
    sender.says(b"more")
    assert second.heard() == [b"more"]
    assert world.worker(2, 3, 2, replay=True).heard() == [*said, b"more"]


def test_a_message_that_comes_with_the_next_attempt_reaches_it_once(make_both: Make) -> None:
    world = make_both()
    sender, first = world.worker(1, 2), world.worker(2, 3)
    for said in b"a", b"b":
        sender.says(said)
    assert first.heard() == [b"a", b"b"]
    second = world.dial()
    second.wire.send(PeerGreeting(b"j", 2, 3, 1, True).encode())
    sender.says(b"c")
    assert second.heard() == [b"a", b"b", b"c"]
    sender.says(b"d")
    assert second.heard() == [b"d"]
    assert first.reasons


def test_messages_of_a_slow_reader_stay_whole_and_in_order(make_both: Make) -> None:
    world = make_both()
    reader, one, other = world.worker(3, 3), world.worker(1, 3), world.worker(2, 3)
    one.says(b"1")
    other.says(b"2")
    assert reader.heard() == [b"1", b"2"]
    reader.wire.pause_reading()
    big = bytes(range(256)) * 4000
    other.says(big)
    for number in range(300):
        one.wire.send(b"1 %d " % number * 500)
    other.wire.send(b"2 last")
    reader.wire.resume_reading()
    heard: list[bytes] = []
    end = time.monotonic() + LIMIT
    while len(heard) < 302 and time.monotonic() < end:  # after a closed window the kernel takes its time
        world.settle(3000)
        heard += reader.heard()
    assert [message for message in heard if message.startswith(b"1 ")] == [b"1 %d " % n * 500 for n in range(300)]
    assert [message for message in heard if not message.startswith(b"1 ")] == [big, b"2 last"]


def test_a_message_to_oneself_is_one_as_any(make_both: Make) -> None:
    world = make_both()
    only = world.worker(1, 1)
    for number in range(5):
        only.says(b"%d" % number)
    assert only.heard() == [b"%d" % number for number in range(5)]
    assert world.worker(1, 1, 1, replay=True).heard() == [b"%d" % number for number in range(5)]


def test_what_runs_send_in_a_row_is_not_kept(make_both: Make) -> None:
    world = make_both()
    one, two = world.peer(1, 2), world.peer(2, 1)
    for number in range(10):
        one.says(b"%d" % number)
        two.says(b"back %d" % number)
    assert two.heard() == [b"%d" % number for number in range(10)]
    assert one.heard() == [b"back %d" % number for number in range(10)]
    assert world.in_memory() == 0

"""What the rendezvous does with named messages, one rule after the other, without sockets."""

import hashlib
import random
import shutil
from collections.abc import Iterator

import pytest
from fuzz_targets import link_store
from memory_links import (
    ANY,
    KIB,
    LIMITS,
    ONE,
    Store,
    Task,
    frames_of,
)

from mu_twisted.rendezvous import PeerRefused, RelayLimits
from mu_twisted.rendezvous._link_session import MAX_ANY, MAX_ARRIVING, MAX_WANTS
from mu_twisted.wire import PeerError, PeerGreeting, encode
from mu_twisted.wire.links import (
    MAX_HELD,
    MAX_PART,
    MAX_TAKEN,
    Ack,
    Begin,
    Cut,
    End,
    Held,
    LinkFrame,
    LinkGreeting,
    LinkPing,
    Nak,
    Part,
    Unwant,
    Want,
    WantAny,
)

DIGEST = hashlib.sha256(b"xy").hexdigest().encode()

# -- one rule after the other ------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.close()


def kinds(frames: list[LinkFrame]) -> str:
    return " ".join(type(frame).__name__ for frame in frames)


def test_a_message_is_delivered_as_it_arrives(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    two.says(Want(1, 1, ONE))
    body = random.Random(1).randbytes(3 * MAX_PART + 5)
    begin, *parts, end = frames_of(2, ONE, 1, body)
    one.says(begin)
    assert two.woken
    assert kinds(two.hears()) == "Begin"
    one.says(*parts)
    assert kinds(two.hears()) == "Part Part Part"
    assert kinds(one.hears()) == ""
    one.says(end)
    assert kinds(one.hears()) == "Ack"
    assert kinds(two.hears()) == "End"
    assert two.got == {(1, ONE, 1): body}


def test_a_large_message_is_never_in_memory_and_a_small_one_until_it_is_needed(store: Store) -> None:
    one = Task(store, 1)
    one.sends(2, ONE, bytes(64 * KIB + 1))
    assert (store.store.memory.used, store.on_disk()) == (0, 64 * KIB + 1)
    one.sends(2, ONE, b"small", 2)
    one.sends(2, ONE, b"", 3)
    assert (store.store.memory.used, store.on_disk()) == (5, 64 * KIB + 1)
    store.store.make_room(LIMITS.memory)
    assert (store.store.memory.used, store.on_disk()) == (0, 64 * KIB + 6)
    two = Task(store, 2)
    two.says(*(Want(1, number, ONE) for number in (3, 2, 1)))
    two.hears()
    assert two.got == {(1, ONE, 1): bytes(64 * KIB + 1), (1, ONE, 2): b"small", (1, ONE, 3): b""}


def test_several_messages_come_in_turns(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    for number in (1, 2):
        one.sends(2, ONE, bytes(3 * MAX_PART), number)
    two.says(Want(1, 1, ONE), Want(1, 2, ONE))
    assert [frame.number for frame in two.hears()] == [1, 2] * 4  # type: ignore[union-attr]


def test_any_gives_what_has_begun_first_and_each_sender_in_order(store: Store) -> None:
    three, one, two = Task(store, 3), Task(store, 1), Task(store, 2)
    three.sends(2, ANY, b"c1")
    one.sends(2, ANY, b"a1")
    one.sends(2, ANY, b"a2", 2)
    two.says(WantAny(ANY), WantAny(ANY), WantAny(ANY), WantAny(ANY))
    two.hears()
    assert list(two.got.values()) == [b"c1", b"a1", b"a2"]
    one.sends(2, ANY, b"a4", 4)
    assert two.hears() == []
    one.sends(2, ANY, b"a3", 3)
    two.hears()
    assert list(two.got.values())[3:] == [b"a3"]
    two.says(WantAny(ANY))
    two.hears()
    assert list(two.got.values())[4:] == [b"a4"]
    again = Task(store, 2)
    again.says(WantAny(ANY, ((1, 3), (3, 1))))
    again.hears()
    assert list(again.got.values()) == [b"a4"]


def test_what_is_begun_is_not_given_to_two_that_want_any(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    begin, end = frames_of(2, ANY, 1, b"x")
    two.says(WantAny(ANY), WantAny(ANY))
    one.says(begin)
    assert kinds(two.hears()) == "Begin"
    one.says(end)
    assert kinds(two.hears()) == "End"
    assert two.hears() == []


def test_a_sender_that_dies_cuts_what_it_has_begun_and_the_want_stands(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    body = bytes(2 * MAX_PART)
    for want, name in ((Want(1, 1, ONE), ONE), (WantAny(ANY), ANY)):
        two.says(want)
        one.says(next(frames_of(2, name, 1, body)))
    assert kinds(two.hears()) == "Begin Begin"
    one.leaves()
    assert kinds(two.hears()) == "Cut Cut"
    assert store.store.stored.used == 0
    one = Task(store, 1, 1)
    one.sends(2, ONE, body)
    one.sends(2, ANY, body)
    two.hears()
    assert two.got == {(1, ONE, 1): body, (1, ANY, 1): body}


def test_a_receiver_that_dies_gets_everything_again(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, b"first")
    one.sends(2, ONE, bytes(200 * KIB), 2)
    for attempt in (0, 0, 1):
        two.leaves()
        two = Task(store, 2, attempt)
        two.says(Want(1, 1, ONE), Want(1, 2, ONE))
        two.hears()
        assert two.got == {(1, ONE, 1): b"first", (1, ONE, 2): bytes(200 * KIB)}


def test_what_is_sent_again_is_compared_once_it_was_taken_and_replaces_before(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, b"old")
    again = Task(store, 1, 1)
    again.sends(2, ONE, b"new")
    two.says(Want(1, 1, ONE))
    two.hears()
    assert two.got == {(1, ONE, 1): b"new"}
    third = Task(store, 1, 2)
    third.sends(2, ONE, b"new")
    third.sends(2, ONE, b"no2", 2)
    assert kinds(third.hears()) == "Ack Ack"
    fourth = Task(store, 1, 3)
    fourth.sends(2, ONE, b"odd")
    fourth.hears()
    [why] = fourth.refused.values()
    assert why == (
        "task 1's program is not deterministic: message 1 'one' to task 2 has other bytes than an earlier attempt has "
        "sent"
    )


def test_other_bytes_are_refused_when_the_first_were_begun_or_removed(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, bytes(300 * KIB))
    two.says(Want(1, 1, ONE))
    two.hears(1)
    again = Task(store, 1, 1)
    again.sends(2, ONE, b"x" * 300 * KIB)
    assert kinds(again.hears()) == "Nak"
    two.hears()
    assert store.store.make_disk_room(LIMITS.disk)
    assert store.on_disk() == 0
    again = Task(store, 1, 2)
    again.sends(2, ONE, b"x" * 300 * KIB)
    assert kinds(again.hears()) == "Nak"
    again.sends(2, ONE, bytes(300 * KIB))
    assert kinds(again.hears()) == "Ack"


def test_the_same_attempt_that_dials_again_sends_anew(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    body = bytes(300 * KIB)
    two.says(Want(1, 1, ONE))
    one.says(next(frames_of(2, ONE, 1, body)))
    two.hears()
    again = Task(store, 1)
    assert one.session is None
    again.sends(2, ONE, body)
    again.sends(2, ONE, body)  # its acknowledgement was lost
    assert kinds(again.hears()) == "Ack Ack"
    assert kinds(two.hears()) == "Cut Begin Part Part End"


def test_an_old_attempt_is_refused_and_a_new_one_ends_both_its_connections(store: Store) -> None:
    old = Task(store, 1)
    reader = object()
    store.mailboxes.greet(PeerGreeting(b"j", 1, 2, 0), reader, 0.0)
    beside = store.mailboxes.greet_link(LinkGreeting(b"j", 1, 0, {}), Task.__new__(Task), 0.0)
    assert beside.replaced == [old]
    newer = store.mailboxes.greet_link(LinkGreeting(b"j", 1, 1, {}), old, 0.0)
    assert set(newer.replaced) == {reader, beside.session.outlet}
    newest = store.mailboxes.greet(PeerGreeting(b"j", 1, 2, 2), object(), 0.0)
    assert old in newest.replaced
    for attempt in (0, 1):
        with pytest.raises(PeerRefused, match=f"attempt {attempt} of task 1 of job j is over: attempt 2 has its"):
            Task(store, 1, attempt)


def test_taken_messages_go_for_others_and_their_loss_is_told_when_wanted(store: Store) -> None:
    one, two, three = Task(store, 1), Task(store, 2), Task(store, 3)
    for number in range(1, 5):
        one.sends(2, ONE, bytes(300 * KIB), number)
        two.says(Want(1, number, ONE))
        two.hears()
    three.sends(1, ONE, bytes(1000 * KIB))
    assert kinds(three.hears()) == "Ack"
    again = Task(store, 2, 1)
    again.says(*(Want(1, number, ONE) for number in range(1, 5)))
    again.hears()
    assert [number for _, _, number in again.got] == [4]
    assert store.lost == {1}
    producer = Task(store, 1, 1)
    producer.hears()
    three.sends(1, ONE, b"", 9)
    producer.says(Want(3, 1, ONE))
    producer.hears()  # so that there is room again
    for number in range(1, 5):
        assert not again.run.links.take_resent()
        producer.sends(2, ONE, bytes(300 * KIB), number)
        again.hears()
        if number == 3:  # the fourth was never gone
            assert again.run.links.take_resent() == {1}
    assert sorted(number for _, _, number in again.got) == [1, 2, 3, 4]


@pytest.mark.parametrize("again", [False, True])
def test_many_lost_messages_that_are_wanted_at_once_are_gathered_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    one, two = Task(store, 1), Task(store, 2, 1)
    for number in range(1, 21):
        one.says(Held(2, number, 1, DIGEST, ONE))
    gathered: list[int] = []
    links = two.run.links
    gone_of = links._gone_of
    monkeypatch.setattr(links, "_gone_of", lambda sender: gathered.append(sender) or gone_of(sender))
    if again:
        one.leaves()
        two.says(*(Want(1, 1 + number % 10, ONE) for number in range(30)))
    else:
        two.says(*(Want(1, number, ONE) for number in range(1, 11)))
        assert not store.lost
        one.leaves()
    assert gathered == [1]
    assert store.lost == {1}
    producer = Task(store, 1, 1)
    for number in range(20, 0, -1):
        assert not links.take_resent()
        producer.says(Held(2, number, 1, DIGEST, ONE))
    assert links.take_resent() == {1}


def test_what_is_wanted_when_all_that_was_lost_is_back_is_lost_again(store: Store) -> None:
    """All at once, before the loss is reported."""
    one, two = Task(store, 1), Task(store, 2, 1)
    links = two.run.links
    one.says(Held(2, 1, 1, DIGEST, ONE))
    one.leaves()
    assert two.session is not None
    two.session.receive(Want(1, 1, ONE))
    producer = Task(store, 1)
    assert producer.session is not None
    producer.session.receive(Held(2, 1, 1, DIGEST, ONE))
    links.detach(producer.session)
    two.session.receive(Want(1, 1, ONE))
    assert links.take_lost() == {1}
    assert links.take_resent() == {1}
    Task(store, 1).says(Held(2, 1, 1, DIGEST, ONE))
    assert links.take_resent() == {1}


def test_a_sender_is_asked_for_what_it_holds_once_for_each_attempt_of_the_receiver(store: Store) -> None:
    one = Task(store, 1)
    one.says(Held(2, 1, 0, DIGEST, ONE))
    assert kinds(one.hears()) == "Ack"
    for attempt in (1, 2):
        for dials in range(2):
            two = Task(store, 2, attempt)
            two.says(*[Want(1, 1, ONE)] * 50)
            assert kinds(one.hears()) == ("" if dials else "Want")
    one.says(Held(2, 1, 3, DIGEST, ONE))
    assert kinds(one.hears()) == "Ack Want"
    one.sends(2, ONE, b"xy")
    two.hears()
    assert two.got == {(1, ONE, 1): b"xy"}
    assert not store.lost


def test_what_finds_no_room_is_refused_in_one_line_and_its_rest_not_kept(store: Store) -> None:
    one = Task(store, 1)
    one.sends(2, ONE, bytes(1000 * KIB))
    one.sends(2, ONE, bytes(600 * KIB), 2)
    one.sends(2, ONE, bytes(500 * KIB), 3)
    assert kinds(one.hears()) == "Ack Nak Ack"
    [why] = one.refused.values()
    assert why.startswith(f"a message of {600 * KIB} bytes finds no room at the rendezvous: job j has {1000 * KIB} byt")
    assert store.store.stored.used == 1500 * KIB


def test_only_so_many_messages_are_known_and_the_oldest_taken_are_forgotten(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    for number in range(1, 200):
        one.sends(2, ONE, b"x", number)
        two.says(Want(1, number, ONE))
        two.hears()
        one.hears()
    assert not one.refused
    assert store.store.named.used <= LIMITS.named
    again = Task(store, 2, 1)
    again.says(Want(1, 1, ONE), Want(1, 199, ONE))
    again.hears()
    assert list(again.got) == [(1, ONE, 199)]
    assert store.lost == {1}
    for number in range(200, 300):
        one.sends(2, ONE, b"x", number)
    one.hears()
    assert "named messages already" in next(iter(one.refused.values()))


def test_a_coordinator_may_allow_a_job_less(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, bytes(100 * KIB))
    two.says(Want(1, 1, ONE))
    two.hears()
    store.mailboxes.mention(b"j", {"links": 50 * KIB, "spill": 1}, object(), 0.0)
    assert store.on_disk() == 0
    one.sends(2, ONE, bytes(51 * KIB), 2)
    one.sends(2, ONE, bytes(50 * KIB), 3)
    assert kinds(one.hears()) == "Ack Nak Ack"


def test_a_mailboxs_messages_find_the_room_that_taken_ones_have(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, bytes(1500 * KIB))
    two.says(Want(1, 1, ONE))
    two.hears()
    subscription = store.mailboxes.greet(PeerGreeting(b"j", 1, 2, 0), object(), 0.0).subscription
    subscription.outbox.put(encode(bytes(1000 * KIB)), subscription.origins, 0.0)
    assert store.store.stored.used < 1001 * KIB


def test_a_disk_that_is_full_costs_the_message_and_not_what_was_there(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    two.says(Want(1, 1, ONE))
    begin, part, *_ = frames_of(2, ONE, 1, bytes(300 * KIB))
    one.says(begin)
    two.hears()
    directory = next((store.directory / "spill").iterdir())
    shutil.rmtree(directory)
    directory.write_bytes(b"")  # no file can be made there any more
    one.says(part)
    assert kinds(one.hears()) == "Nak"
    assert kinds(two.hears()) == "Cut"
    assert store.troubles
    one.says(Cut(2, 1, ONE))
    directory.unlink()
    one.sends(2, ONE, bytes(300 * KIB))
    two.hears()
    assert list(two.got) == [(1, ONE, 1)]


def test_what_cannot_be_read_any_more_is_lost_and_told(store: Store) -> None:
    one, two = Task(store, 1), Task(store, 2)
    one.sends(2, ONE, bytes(300 * KIB))
    two.says(Want(1, 1, ONE))
    two.hears(1)
    for path in store.directory.glob("spill/*/*"):
        path.unlink()
    assert kinds(two.hears()) == "Cut"
    assert store.lost == {1}
    Task(store, 1, 1).sends(2, ONE, bytes(300 * KIB))
    two.hears()
    assert list(two.got) == [(1, ONE, 1)]


@pytest.mark.parametrize("whole", [False, True])
def test_nothing_is_said_of_what_is_lost_before_it_is_delivered(whole: bool) -> None:
    store = Store(RelayLimits())
    one, two = Task(store, 1), Task(store, 2, whole=whole)
    names = [b"name%d" % at for at in range(1500)]
    for name in names:
        one.sends(2, name, bytes(100))
    two.run.links.storage.spill()
    two.says(*(Want(1, 1, name) for name in names))
    for path in store.directory.glob("spill/*/*"):
        path.unlink()
    assert two.hears() == []
    assert store.lost == {1}
    Task(store, 1, 1).sends(2, names[7], bytes(100))
    two.hears()
    assert list(two.got) == [(1, names[7], 1)]
    store.close()


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([Part(2, 1, 0, ONE, b"x")], "has not begun"),
        ([End(2, 1, DIGEST, ONE)], "has not begun"),
        ([Begin(2, 1, 2, ONE, b"xy"), Part(2, 1, 2, ONE, b"z")], "1 bytes at 2"),
        ([Begin(2, 1, MAX_PART + 2, ONE, bytes(MAX_PART)), Part(2, 1, 5, ONE, b"z")], "1 bytes at 5"),
        ([Begin(2, 1, MAX_PART + 2, ONE, bytes(MAX_PART)), Part(2, 1, MAX_PART, ONE, b"xyz")], "3 bytes at"),
        ([Begin(2, 1, MAX_PART + 2, ONE, bytes(MAX_PART)), End(2, 1, DIGEST, ONE)], f"has {MAX_PART} of"),
        ([Begin(2, 1, 2, ONE, b"xy"), Begin(2, 1, 2, ONE, b"xy")], "has begun already"),
        ([Begin(2, 1, 2, ONE, b"xy"), End(2, 1, DIGEST, ONE), End(2, 1, DIGEST, ONE)], "has not begun"),
        ([Begin(2, number + 1, 1, ONE, b"x") for number in range(MAX_ARRIVING + 1)], "no more may begin"),
        ([Want(2, number + 1, ONE) for number in range(MAX_WANTS + 1)], "no more may be"),
        ([WantAny(ONE)] * (MAX_WANTS + 1), "no more may be"),
        ([f for n in range(MAX_ANY + 1) for f in (WantAny(b"%d" % n), Unwant(None, b"%d" % n))], "under 4096 names"),
        ([WantAny(b"%d" % n, tuple((p, 1) for p in range(MAX_TAKEN))) for n in range(17)], "has 69632 of them"),
        ([Nak(2, 1, ONE, b"no")], "says this to no rendezvous"),
        ([LinkPing(answer=True)], "says this to no rendezvous"),
        ([Begin(2, 1, 9, ONE, b"begun...."), Held(2, 1, 0, b"0" * 64, ONE)], "is held, and was begun here"),
        ([Held(2, n + 1, 0, b"0" * 64, ONE) for n in range(MAX_HELD + 1)], "no more may be"),
    ],
)
def test_what_is_out_of_place_or_too_much_is_one_line(store: Store, frames: list[LinkFrame], why: str) -> None:
    task = Task(store, 1)
    with pytest.raises(PeerError, match=why):
        task.says(*frames)


def test_what_a_race_may_bring_is_no_mistake(store: Store) -> None:
    one = Task(store, 1)
    one.sends(2, ONE, b"x")
    one.says(Cut(2, 1, ONE), Ack(2, 1, ONE), Ack(7, 9, ANY), Unwant(None, ANY), Unwant(3, ONE))
    one.says(Want(2, 1, ONE), Want(2, 1, ONE), Unwant(2, ONE), WantAny(ANY), Unwant(None, ANY))
    assert kinds(one.hears()) == "Ack"
    Task(store, 2).sends(1, ONE, b"y")
    Task(store, 2).sends(1, ANY, b"y")
    assert one.hears() == []


def test_a_task_may_send_to_itself(store: Store) -> None:
    one = Task(store, 1)
    one.says(Want(1, 1, ONE))
    one.sends(1, ONE, bytes(200 * KIB))
    one.hears()
    assert one.got == {(1, ONE, 1): bytes(200 * KIB)}


def test_a_sender_whose_stream_is_another_one_by_its_turn_is_looked_at_once() -> None:
    """What a fuzzer has found, without what did not matter in it."""
    said = {18: b"SEND:0:1:0:x\0", 20: b"WANT_ANY:x\x000=1,2=5", 23: b"UNWANT:*:x"}
    said |= dict.fromkeys((21, 26, 27), b"SEND:0:2:10:x\0some bytes")
    assert link_store(4, b"".join(encode(said.get(at, b"")) for at in range(28))).startswith("!")

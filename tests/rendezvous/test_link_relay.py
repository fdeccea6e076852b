"""What the relay does on connections for links: greets, refuses, carries no faster than is taken, tells."""

from collections.abc import Callable

import pytest
from memory_links import frames_of
from memory_relay import Link, MemoryRelay, Peer

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.tls import Identity, LaunchIdentity, RoleIdentity, TaskIdentity
from mu_twisted.wire import encode
from mu_twisted.wire.links import (
    MAX_LINK_FRAME,
    MAX_PART,
    Ack,
    Begin,
    Cut,
    LinkGreeting,
    Nak,
    Part,
    Want,
    WantAny,
    Whole,
    parse_link_frame,
    parse_link_welcome,
)
from mu_twisted.wire.pipes import (
    MAX_PIPE_PART,
    PIPES,
    ClosePipe,
    CutPipe,
    EndPipe,
    OpenPipe,
    PipeCredit,
    PipeData,
    parse_pipe_frame,
)

KIB = 1 << 10
Make = Callable[..., MemoryRelay]


def failed(peer: Peer) -> str:
    """The reason that a peer was refused with; its connection is closed."""
    peer.world.settle()
    assert peer.reasons
    said = peer.heard()[-1]
    assert said.startswith(b"FAIL(")
    return said[5:-1].decode()


@pytest.mark.parametrize("tls", [False, True])
def test_a_message_goes_from_task_to_task(make_both: Make, tls: bool) -> None:
    world = make_both(tls=tls)
    one = world.link(1, identity=TaskIdentity("j", 1, 0))
    two = world.link(2, identity=TaskIdentity("j", 2, 0))
    assert [parse_link_welcome(link.heard()[0]).announced for link in (one, two)] == [
        {"store": "store1", "pings": True, "whole": True}
    ] * 2
    body = bytes(range(256)) * 2000
    one.sends(2, body)
    assert [parse_link_frame(said) for said in one.heard()] == [Ack(2, 1, b"x")]
    two.wants(1)
    assert two.body() == body
    two.sends(1, b"", b"\xc3\xa9", 7)
    one.wants(2, b"\xc3\xa9", 7)
    assert parse_link_frame(one.heard()[0]) == Begin(2, 7, 0, b"\xc3\xa9", b"")


@pytest.mark.parametrize(("size", "frames"), [(0, 1), (1000, 1), (MAX_PART, 1), (MAX_PART + 1, 3)])
def test_a_short_message_has_one_frame_for_who_has_said_to_take_that(make_both: Make, size: int, frames: int) -> None:
    world = make_both()
    sender = world.link(1, announced={"whole": True})
    newer, older = world.link(2, announced={"whole": True}), world.link(3, announced={"whole": 1})
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for receiver in newer, older:
        receiver.wants(1)
        receiver.wants(1, number=2)
        receiver.heard()
    sender.heard()
    for number, whole in ((1, False), (2, True)):
        for to in 2, 3:
            sender.says(*(frame.encode() for frame in frames_of(to, b"x", number, body, whole=whole)))
    assert [parse_link_frame(frame) for frame in sender.heard()] == [Ack(to, n, b"x") for n in (1, 2) for to in (2, 3)]
    for receiver, expected in ((newer, frames), (older, 2 if size <= MAX_PART else 3)):
        said = receiver.heard()
        assert len(said) == 2 * expected
        bodies: list[bytes] = [b"", b""]
        for frame in map(parse_link_frame, said):
            if isinstance(frame, Whole | Begin | Part):
                bodies[frame.number - 1] += frame.part
        assert bodies == [body, body]
    again = world.link(2, 1, announced={"whole": True})
    again.wants(1)
    assert len(again.heard()) == frames + 1  # with the welcome


def test_a_message_in_one_frame_is_compared_with_what_an_earlier_attempt_has_sent(make_both: Make) -> None:
    world = make_both()
    first, receiver = world.link(1), world.link(2)
    receiver.wants(1)
    first.sends(2, b"same")
    receiver.wants(1, number=2)
    first.sends(2, b"one", number=2)
    second = world.link(1, 1)
    second.heard()
    for number, body in ((1, b"same"), (2, b"another")):
        second.says(*(frame.encode() for frame in frames_of(2, b"x", number, body, whole=True)))
    same, other = map(parse_link_frame, second.heard())
    assert same == Ack(2, 1, b"x")
    assert isinstance(other, Nak)
    assert b"not deterministic" in other.reason


def test_a_ping_is_answered_behind_what_came_before_it(make_both: Make) -> None:
    link = make_both().link(1)
    link.heard()
    link.sends(2, b"body")
    link.says(b"PING:")
    assert link.heard() == [Ack(2, 1, b"x").encode(), b"PONG:"]
    link.says(b"PONG:")
    assert "a task says this to no rendezvous" in failed(link)


@pytest.mark.parametrize(
    "identity",
    [
        TaskIdentity("k", 1, 1),
        TaskIdentity("j", 2, 1),
        TaskIdentity("j", 1, 0),
        LaunchIdentity("j"),
        RoleIdentity("operator"),
        RoleIdentity("rendezvous"),
        None,
    ],
)
def test_a_certificate_does_not_speak_for_another_party(make_both: Make, identity: Identity | None) -> None:
    world = make_both(tls=True)
    link = world.link(1, 1, identity=identity)
    why = failed(link)
    assert "certificate" in why
    assert world.link(1, 1, identity=TaskIdentity("j", 1, 1)).heard()[0].startswith(b"OK:HELLO_LINK:")


@pytest.mark.parametrize(
    "said",
    [
        b"HELLO_LINK:",
        b"HELLO_LINK:j:1:0",
        b"HELLO_LINK:j:1:-1:{}",
        b"HELLO_LINK:j/k:1:0:{}",
        b"HELLO_LINK:j:1:0:[]",
        b"HELLO_LINK:j:1:0:{" + b" " * 5000 + b"}",
    ],
)
def test_a_malformed_greeting_is_refused_in_one_line(make_both: Make, said: bytes, log: list[str]) -> None:
    stranger = make_both().dial()
    stranger.says(said, Want(1, 1, b"x").encode())
    if len(said) < 4096:
        assert failed(stranger).startswith("expected HELLO_LINK:JOB:TASK:ATTEMPT:{...}, got ")
    assert stranger.reasons
    assert len(log) == 1


def test_frames_may_come_with_the_greeting(make_both: Make) -> None:
    world = make_both()
    two = world.dial(None, Link(world))
    two.says(LinkGreeting(b"j", 2, 0, {"more": 1}).encode(), Want(1, 1, b"x").encode())
    world.link(1).sends(2, b"body")
    assert isinstance(two, Link)
    assert two.body() == b"body"


def test_a_state_channel_and_a_link_live_side_by_side(make_both: Make) -> None:
    world = make_both()
    state, link, other = world.worker(1, 2), world.link(1), world.worker(2, 1)
    other.says(b"a state")
    link.sends(1, b"body")
    link.wants(1)
    assert (state.heard(), link.body()) == ([b"a state"], b"body")


@pytest.mark.parametrize("newer", ["link", "worker"])
def test_a_later_attempt_ends_both_connections_of_the_earlier_one(make_both: Make, newer: str) -> None:
    world = make_both()
    state, first, link = world.worker(1, 2), world.link(1), world.link(1)
    assert failed(first) == "another connection has taken its place"
    if newer == "link":
        world.link(1, 2)
    else:
        world.worker(1, 2, 2)
    assert failed(state) == failed(link) == "another connection has taken its place"
    refused = "attempt 1 of task 1 of job j is over: attempt 2 has its mailbox"
    assert failed(world.link(1, 1)) == failed(world.worker(1, 2, 1)) == refused


def test_what_a_replaced_sender_still_sends_is_not_taken(make_both: Make) -> None:
    world = make_both()
    stale = world.link(1)
    half = Begin(2, 1, 10, b"x", b"0123456789").encode()
    stale.wire.write(encode(half)[:30])
    world.settle()
    world.link(1, 1)
    stale.wire.write(encode(half)[30:])
    world.settle()
    assert world.relay.mailboxes.store.named.used == 0


@pytest.mark.parametrize(
    "said",
    [
        [b"nonsense"],
        [b"SEND:2:1:5:x\0toolong"],
        [Part(2, 1, 0, b"x", b"y").encode()],
        [b"HELLO_LINK:j:1:0:{}"],
        [b"JOB:j:{}"],
        [Begin(2, n + 1, 1, b"x", b"y").encode() for n in range(70)],
        [Want(2, n + 1, b"x").encode() for n in range(4100)],
        [b"x" * (MAX_LINK_FRAME + 1)],
    ],
)
def test_frames_out_of_place_end_that_connection_only(make_both: Make, said: list[bytes], log: list[str]) -> None:
    world = make_both()
    bad, one, two = world.link(1), world.link(3), world.link(2)
    two.wants(3)
    bad.says(*said)
    assert bad.reasons
    assert len(log) == 1
    one.sends(2, b"fine")
    assert two.body() == b"fine"
    assert world.relay.mailboxes.jobs[b"j"].links.receivers.keys() == {2, 3}


def test_a_receiver_that_takes_nothing_is_given_no_more_than_its_connection_takes(make: Make) -> None:
    world = make(RelayLimits(memory=1 << 20))
    one, two, three = world.link(1), world.link(2), world.link(3)
    two.wants(1)
    two.wire.pause_reading()
    one.sends(2, bytes(3 << 20))
    one.sends(3, b"other")
    three.wants(1)
    assert three.body() == b"other"
    waiting = sum(len(end.out) for end in world.network.ends)
    assert MAX_PART <= waiting < 5 * MAX_PART
    assert world.in_memory() < 64 * KIB
    two.wire.resume_reading()
    world.settle()
    assert two.body() == bytes(3 << 20)


def test_a_worker_that_takes_no_answers_is_not_read_for_ever(make: Make) -> None:
    world = make()
    one = world.link(1)
    one.wire.pause_reading()
    for number in range(1, 40_001, 100):
        frames = [Begin(2, n, 0, b"x", b"").encode() for n in range(number, number + 50)]
        one.says(*frames, *(Cut(2, n, b"x").encode() for n in range(number, number + 50)))
        one.sends(2, b"", b"y" * 200, number)
    waiting = sum(len(end.out) for end in world.network.ends)
    assert waiting < 1 << 22
    one.wire.resume_reading()
    world.settle()
    assert len([said for said in one.heard() if said.startswith(b"ACK:")]) == 400


def test_loss_is_told_to_the_coordinator(make_both: Make) -> None:
    world = make_both(RelayLimits(links=250 * KIB))
    coordinator, one, two = world.coordinator(), world.link(1), world.link(2)
    coordinator.says(b"JOB:j:{}")
    for number in (1, 2, 3):
        two.wants(1, number=number)
        one.sends(2, bytes(100 * KIB), number=number)
    assert two.body() == bytes(300 * KIB)
    again = world.link(2, 1)
    for number in (1, 2, 3):
        again.wants(1, number=number)
    assert again.body() == bytes(200 * KIB)
    assert coordinator.heard() == [b"OK:JOB:j:store1", b"LOST:j:1"]
    world.link(1, 1).sends(2, bytes(100 * KIB))
    assert again.body() == bytes(100 * KIB)
    assert coordinator.heard() == [b"RESENT:j:1"]


def test_an_end_drops_a_jobs_messages_and_its_links(make_both: Make) -> None:
    world = make_both()
    coordinator, one, two = world.coordinator(), world.link(1), world.link(2)
    coordinator.says(b"JOB:j:{}")
    one.sends(2, bytes(200 * KIB))
    two.says(WantAny(b"x").encode())
    one.says(Begin(2, 2, 9 * MAX_PART, b"x", bytes(MAX_PART)).encode())
    coordinator.says(b"END:j")
    assert failed(one) == failed(two) == "job j is over"
    assert world.on_disk() == 0
    assert world.relay.mailboxes.store.named.used == world.relay.mailboxes.store.stored.used == 0


def test_a_job_that_is_not_mentioned_goes_with_its_links(make_both: Make) -> None:
    world = make_both()
    one = world.link(1)
    one.sends(2, bytes(200 * KIB))
    world.advance(601)
    assert failed(one) == "no coordinator has mentioned job j for 600 s"
    assert world.on_disk() == 0


def test_who_does_not_greet_further_counts_as_greeted_once(make_both: Make) -> None:
    world = make_both(connections=2)
    one = world.link(1)
    world.advance(40)
    assert not one.reasons
    assert len(world.relay) == 1
    one.wire.close()
    world.settle()
    assert len(world.relay) == 0


def test_a_frame_waits_for_memory_and_is_refused_after_long(make_both: Make) -> None:
    world = make_both(RelayLimits(memory=1 << 20, window=64 * KIB))
    one = world.link(1)
    world.relay.mailboxes.store.memory.used += 1 << 20  # as if others had it all
    frame = encode(Begin(2, 1, MAX_PART, b"x", bytes(MAX_PART)).encode())
    one.wire.write(frame[: 40 * KIB])
    world.settle()
    one.wire.write(frame[40 * KIB :])
    world.settle()
    world.advance(55)
    assert not one.reasons
    world.relay.mailboxes.store.memory.used -= 1 << 20
    world.advance(1)
    assert world.relay.mailboxes.store.named.used == 2
    world.relay.mailboxes.store.memory.used += 1 << 20
    one.wire.write(frame[: 40 * KIB].replace(b"SEND:2:1:", b"SEND:2:2:"))
    world.settle()
    world.advance(62)
    assert failed(one) == "there is no memory for its message"
    world.relay.mailboxes.store.memory.used -= 1 << 20


@pytest.mark.parametrize("tls", [False, True])
def test_a_pipe_goes_from_task_to_task_where_both_have_announced_it(make_both: Make, tls: bool) -> None:
    world = make_both(tls=tls)
    writer, reader = (
        world.link(task, identity=TaskIdentity("j", task, 0), announced={PIPES: True, "more": 1}) for task in (1, 2)
    )
    for link in (writer, reader):
        assert parse_link_welcome(link.heard()[0]).announced == {
            "store": "store1",
            "pings": True,
            "whole": True,
            PIPES: True,
        }
    writer.says(OpenPipe(2, 0, b"x", True).encode())
    reader.says(OpenPipe(1, 0, b"x", False).encode(), PipeCredit(1, 1 << 18, b"x").encode())
    world.settle()
    assert [parse_pipe_frame(said) for said in writer.heard()] == [PipeCredit(2, 1 << 18, b"x")]
    writer.says(*(PipeData(2, b"x", bytes([at]) * MAX_PIPE_PART).encode() for at in range(4)))
    writer.says(EndPipe(2, b"x").encode())
    world.settle()
    *parts, end = (parse_pipe_frame(said) for said in reader.heard())
    assert parts == [PipeData(1, b"x", bytes([at]) * MAX_PIPE_PART) for at in range(4)]
    assert end == EndPipe(1, b"x")
    reader.says(ClosePipe(1, b"x").encode())
    world.settle()
    assert [parse_pipe_frame(said) for said in writer.heard()] == [ClosePipe(2, b"x")]


def test_a_frame_of_a_pipe_that_was_not_announced_is_refused(make_both: Make) -> None:
    link = make_both().link(1)
    assert parse_link_welcome(link.heard()[0]).announced == {"store": "store1", "pings": True, "whole": True}
    link.says(OpenPipe(2, 0, b"x", True).encode())
    assert failed(link).startswith("expected a frame of a link, got ")


def test_a_worker_that_breaks_the_rules_of_pipes_is_refused_and_its_peer_is_told(make_both: Make) -> None:
    world = make_both()
    writer, reader = (world.link(task, announced={PIPES: True}) for task in (1, 2))
    writer.says(OpenPipe(2, 0, b"x", True).encode())
    reader.says(OpenPipe(1, 0, b"x", False).encode())
    writer.says(PipeData(2, b"x", b"more than there is credit for").encode())
    assert "there was credit for 0" in failed(writer)
    [*_, said] = reader.heard()
    assert parse_pipe_frame(said) == CutPipe(1, b"x", b"task 1, at the other end of pipe 'x', is gone")

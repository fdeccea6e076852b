"""What the relay does with messages about punching: takes them from those that have announced it, and no others."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from memory_relay import Link, MemoryRelay
from transport_contract import _log  # noqa: F401

from mu_twisted.tls import TaskIdentity
from mu_twisted.wire.links import parse_link_welcome
from mu_twisted.wire.punching import (
    PUNCH,
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchOutcome,
    PunchRefusal,
    PunchResult,
    PunchWant,
    parse_from_rendezvous,
)

Make = Callable[..., MemoryRelay]


@pytest.fixture
def make(log: list[str]) -> Iterator[Make]:
    worlds: list[MemoryRelay] = []

    def new(**options: Any) -> MemoryRelay:
        worlds.append(MemoryRelay(**{"tls": True, "punching": True, **options}))
        return worlds[-1]

    yield new
    for world in worlds:
        world.close()


def punching(world: MemoryRelay, task: int, attempt: int = 0, **options: Any) -> Link:
    """A worker that announces that it can punch."""
    identity = TaskIdentity("j", task, attempt)
    return world.link(task, attempt, **{"identity": identity, "announced": {PUNCH: True}, **options})


def offered(world: MemoryRelay, task: int, attempt: int = 0) -> Link:
    """A worker that has offered to punch."""
    link = punching(world, task, attempt)
    link.says(Offer(0, ()).encode())
    assert isinstance(parse_from_rendezvous(link.heard()[-1]), ProbeOrder)
    return link


def test_a_pair_is_ordered_to_punch_and_what_comes_of_it_is_counted(make: Make, log: list[str]) -> None:
    world = make()
    one, two = offered(world, 1), offered(world, 2, attempt=4)
    one.says(PunchWant(2).encode())
    [order], [back] = (list(map(parse_from_rendezvous, link.heard())) for link in (one, two))
    assert isinstance(order, PunchGo)
    assert isinstance(back, PunchGo)
    assert (order.task, order.attempt, order.nonce) == (2, 4, back.nonce)
    assert {each.ip for each in order.candidates} == {"192.0.2.1"}
    for link, said in ((one, order), (two, back)):
        link.says(PunchResult(said.task, said.attempt, said.nonce, PunchOutcome.DIRECT).encode())
    assert world.relay.punching is not None
    assert world.relay.punching.broker.counts == {"begun": 1, "direct": 2}
    log.clear()
    for _ in range(2):
        world.relay.punching.report()
    assert [line for line in log if "direct paths" in line] == ["direct paths so far: 1 begun, 2 direct"]
    one.sends(2, b"by the relay")
    two.wants(1)
    assert two.body() == b"by the relay"


@pytest.mark.parametrize(
    ("options", "announced"),
    [
        ({"punching": False}, {PUNCH: True}),
        ({}, {}),
        ({}, {PUNCH: False}),
        ({}, {PUNCH: "yes"}),
        ({"tls": False}, {PUNCH: True}),
    ],
    ids=["not of the rendezvous", "not of the worker", "denied", "no truth", "no identity"],
)
def test_what_was_not_announced_by_both_is_not_taken(make: Make, options: Any, announced: Any, log: list[str]) -> None:
    world = make(**options)
    link = punching(world, 1, announced=announced)
    assert PUNCH not in parse_link_welcome(link.heard()[0]).announced
    link.says(Offer(0, ()).encode())
    assert link.reasons
    assert link.heard()[-1].startswith(b"FAIL(expected a frame of a link")


def test_a_malformed_message_ends_that_connection_only(make: Make, log: list[str]) -> None:
    world = make()
    one, two = offered(world, 1), offered(world, 2)
    two.says(b"PUNCH_WANT:one")
    assert two.heard()[-1] == b"FAIL(expected PUNCH_WANT:TASK, got b'PUNCH_WANT:one')"
    one.says(PunchWant(2).encode())
    assert parse_from_rendezvous(one.heard()[-1]) == PunchNo(2, PunchRefusal.ABSENT)


def test_who_is_replaced_or_gone_is_absent(make: Make, log: list[str]) -> None:
    world = make()
    one, old = offered(world, 1), offered(world, 2)
    new = punching(world, 2, attempt=1)
    assert old.reasons
    one.says(PunchWant(2).encode())
    assert parse_from_rendezvous(one.heard()[-1]) == PunchNo(2, PunchRefusal.ABSENT)
    new.says(Offer(0, ()).encode())
    one.says(PunchWant(2).encode())
    assert isinstance(parse_from_rendezvous(one.heard()[-1]), PunchGo)
    new.wire.drop("gone")
    world.settle()
    one.says(PunchWant(2).encode())
    assert parse_from_rendezvous(one.heard()[-1]) == PunchNo(2, PunchRefusal.ABSENT)


def test_a_worker_that_takes_no_answers_is_not_read_for_ever(make: Make) -> None:
    world = make()
    one = offered(world, 1)
    one.wire.pause_reading()
    for _ in range(100):
        one.says(*[PunchWant(2).encode()] * 1000)
    assert sum(len(end.out) for end in world.network.ends) > 1 << 20  # of which most waits at the worker
    assert world.relay.punching is not None
    assert world.relay.punching.broker.counts["no-absent"] < 50_000
    one.wire.resume_reading()
    world.settle()
    assert len(one.heard()) == 100_000

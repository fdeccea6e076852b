"""Which pairs punch, and when: the rendezvous's decisions, at a time that is an argument."""

from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.rendezvous._punching import RESULT_TIMEOUT, Party, PunchBroker, PunchLimits
from mu_twisted.wire import PeerError
from mu_twisted.wire.punching import (
    Candidate,
    CandidateKind,
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchOutcome,
    PunchResult,
    PunchWant,
    parse_from_rendezvous,
)

HOST = (Candidate(CandidateKind.HOST, "10.0.0.2", 4000),)


class World:
    """A broker, and what it says to whom."""

    def __init__(self, limits: PunchLimits | None = None, *, probe_port: int = 0, **options: Any) -> None:
        numbers = count(1)
        self.broker = PunchBroker(lambda: f"{next(numbers):032x}", limits, probe_port=probe_port, **options)
        self.now = 0.0
        self.heard: dict[Party, list[Any]] = {}

    def offer(self, task: int, *, job: str = "j", attempt: int = 0, rtt: int = 40_000, host: Any = HOST) -> Party:
        party = Party(job, task, attempt)
        self.say(party, Offer(rtt, host))
        return party

    def seen(self, party: Party) -> tuple[str, int]:
        return f"203.0.113.{party.task % 250}", 5000 + party.attempt

    def say(self, party: Party, what: Any) -> None:
        self.take(self.broker.received(party, self.seen(party), what.encode(), self.now))

    def take(self, messages: list[tuple[Party, bytes]]) -> None:
        for party, message in messages:
            self.heard.setdefault(party, []).append(parse_from_rendezvous(message))

    def hear(self, party: Party) -> list[Any]:
        """What it was sent since this was asked last."""
        return self.heard.pop(party, [])

    def probe(self, party: Party, *, mapped: bool = False) -> bool:
        """Show the token that a party was given, from the same port or from another."""
        [order] = [each for each in self.hear(party) if isinstance(each, ProbeOrder)]
        ip, port = self.seen(party)
        good, messages = self.broker.probed(order.token, (ip, port + mapped), self.now)
        self.take(messages)
        return good

    def pass_time(self, seconds: float) -> None:
        self.now += seconds
        self.take(self.broker.sweep(self.now))

    def want(self, party: Party, task: int) -> list[Any]:
        self.hear(party)
        self.say(party, PunchWant(task))
        return self.hear(party)


def reason(said: list[Any]) -> str:
    [refusal] = said
    assert isinstance(refusal, PunchNo)
    return refusal.reason


def test_both_are_ordered_in_one_turn_with_one_nonce_and_the_others_candidates() -> None:
    world = World()
    one, two = world.offer(1), world.offer(2, attempt=3)
    world.hear(two)
    [order] = world.want(one, 2)
    [back] = world.hear(two)
    assert (order.task, order.attempt, back.task, back.attempt) == (2, 3, 1, 0)
    assert order.nonce == back.nonce
    assert order.candidates == (*HOST, Candidate(CandidateKind.REFLEXIVE, "203.0.113.2", 5003))
    assert back.candidates == (*HOST, Candidate(CandidateKind.REFLEXIVE, "203.0.113.1", 5000))


@pytest.mark.parametrize(
    ("one", "two", "delays", "timeout"),
    [
        (40_000, 40_000, (0, 0), 2000),
        (2_000, 80_000, (39, 0), 2000),
        (80_000, 2_000, (0, 39), 2000),
        (1_000, 3_000, (1, 0), 1000),
        (9_999, 10_000, (0, 0), 1000),
        (10_000, 10_000, (0, 0), 2000),
        (0, 5_000_000, (1000, 0), 2000),
        (0, 999_999_999, (1000, 0), 2000),
    ],
)
def test_the_closer_one_waits_for_half_the_difference(
    one: int, two: int, delays: tuple[int, int], timeout: int
) -> None:
    world = World()
    first, second = world.offer(1, rtt=one), world.offer(2, rtt=two)
    world.hear(second)
    [order], [back] = world.want(first, 2), world.hear(second)
    assert (order.delay, back.delay) == delays
    assert order.timeout == back.timeout == timeout


def test_a_nonce_is_for_one_pair_and_one_punch() -> None:
    world = World(PunchLimits(tries=3))
    parties = [world.offer(task) for task in range(4)]
    orders = [world.want(party, task)[0] for party in parties for task in range(4) if party.task < task]
    assert len({order.nonce for order in orders}) == 6
    for outcome in (PunchOutcome.DIRECT, PunchOutcome.TLS):
        world.say(parties[0], PunchResult(1, 0, orders[0].nonce, outcome))
    world.say(parties[2], PunchResult(1, 0, orders[0].nonce, PunchOutcome.DIRECT))
    world.say(parties[0], PunchResult(1, 7, orders[0].nonce, PunchOutcome.DIRECT))
    world.say(parties[0], PunchResult(1, 0, "f" * 32, PunchOutcome.DIRECT))
    assert world.broker.counts["direct"] == 1
    assert world.broker.counts["tls"] == 0
    world.say(parties[1], PunchResult(0, 0, orders[0].nonce, PunchOutcome.TIMEOUT))
    world.say(parties[1], PunchResult(0, 0, orders[0].nonce, PunchOutcome.TIMEOUT))
    assert world.broker.counts["timeout"] == 1


def test_a_pair_has_two_tries_with_a_pause() -> None:
    world = World()
    one, two = world.offer(1), world.offer(2)

    def fail() -> None:
        for party, peer in ((one, 2), (two, 1)):
            [order] = [each for each in world.hear(party) if isinstance(each, PunchGo)]
            world.say(party, PunchResult(peer, 0, order.nonce, PunchOutcome.TIMEOUT))

    world.say(one, PunchWant(2))
    fail()
    assert reason(world.want(one, 2)) == "limit"
    world.pass_time(4.9)
    assert reason(world.want(two, 1)) == "limit"
    world.pass_time(0.1)
    world.say(two, PunchWant(1))
    fail()
    world.pass_time(60.0)
    assert reason(world.want(one, 2)) == reason(world.want(two, 1)) == "limit"
    assert world.broker.counts["begun"] == 2


def test_while_a_punch_is_under_way_another_want_is_answered_by_it() -> None:
    world = World()
    one, two = world.offer(1), world.offer(2)
    world.say(one, PunchWant(2))
    assert len(world.want(two, 1)) == 0
    assert world.broker.counts["begun"] == 1


@pytest.mark.parametrize("reported", [True, False])
def test_a_party_that_says_nothing_of_a_punch_blocks_no_other(reported: bool) -> None:
    world = World()
    one, _ = world.offer(1), world.offer(2)
    [order] = world.want(one, 2)
    if reported:
        world.say(one, PunchResult(2, 0, order.nonce, PunchOutcome.TIMEOUT))
        world.pass_time(5.0)
    else:
        world.pass_time(RESULT_TIMEOUT + 0.1)
    [again] = world.want(one, 2)
    assert isinstance(again, PunchGo)
    assert again.nonce != order.nonce


@pytest.mark.parametrize("varying", [1, 2])
def test_a_mapping_that_varies_goes_by_the_relay_at_once(varying: int) -> None:
    world = World(probe_port=7)
    parties = {task: world.offer(task) for task in (1, 2)}
    for task, party in parties.items():
        assert world.probe(party, mapped=task == varying)
    assert reason(world.want(parties[1], 2)) == reason(world.want(parties[2], 1)) == "edm"
    assert world.broker.counts["begun"] == 0


def test_a_want_waits_for_both_probes() -> None:
    world = World(probe_port=7)
    one, two, three = (world.offer(task) for task in (1, 2, 3))
    world.say(one, PunchWant(2))
    world.say(one, PunchWant(3))
    assert world.broker.counts["begun"] == 0
    assert world.probe(two)
    assert not world.hear(two)
    assert world.probe(one)
    assert [order.task for order in world.hear(one)] == [2]
    assert world.probe(three, mapped=True)
    assert reason(world.hear(one)) == "edm"


def test_a_probe_that_does_not_come_is_not_waited_for_long() -> None:
    world = World(probe_port=7)
    one, two = world.offer(1), world.offer(2)
    world.say(one, PunchWant(2))
    assert world.probe(two)
    world.pass_time(2.1)
    assert isinstance(world.hear(one)[-1], PunchGo)


def test_a_token_is_good_once_and_for_a_short_time() -> None:
    world = World(probe_port=7)
    one, two = world.offer(1), world.offer(2)
    [order] = world.hear(one)
    assert world.broker.probed(order.token, world.seen(one), world.now)[0]
    assert not world.broker.probed(order.token, world.seen(one), world.now)[0]
    assert not world.broker.probed("0" * 32, world.seen(one), world.now)[0]
    [late] = world.hear(two)
    assert not world.broker.probed(late.token, world.seen(two), world.now + 2.1)[0]


def test_a_mapped_ipv4_address_is_the_same_address() -> None:
    world = World(probe_port=7)
    party = Party("j", 1, 0)
    world.take(world.broker.received(party, ("::ffff:203.0.113.1", 5000), Offer(0, ()).encode(), 0.0))
    [order] = world.hear(party)
    assert order.reflexive.ip == "203.0.113.1"
    assert world.broker.probed(order.token, ("203.0.113.1", 5000), 0.0)[0]
    world.offer(2)
    world.pass_time(3.0)
    assert isinstance(world.want(party, 2)[0], PunchGo)


def test_who_is_not_there_is_absent() -> None:
    world = World()
    one = world.offer(1)
    assert reason(world.want(one, 2)) == "absent"
    assert reason(world.want(one, 1)) == "absent"
    world.offer(2, job="other")
    assert reason(world.want(one, 2)) == "absent"
    two = world.offer(2)
    world.broker.left(two, world.now)
    assert reason(world.want(one, 2)) == "absent"


def test_who_waits_for_a_probe_of_a_party_that_leaves_hears_that_it_is_absent() -> None:
    world = World(probe_port=7)
    one, two = world.offer(1), world.offer(2)
    assert world.probe(one)
    world.say(one, PunchWant(2))
    world.take(world.broker.left(two, world.now))
    assert reason(world.hear(one)) == "absent"


def test_a_higher_attempt_takes_the_place_of_a_lower_one() -> None:
    world = World()
    one, old = world.offer(1), world.offer(2)
    world.say(one, PunchWant(2))
    new = world.offer(2, attempt=1)
    [order] = world.want(one, 2)
    assert order.attempt == 1
    world.hear(old)
    assert reason(world.want(old, 1)) == "limit"
    world.offer(2)
    world.broker.left(old, world.now)
    assert isinstance(world.hear(new)[-1], PunchGo)
    assert len(world.broker) == 2


def test_where_it_is_off_every_want_is_refused() -> None:
    world = World(enabled=False, probe_port=7)
    one = world.offer(1)
    world.offer(2)
    assert not world.hear(one)
    assert reason(world.want(one, 2)) == "off"
    assert len(world.broker) == 0


def test_a_job_begins_so_many_punches_and_then_so_many_a_second() -> None:
    world = World(PunchLimits(burst=3, rate=2.0))
    parties = [world.offer(task) for task in range(8)]
    others = [world.offer(task, job="other") for task in range(2)]
    said = [world.want(parties[0], task)[0] for task in range(1, 6)]
    assert [isinstance(each, PunchGo) for each in said] == [True] * 3 + [False] * 2
    assert isinstance(world.want(others[0], 1)[0], PunchGo)
    world.pass_time(0.5)
    assert isinstance(world.want(parties[0], 6)[0], PunchGo)
    assert reason(world.want(parties[0], 7)) == "limit"


def test_a_party_has_so_many_punches_under_way() -> None:
    world = World(PunchLimits(pending=2))
    parties = [world.offer(task) for task in range(5)]
    for task in (1, 2):
        world.say(parties[0], PunchWant(task))
    assert reason(world.want(parties[0], 3)) == "limit"
    assert reason(world.want(parties[4], 0)) == "limit"
    world.broker.left(parties[1], world.now)
    assert isinstance(world.want(parties[0], 3)[0], PunchGo)


def test_what_parties_can_fill_is_bounded() -> None:
    world = World(PunchLimits(parties=3, waiting=1, peers=1), probe_port=7)
    one, _, three, four = (world.offer(task) for task in range(1, 5))
    assert len(world.broker) == 3
    assert not world.hear(four)
    assert reason(world.want(four, 1)) == "limit"
    world.say(one, PunchWant(2))
    assert reason(world.want(one, 3)) == "limit"
    world.pass_time(3.0)
    assert reason(world.want(three, 1)) == "limit"


def test_nothing_is_left_of_a_job_whose_parties_have_left() -> None:
    world = World(probe_port=7)
    parties = [world.offer(task) for task in range(20)]
    for party in parties:
        for task in range(20):
            world.say(party, PunchWant(task))
    world.pass_time(2.5)
    for party in parties:
        world.broker.left(party, world.now)
    world.pass_time(10.0)
    held = {name: value for name, value in vars(world.broker).items() if isinstance(value, dict) and name != "counts"}
    assert held
    assert not any(held.values())


@pytest.mark.parametrize(
    "message", [b"PUNCH_OFFER:1:reflexive/1.2.3.4/5000", b"PUNCH_WANT:x", b"PUNCH_", b"PUNCH_RESULT:1:2", b"", b"\xff"]
)
def test_a_malformed_message_is_the_partys_error(message: bytes) -> None:
    world = World()
    party = world.offer(1)
    with pytest.raises(PeerError):
        world.broker.received(party, world.seen(party), message, 0.0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("offer"), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("want"), st.integers(0, 4), st.integers(0, 4)),
        st.tuples(st.just("probe"), st.integers(0, 4), st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 4), st.integers(0, 2)),
        st.tuples(st.just("result"), st.integers(0, 4), st.sampled_from(PunchOutcome)),
        st.tuples(st.just("pass"), st.sampled_from([0.1, 1.0, 3.0, 9.0]), st.none()),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([0, 7]))
def test_in_any_course_orders_come_in_pairs_and_within_the_limits(steps: Any, probe_port: int) -> None:
    limits = PunchLimits(tries=2, pending=2)
    world = World(limits, probe_port=probe_port)
    current: dict[int, Party] = {}
    tokens: dict[int, str] = {}
    orders: list[tuple[Party, PunchGo, float]] = []

    def collect() -> None:
        for party in list(world.heard):
            for said in world.hear(party):
                if isinstance(said, PunchGo):
                    orders.append((party, said, world.now))
                if isinstance(said, ProbeOrder) and said.token:
                    tokens[party.task] = said.token

    for kind, first, second in steps:
        if kind == "offer":
            party = Party("j", first, second)
            if first not in current or current[first].attempt <= second:
                current[first] = party
            world.offer(first, attempt=second)
        elif kind == "want" and first in current:
            world.say(current[first], PunchWant(second))
        elif kind == "probe" and first in tokens:
            ip, port = world.seen(current.get(first, Party("j", first, 0)))
            world.take(world.broker.probed(tokens.pop(first), (ip, port + second), world.now)[1])
        elif kind == "leave":
            world.take(world.broker.left(Party("j", first, second), world.now))
        elif kind == "result":
            for party, order, _ in orders:
                if party.task == first:
                    world.say(party, PunchResult(order.task, order.attempt, order.nonce, second))
        elif kind == "pass":
            world.pass_time(first)
        collect()
    nonces: dict[str, list[tuple[Party, PunchGo, float]]] = {}
    for each in orders:
        nonces.setdefault(each[1].nonce, []).append(each)
    for pair in nonces.values():
        [(one, order, when), (two, back, then)] = pair
        assert (order.task, order.attempt, back.task, back.attempt) == (two.task, two.attempt, one.task, one.attempt)
        assert when == then
        assert one.task != two.task
    assert world.broker.counts["begun"] == len(nonces)

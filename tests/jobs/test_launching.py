"""The launches' policy in virtual time."""

import heapq
import itertools
import random
from collections import Counter, deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import examples

from mu_twisted.jobs import (
    ACCEPTED,
    Answer,
    Fault,
    LaunchOutcome,
    LaunchPolicy,
    LaunchScheduler,
    SendBatch,
    in_turn,
)


def accepted(launch_id: str) -> Answer:
    return Answer(launch_id, ACCEPTED)


class Play:
    """Drives the policy by its own alarms; ``answer(launch_id, try)`` is what the endpoint would say."""

    def __init__(self, policy, answer=lambda launch_id, number: accepted(launch_id), *, lasts=0.1, seed=0):
        self.launching = LaunchScheduler(policy, random.Random(seed).random)
        self.answer = answer
        self.lasts = lasts
        self.now = 0.0
        self.sent: list[tuple[float, str, tuple[str, ...]]] = []
        self.tries: Counter[str] = Counter()
        self.outcomes: dict[str, LaunchOutcome] = {}
        self.ended_at: dict[str, float] = {}
        self.events = []
        self.order = itertools.count()
        self.busy: set[str] = set()

    def submit(self, ids, regions=("us-east-1",)):
        self.carry_out(self.launching.submit(zip(ids, itertools.cycle(regions), strict=False), self.now))

    def later(self, delay, event):
        heapq.heappush(self.events, (self.now + delay, next(self.order), event))

    def carry_out(self, actions):
        for action in actions:
            if isinstance(action, LaunchOutcome):
                assert action.launch_id not in self.outcomes
                assert "\n" not in action.reason
                assert action.accepted == (action.reason == "")
                self.outcomes[action.launch_id] = action
                self.ended_at[action.launch_id] = self.now
            else:
                self.send(action)

    def send(self, batch: SendBatch):
        assert batch.region not in self.busy
        assert batch.launch_ids
        self.busy.add(batch.region)
        self.sent.append((self.now, batch.region, batch.launch_ids))
        answers = []
        for launch_id in batch.launch_ids:
            assert launch_id not in self.outcomes
            self.tries[launch_id] += 1
            answer = self.answer(launch_id, self.tries[launch_id])
            if answer is not None:
                answers.append(answer)
        self.later(self.lasts / 2, lambda: self.launching.answered(answers, self.now))
        self.later(self.lasts, lambda: self.end(batch.region))

    def end(self, region):
        self.busy.discard(region)
        return self.launching.batch_ended(region, "the batch failed", self.now)

    def run(self, until=float("inf")):
        for _ in range(100_000):
            wake = self.launching.wake_at(self.now)
            assert wake is None or wake >= self.now
            times = [self.events[0][0]] if self.events else []
            if wake is not None:
                times.append(wake)
            if not times or min(times) > until:
                return
            self.now = min(times)
            if self.events and self.events[0][0] <= self.now:
                self.carry_out(heapq.heappop(self.events)[2]())
            else:
                self.carry_out(self.launching.time_passed(self.now))
        raise AssertionError("it never ends")


def ids(count):
    return [f"l-{at}" for at in range(count)]


def test_a_thousand_go_at_once_and_the_rest_at_the_rate():
    play = Play(LaunchPolicy(rate=100, burst=1000))
    play.submit(ids(1500))
    assert [len(batch) for _, _, batch in play.sent] == [1000]
    play.run()
    assert play.now == pytest.approx(5.0, abs=0.3)
    assert len(play.outcomes) == 1500


def test_the_default_lets_a_thousand_go_at_once():
    play = Play(LaunchPolicy())
    play.submit(ids(1000))
    assert [len(batch) for _, _, batch in play.sent] == [1000]


def test_launches_are_sent_in_the_order_in_which_they_came():
    play = Play(LaunchPolicy(rate=50, burst=10))
    play.submit(ids(100))
    play.run()
    assert [launch_id for _, _, batch in play.sent for launch_id in batch] == ids(100)


def test_each_region_has_its_own_rate_and_the_number_is_spread_in_turn():
    assert in_turn(5, ["a", "b"]) == ["a", "b", "a", "b", "a"]
    play = Play(LaunchPolicy(rate=10, burst=10))
    play.submit(ids(20), ("a", "b"))
    assert {(at, region, len(batch)) for at, region, batch in play.sent} == {(0.0, "a", 10), (0.0, "b", 10)}


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_temporary_refusals_are_tried_again_with_growing_delays_up_to_the_limit(status):
    policy = LaunchPolicy(tries=5, first_delay=1.0, longest_delay=4.0)
    play = Play(policy, lambda launch_id, number: Answer(launch_id, status, "busy"))
    play.submit(["a"])
    play.run()
    times = [at for at, _, _ in play.sent]
    delays = [second - first for first, second in itertools.pairwise(times)]
    assert len(times) == 5
    for delay, most in zip(delays, [1.0, 2.0, 4.0, 4.0], strict=True):
        assert most / 2 <= delay - 0.05 <= most + 0.1
    assert play.outcomes["a"] == LaunchOutcome("a", False, status, "given up after 5 tries; the last answer: busy")


def test_lost_connections_are_tried_again_and_may_be_accepted():
    play = Play(
        LaunchPolicy(),
        lambda launch_id, number: (
            accepted(launch_id) if number == 3 else Answer(launch_id, 0, "reset", None, Fault.NO_ANSWER)
        ),
    )
    play.submit(["a"])
    play.run()
    assert play.outcomes["a"] == LaunchOutcome("a", True, ACCEPTED, "")
    assert play.tries["a"] == 3


@pytest.mark.parametrize("status", [400, 403, 404, 413, 200, 307])
def test_other_refusals_are_final(status):
    play = Play(LaunchPolicy(), lambda launch_id, number: Answer(launch_id, status, "no"))
    play.submit(["a"])
    play.run()
    assert play.outcomes["a"] == LaunchOutcome("a", False, status, "no")
    assert play.tries["a"] == 1


@pytest.mark.parametrize("fault", [Fault.NEVER, Fault.CANCELLED])
def test_what_cannot_work_and_what_was_cancelled_is_final(fault):
    play = Play(LaunchPolicy(), lambda launch_id, number: Answer(launch_id, 0, "why", fault=fault))
    play.submit(["a"])
    play.run()
    assert play.outcomes["a"] == LaunchOutcome("a", False, 0, "why")


def test_a_throttled_region_is_left_alone_as_long_as_it_asks():
    play = Play(
        LaunchPolicy(rate=1, burst=1, first_delay=0.0),
        lambda launch_id, number: (
            Answer(launch_id, 429, "", 7.0) if number == 1 and launch_id == "l-0" else accepted(launch_id)
        ),
    )
    play.submit(ids(3))
    play.run()
    assert play.sent[1][0] >= 7.0
    assert all(outcome.accepted for outcome in play.outcomes.values())


def test_an_expired_token_is_tried_once_more_at_once_and_then_final():
    once = Play(
        LaunchPolicy(tries=1),
        lambda launch_id, number: (
            accepted(launch_id) if number == 2 else Answer(launch_id, 403, "old", fault=Fault.EXPIRED)
        ),
    )
    once.submit(ids(10))
    once.run()
    assert all(outcome.accepted for outcome in once.outcomes.values())
    assert once.now < 0.5
    ever = Play(LaunchPolicy(), lambda launch_id, number: Answer(launch_id, 403, "old", fault=Fault.EXPIRED))
    ever.submit(["a"])
    ever.run()
    assert ever.outcomes["a"] == LaunchOutcome("a", False, 403, "old")
    assert ever.tries["a"] == 2


def test_at_the_deadline_what_waits_is_given_up_and_what_is_in_flight_answered():
    play = Play(LaunchPolicy(rate=1, burst=5, deadline=10.0), lasts=40.0)
    play.submit(ids(8))
    play.run(until=12.0)
    assert {launch_id: outcome.reason for launch_id, outcome in play.outcomes.items()} == dict.fromkeys(
        ["l-5", "l-6", "l-7"], "not sent within 10 s"
    )
    play.run()
    assert sum(outcome.accepted for outcome in play.outcomes.values()) == 5


def test_a_launch_that_waits_again_after_its_first_try_still_has_its_deadline():
    play = Play(LaunchPolicy(rate=0.01, burst=1, deadline=60.0), lambda launch_id, number: Answer(launch_id, 500, "x"))
    play.submit(["a"])
    play.run()
    assert play.ended_at["a"] == pytest.approx(60.0)
    assert play.outcomes["a"].reason == "not sent within 60 s; the last answer: x"


def test_cancelling_ends_what_waits_at_once_and_what_is_in_flight_with_its_answer():
    play = Play(LaunchPolicy(rate=1, burst=5), lambda i, number: accepted(i) if i == "l-0" else Answer(i, 500, "x"))
    play.submit(ids(8))
    play.carry_out(play.launching.cancel(play.now))
    assert {launch_id: outcome.reason for launch_id, outcome in play.outcomes.items()} == dict.fromkeys(
        ["l-5", "l-6", "l-7"], "cancelled"
    )
    play.run()
    assert play.outcomes["l-0"].accepted
    assert play.outcomes["l-1"] == LaunchOutcome("l-1", False, 500, "cancelled; the last answer: x")
    play.submit(["afterwards"])
    play.run()
    assert play.tries["afterwards"] > 1


def test_some_can_be_cancelled_and_the_others_go_out():
    play = Play(LaunchPolicy(rate=100, burst=2), lambda i, number: accepted(i))
    play.submit(ids(8))
    play.carry_out(play.launching.cancel(play.now, ["l-1", "l-3", "l-5", "unknown"]))
    play.run()
    assert sorted(i for i, outcome in play.outcomes.items() if not outcome.accepted) == ["l-3", "l-5"]
    assert len(play.outcomes) == 8
    assert play.tries["l-3"] == play.tries["l-5"] == 0


def test_what_a_failed_batch_left_unanswered_is_settled_with_its_reason():
    play = Play(LaunchPolicy(), lambda launch_id, number: None)
    play.submit(ids(3))
    play.run()
    assert set(play.outcomes.values()) == {LaunchOutcome(i, False, 0, "the batch failed") for i in ids(3)}


def test_an_identifier_in_use_is_refused_and_nothing_of_that_call_is_taken():
    play = Play(LaunchPolicy())
    play.submit(["a"])
    for wanted in (["b", "a"], ["b", "b"]):
        with pytest.raises(ValueError, match="in use"):
            play.submit(wanted)
    assert play.launching.pending == 1


def test_answers_of_unknown_launches_are_ignored():
    play = Play(LaunchPolicy())
    play.submit(["a"])
    answers = [accepted("a"), accepted("a"), accepted("other"), Answer("a", 500, "late")]
    play.carry_out(play.launching.answered(answers, 0.0))
    play.run()
    assert play.outcomes == {"a": LaunchOutcome("a", True, ACCEPTED, "")}


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0}, {"burst": 0}, {"tries": 0}, {"deadline": 0}, {"first_delay": -1}, {"first_delay": 20.0}],
)
def test_a_policy_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(ValueError, match="policy"):
        LaunchPolicy(**wrong)


ANSWERS = st.sampled_from(
    [
        (ACCEPTED, None, None),
        (ACCEPTED, None, None),
        (429, 2.0, None),
        (429, None, None),
        (500, None, None),
        (503, 0.5, None),
        (400, None, None),
        (403, None, Fault.EXPIRED),
        (0, None, Fault.NO_ANSWER),
        (0, None, Fault.NEVER),
        None,
    ]
)


@settings(max_examples=examples(150), deadline=None)
@given(
    policy=st.builds(
        LaunchPolicy,
        rate=st.floats(0.5, 200),
        burst=st.integers(1, 50),
        tries=st.integers(1, 6),
        first_delay=st.floats(0, 2),
        longest_delay=st.floats(2, 10),
        deadline=st.floats(0.1, 60),
    ),
    calls=st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), min_size=1, max_size=4),
    regions=st.integers(1, 3),
    script=st.lists(ANSWERS, min_size=1, max_size=60),
    lasts=st.floats(0.001, 5),
    cancel=st.none() | st.floats(0, 30),
    seed=st.integers(0, 9),
)
def test_whatever_comes_each_launch_has_one_outcome_in_time_within_tries_and_rate(
    policy, calls, regions, script, lasts, cancel, seed
):
    said = deque(script)
    renewals: set[str] = set()

    def answer(launch_id, number):
        said.rotate(-1)
        if said[0] is None:
            return None
        status, wait, fault = said[0]
        if fault is Fault.EXPIRED:
            renewals.add(launch_id)
        return Answer(launch_id, status, "" if status == ACCEPTED else "why", wait, fault)

    play = Play(policy, answer, lasts=lasts, seed=seed)
    names = [f"region-{at}" for at in range(regions)]
    submitted_at: dict[str, float] = {}
    for number, (at, count) in enumerate(calls):
        wanted = [f"{number}-{launch}" for launch in range(count)]

        def submit(wanted=wanted):
            submitted_at.update(dict.fromkeys(wanted, play.now))
            play.submit(wanted, names)
            return []

        play.later(at, submit)
    if cancel is not None:
        play.later(cancel, lambda: play.launching.cancel(play.now))
    play.run()

    assert set(play.outcomes) == set(submitted_at)
    assert play.launching.pending == 0
    for launch_id in submitted_at:
        assert play.tries[launch_id] <= policy.tries + (launch_id in renewals)
        assert play.ended_at[launch_id] <= submitted_at[launch_id] + policy.deadline + lasts + 1e-6
    for name in names:
        batches = [(at, len(batch)) for at, region, batch in play.sent if region == name]
        for first, (begin, _) in enumerate(batches):
            total = 0
            for at, size in batches[first:]:
                total += size
                assert total <= policy.burst + (at - begin) * policy.rate + 1e-3


def test_a_launch_may_have_fewer_tries_than_the_policy_gives():
    play = Play(LaunchPolicy(tries=8), answer=lambda launch_id, number: Answer(launch_id, 429, "slow"))
    play.carry_out(play.launching.submit([("hasty", "a"), ("patient", "a")], play.now, tries={"hasty": 2}))
    play.run()
    assert play.tries == {"hasty": 2, "patient": 8}
    assert play.outcomes["hasty"].reason == "given up after 2 tries; the last answer: slow"


@pytest.mark.parametrize("status", [408, 409])
def test_a_function_not_ready_yet_is_waited_for_until_the_deadline(status):
    policy = LaunchPolicy(tries=2, first_delay=1.0, longest_delay=60.0, deadline=100.0, wake_delay=4.0)
    play = Play(policy, lambda launch_id, number: Answer(launch_id, status, "it is Pending"))
    play.submit(["a"])
    play.run()
    assert play.tries["a"] > 20
    assert 90 < play.ended_at["a"] <= 100
    reason = f"given up after {play.tries['a']} tries within 100 s; the last answer: it is Pending"
    assert play.outcomes["a"] == LaunchOutcome("a", False, status, reason)
    ready = Play(policy, lambda launch_id, number: Answer(launch_id, status) if number < 9 else accepted(launch_id))
    ready.submit(["a"])
    ready.run()
    assert ready.outcomes["a"].accepted


def test_where_other_places_can_have_a_launch_no_function_is_waited_for():
    play = Play(LaunchPolicy(), lambda launch_id, number: Answer(launch_id, 409, "it is Pending"))
    play.carry_out(play.launching.submit([("a", "us-east-1")], 0.0, tries={"a": 3}))
    play.run()
    assert (play.tries["a"], play.outcomes["a"].accepted) == (3, False)
    assert play.now < 5


def test_many_tries_make_no_delay_that_cannot_be_counted():
    policy = LaunchPolicy(first_delay=0.001, longest_delay=0.001, wake_delay=0.001, deadline=120.0)
    play = Play(policy, lambda launch_id, number: Answer(launch_id, 409) if number < 1100 else accepted(launch_id))
    play.submit(["a"])
    play.run()
    assert play.outcomes["a"].accepted


@pytest.mark.parametrize("status", [400, 403, 404, 410, 413, 415])
def test_what_will_not_pass_ends_a_launch_at_once(status):
    play = Play(LaunchPolicy(), lambda launch_id, number: Answer(launch_id, status, "no"))
    play.submit(["a"])
    play.run()
    assert (play.tries["a"], play.outcomes["a"].reason) == (1, "no")

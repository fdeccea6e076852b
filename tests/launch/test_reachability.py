"""An endpoint that never answered is given up soon, and no other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.jobs import Answer, Fault, LaunchOutcome, LaunchPolicy, LaunchScheduler, SendBatch
from mu_twisted.launch._region import UNREACHED_TIME, Reachability


def test_an_endpoint_that_was_never_tried_is_not_given_up():
    assert not Reachability().hopeless(1e9)


@pytest.mark.parametrize("first", [True, False])
def test_an_endpoint_that_answered_once_is_not_given_up(first):
    reachability = Reachability()
    reachability.tried([first, not first, False], 0.0)
    reachability.tried([False], 100.0)
    assert not reachability.hopeless(100.0)


def test_an_endpoint_that_never_answered_is_given_up_after_a_while():
    reachability = Reachability()
    reachability.tried([False], 7.0)
    assert not reachability.hopeless(7.0 + UNREACHED_TIME - 0.1)
    assert reachability.hopeless(7.0 + UNREACHED_TIME)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 30))
def test_launches_to_an_absent_endpoint_end_within_five_seconds_and_three_tries(randoms, count):
    launching = LaunchScheduler(LaunchPolicy(), itertools.cycle(randoms).__next__)
    reachability, now, ends, tries = Reachability(), 0.0, {}, dict.fromkeys(range(count), 0)
    actions = launching.submit([(str(number), "r") for number in range(count)], now)
    while launching.pending:
        for action in actions:
            if isinstance(action, LaunchOutcome):
                ends[action.launch_id] = now
        sent = [action for action in actions if isinstance(action, SendBatch)]
        if not sent:
            now = launching.wake_at(now)
            actions = launching.time_passed(now)
            continue
        reachability.tried([False] * len(sent[0].launch_ids), now)
        fault = Fault.NEVER if reachability.hopeless(now) else Fault.NO_ANSWER
        for launch_id in sent[0].launch_ids:
            tries[int(launch_id)] += 1
        actions = launching.answered([Answer(one, 0, "refused", fault=fault) for one in sent[0].launch_ids], now)
        actions += launching.batch_ended("r", "", now)
    assert now <= 5.0
    assert min(tries.values()) > 2

"""How jobs share workers and launches, and how fast launches go out where the endpoint throttles."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from job_driver import Play, assigns, kinds

from mu_twisted.jobs import (
    Answer,
    Dismiss,
    Grant,
    LaunchAdmission,
    LaunchPolicy,
    LaunchScheduler,
    SendBatch,
    fair_shares,
)

WANTED = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1)


def ids(count: int) -> list[str]:
    return [f"0-{number}" for number in range(count)]


@given(st.integers(1, 100), WANTED)
def test_shares_are_fair_and_no_more_than_there_are_or_are_wanted(workers: int, wanted: dict[str, int]) -> None:
    shares = fair_shares(workers, wanted)
    assert shares.keys() == wanted.keys()
    assert all(min(count, 1) <= shares[job] <= count for job, count in wanted.items())
    assert sum(shares.values()) <= max(workers, len(wanted))
    if sum(wanted.values()) <= workers:
        assert shares == wanted
    elif workers >= len(wanted):
        assert sum(shares.values()) == workers
        short = [job for job in wanted if shares[job] < wanted[job]]
        assert all(shares[job] + 1 >= max(shares.values()) for job in short)


def test_launches_of_jobs_go_out_in_turn_and_no_more_than_may_be_unanswered() -> None:
    admission = LaunchAdmission(unanswered=5)
    admission.ask("a", ids(10))
    admission.ask("b", ids(2))
    assert admission.grants({"a": 10, "b": 2}) == [
        Grant("a", ("0-0", "0-1", "0-2")),
        Grant("b", ("0-0", "0-1")),
    ]
    assert admission.grants({"a": 10, "b": 2}) == []
    assert (admission.state.unanswered, admission.state.waiting, admission.state.in_flight) == (5, {"a": 7}, 5)
    admission.answered("a", ["0-0", "unknown"])
    admission.answered("b", ["0-1"])
    assert admission.grants({"a": 10, "b": 2}) == [Grant("a", ("0-3", "0-4"))]
    assert admission.drop("a") == ids(10)[5:]
    assert admission.drop("a") == []
    assert admission.grants({"a": 5, "b": 2}) == []


def test_no_more_workers_are_in_flight_than_the_coordinator_may_have() -> None:
    admission = LaunchAdmission(4)
    admission.ask("a", ids(3))
    admission.ask("b", ids(3))
    assert admission.grants({"a": 3, "b": 3}) == [Grant("a", ("0-0", "0-1")), Grant("b", ("0-0", "0-1"))]
    admission.answered("a", ids(3))
    admission.answered("b", ids(3))
    assert admission.grants({"a": 3, "b": 3}) == []
    assert admission.grants({"a": 2, "b": 3}) == [Grant("a", ("0-2",))]


@given(st.data())
def test_whatever_is_asked_goes_out_once_and_in_order_or_is_dropped(data: st.DataObject) -> None:
    limit, window = data.draw(st.none() | st.integers(1, 20)), data.draw(st.integers(1, 10))
    admission = LaunchAdmission(limit, unanswered=window)
    requested: dict[str, list[str]] = {}
    granted: dict[str, list[str]] = {}
    dropped: dict[str, int] = {}
    there = dict.fromkeys("ab", 0)
    unanswered: list[tuple[str, str]] = []
    for _ in range(data.draw(st.integers(1, 40))):
        job = data.draw(st.sampled_from("ab"))
        match data.draw(st.sampled_from(["ask", "answer", "leave", "drop", "look"])):
            case "ask":
                more = [f"{len(requested.get(job, [])) + at}" for at in range(data.draw(st.integers(1, 8)))]
                requested.setdefault(job, []).extend(more)
                admission.ask(job, more)
            case "answer" if unanswered:
                whose, launch_id = unanswered.pop(0)
                admission.answered(whose, [launch_id])
            case "leave" if there[job]:
                there[job] -= 1
            case "drop":
                gone = admission.drop(job)
                dropped[job] = dropped.get(job, 0) + len(gone)
                requested[job] = requested.get(job, [])[: len(requested.get(job, [])) - len(gone)]
            case _:
                waiting = admission.state.waiting
                for grant in admission.grants({job: count + waiting.get(job, 0) for job, count in there.items()}):
                    granted.setdefault(grant.job, []).extend(grant.launch_ids)
                    there[grant.job] += len(grant.launch_ids)
                    unanswered += [(grant.job, launch_id) for launch_id in grant.launch_ids]
                assert len(unanswered) <= window
                if limit is not None:
                    assert sum(there.values()) <= limit
    for job, launch_ids in granted.items():
        assert launch_ids == requested[job][: len(launch_ids)]


def test_an_admission_without_room_is_refused() -> None:
    for wrong in ({"workers": 0}, {"unanswered": 0}):
        with pytest.raises(ValueError, match="at least one worker"):
            LaunchAdmission(**wrong)


def test_ceilings_hold_only_where_jobs_want_more_than_there_is() -> None:
    assert LaunchAdmission().ceilings({"a": 1000}) == {"a": None}
    assert LaunchAdmission(10).ceilings({"a": 4, "b": 6}) == {"a": None, "b": None}
    assert LaunchAdmission(10).ceilings({"a": 4, "b": 100}) == {"a": 4, "b": 6}


def test_a_job_that_shares_lets_workers_go_as_tasks_end_and_takes_more_later() -> None:
    play = Play(tasks=10, max_workers=4)
    for worker in range(4):
        play.come(worker)
    assert play.job.wanted_workers == 4
    assert play.take(play.job.allow_workers(2, play.now)) == []
    assert play.job.wanted_workers == play.job.in_flight == 4
    assert play.done(0) == [Dismiss(0, "no task is left for it")]
    assert kinds(play.done(1)) == ["Dismiss"]
    assert kinds(play.done(2)) == ["Warm"]
    play.warm(2)
    play.now = 10.0
    play.take(play.job.allow_workers(None, play.now))
    assert len(play.launched) == 6
    assert assigns(play.come(5)) == [(5, 5, 0)]


def test_a_job_that_has_to_share_sends_spares_home_at_once() -> None:
    play = Play(tasks=2, max_workers=2, overprovision=1)
    for worker in range(3):
        play.come(worker)
    assert play.take(play.job.allow_workers(1, play.now)) == [Dismiss(2, "other jobs have use for it")]


# -- throttling --------------------------------------------------------------------------------------------------------


def sent(actions: list[object]) -> list[str]:
    return [launch_id for action in actions if isinstance(action, SendBatch) for launch_id in action.launch_ids]


def test_throttling_slows_all_launches_of_the_region_and_wears_off() -> None:
    launching = LaunchScheduler(LaunchPolicy(rate=100, burst=100, first_delay=50.0, longest_delay=50.0), lambda: 1.0)
    launching.submit([(f"a-{at}", "r") for at in range(1000)], 0.0)
    assert launching.paces()[0].in_flight == 100
    assert not launching.paces()[0].throttled
    launching.answered([Answer(f"a-{at}", 429, "too many") for at in range(100)], 0.5)
    launching.batch_ended("r", "", 0.5)
    [pace] = launching.paces()
    assert pace.throttled
    assert pace.rate == 50.0  # one halving for one burst
    count, now = 0, 0.5
    while now < 4.5:
        now = max(launching.wake_at(now) or now, now + 0.01)
        batch = sent(list(launching.time_passed(now)))
        count += len(batch)
        launching.answered([Answer(launch_id, 202) for launch_id in batch], now)
        launching.batch_ended("r", "", now)
    assert 200 <= count <= 230
    launching.time_passed(60.0)
    assert not launching.paces()[0].throttled


def test_throttling_without_end_leaves_a_trickle() -> None:
    policy = LaunchPolicy(rate=64, burst=10, tries=10_000, first_delay=0.0, longest_delay=0.0, deadline=1000.0)
    launching = LaunchScheduler(policy, lambda: 1.0)
    flying = sent(list(launching.submit([(f"a-{at}", "r") for at in range(50)], 0.0)))
    now, times = 0.0, []
    while now < 100.0:
        if flying:
            now += 0.05
            launching.answered([Answer(launch_id, 429) for launch_id in flying], now)
            flying = sent(list(launching.batch_ended("r", "", now)))
        else:
            now = max(launching.wake_at(now) or now, now + 0.001)
            flying = sent(list(launching.time_passed(now)))
        times += [now] * len(flying)
    [pace] = launching.paces()
    assert 1.0 <= pace.rate <= 4.0
    assert 50 <= sum(at >= 50.0 for at in times) <= 200
    assert launching.pending == 50

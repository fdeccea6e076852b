"""Workers that try to fill the coordinator's memory, each in another way, and what it holds then."""

import itertools
from collections.abc import Callable, Iterator

import pytest
from fuzz_memory import ALLOWED, FIRST, Flooded, grown, hostile, resident

from mu_twisted import wire
from mu_twisted.fsm import Machine, Outcome
from mu_twisted.jobs import Job, JobPolicy, _ledger

MIB = 1 << 20


def keys(length: int) -> Iterator[bytes]:
    return (wire.info(b"k%d" % number + b"x" * length, b"v") for number in itertools.count())


def values(length: int) -> Iterator[bytes]:
    return (wire.info(b"k%d" % (number % 999), b"%d" % number + b"x" * length) for number in itertools.count())


def replies(length: int) -> Iterator[bytes]:
    return (b"OK:%d(" % number + b"x" * length for number in itertools.count())


WAYS: dict[str, tuple[str, Callable[[], Iterator[bytes]], int]] = {
    "long keys": ("watching", lambda: keys(3 * MIB - 100), 40),
    "keys of a KiB": ("listening", lambda: keys(1000), 40_000),
    "long values": ("listening", lambda: values(64_000), 1000),
    "strange bytes": ("listening", lambda: (b"INFO:%d\xff:\xfe" % number for number in itertools.count()), 20_000),
    "states that show values": ("watching", lambda: values(60_000), 1000),
    "replies held back": ("holding", lambda: replies(2 * MIB), 50),
    "small replies held back": ("holding", lambda: replies(10), 20_000),
    "everything": ("listening", lambda: hostile(1), 15_000),
    "everything, shown": ("watching", lambda: hostile(2), 15_000),
    "everything, held back": ("holding", lambda: hostile(3), 15_000),
}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_worker_says_does_not_stay(way: str) -> None:
    first, messages, count = WAYS[way]
    assert grown(first, messages(), count, settled=max(1, count // 10)) < ALLOWED


@pytest.mark.long
@pytest.mark.parametrize("first", FIRST)
def test_a_million_messages_hold_no_more_memory_than_ten_thousand(first: str, tried: Callable[[str], None]) -> None:
    more = grown(first, hostile(7), 1_000_000)
    tried(f"10^6 messages to tasks that are {first}: {more / MIB:+.1f} MiB since the first 10^4")
    assert more < ALLOWED


async def listen(w: object) -> None:
    """Has no end of its own."""
    while True:
        await w.informed()  # type: ignore[attr-defined]


def told(*messages: bytes) -> Machine:
    machine = Machine(listen)
    machine.start()
    machine.receive([b"OK:HELLO"])
    machine.receive(messages)
    return machine


@pytest.mark.parametrize(
    "messages",
    [
        [wire.info(b"k" * 1025, b"")],
        [wire.info(b"k%d" % number, b"x" * 65_000) for number in range(17)],
        [wire.info(b"k%d" % number + b"y" * 1000, b"x" * 1000) for number in range(600)],
        [wire.info(b"k%d" % number, b"") for number in range(1001)],
    ],
    ids=["a long key", "long values", "keys and values", "many keys"],
)
def test_an_info_for_which_there_is_no_room_fails_its_task(messages: list[bytes]) -> None:
    machine = told(*messages)
    assert machine.outcome is Outcome.FAILED
    assert machine.error is not None
    assert "is refused: at most 1000 keys of 1024 bytes are kept" in machine.error
    assert "in all" in machine.error


def test_values_that_take_the_place_of_others_are_not_added_up() -> None:
    machine = told(*(wire.info(b"k%d" % (number % 10), b"x" * 65_000) for number in range(1000)))
    assert machine.outcome is Outcome.RUNNING
    assert len(machine.info) == 10


def test_what_the_states_have_taken_out_of_info_counts_no_more() -> None:
    machine = Machine(listen)
    machine.receive([b"OK:HELLO"])
    for number in range(5000):
        machine.receive([wire.info(b"k%d" % number, b"x" * 65_000)])
        machine.info.clear()
    assert machine.outcome is Outcome.RUNNING


def test_the_errors_of_a_job_have_a_bound_and_the_same_after_a_restart() -> None:
    tasks = _ledger.MAX_TEXTS // 2000 + 100
    job = Job("j", range(tasks), JobPolicy(retries=0, max_workers=1))
    records = [action.record for action in job.start(0.0) if hasattr(action, "record")]
    for number in range(tasks):
        records += [a.record for a in job.worker_greeted(number, None, 0.0, reusable=False) if hasattr(a, "record")]
        records += [a.record for a in job.task_failed(number, "x" * 3000, 0.0) if hasattr(a, "record")]
    assert job.over
    held = sum(map(len, job.failures.values()))
    assert held <= _ledger.MAX_TEXTS + tasks * _ledger.SHORT_TEXT
    assert sorted(map(len, set(job.failures.values()))) == [_ledger.SHORT_TEXT, 2000]
    assert Job.restore(records).failures == job.failures


def test_the_remarks_of_a_job_have_the_same_bound_and_share_it_with_its_errors() -> None:
    tasks = _ledger.MAX_TEXTS // 2000 + 100
    job = Job("j", range(tasks), JobPolicy(retries=0, max_workers=1))
    records = [action.record for action in job.start(0.0) if hasattr(action, "record")]
    for number in range(tasks):
        records += [a.record for a in job.worker_greeted(number, None, 0.0, reusable=False) if hasattr(a, "record")]
        ended = job.task_failed(number, "x" * 2000, 0.0) if number % 2 else job.task_done(number, 0.0, "y" * 2000)
        records += [a.record for a in ended if hasattr(a, "record")]
    assert len(job.remarks) == tasks - len(job.failures)
    held = sum(map(len, (*job.remarks.values(), *job.failures.values())))
    assert held <= _ledger.MAX_TEXTS + tasks * _ledger.SHORT_TEXT
    assert sorted(map(len, set(job.remarks.values()))) == [_ledger.SHORT_TEXT, 2000]
    assert Job.restore(records).remarks == job.remarks


@pytest.mark.parametrize("member", ["version", "deadline_ms", "memory_mb"])
def test_a_number_of_a_greeting_that_no_journal_could_keep_is_refused(member: str) -> None:
    with pytest.raises(wire.WireError, match=f"the greeting's {member} is not of type int"):
        wire.parse_greeting(b'OK:HELLO:{"version":1,"%s":%s}' % (member.encode(), b"9" * 400))


def test_the_oracle_notices_what_stays() -> None:
    flooded, kept = Flooded(FIRST["listening"]), []
    before = resident()
    messages = (kept.append(message) or message for message in values(64_000))  # type: ignore[func-returns-value]
    flooded.say(messages, 1000)
    assert resident() - before > ALLOWED

"""The coordinator's connection to a rendezvous, with the rendezvous in memory and a clock that stands still."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs, formatEvent

from mu_twisted.coordinator import RendezvousLink
from mu_twisted.transport import Receiver, TransportError


class Relay:
    """What the link dials, and the one connection that it has."""

    def __init__(self) -> None:
        self.there = True
        self.dialled = 0
        self.link: Any = None
        self.heard: list[bytes] = []
        self.max_frame = 0
        self.up = False
        self.slow = False
        self.calls: list[Deferred[Any]] = []

    def dial(self, receiver: Receiver) -> Deferred[Any]:
        self.dialled += 1
        self.link = receiver
        if self.slow:
            self.calls.append(Deferred())
            return self.calls[-1]
        if not self.there:
            return fail(TransportError("cannot connect: refused"))
        self.answers()
        return succeed(self)

    def answers(self) -> None:
        """The connection is made; who waits for a slow one hears of it."""
        self.up = True
        self.link.connected(self)
        for call in self.calls:
            call.callback(self)
        self.calls.clear()

    def send(self, *payloads: bytes) -> None:
        self.heard += payloads

    def close(self) -> None:
        self.breaks()

    def says(self, *payloads: bytes) -> None:
        self.link.frames_received(list(payloads))

    def breaks(self) -> None:
        if self.up:
            self.up = False
            self.link.disconnected("closed by the peer")

    def takes(self) -> list[bytes]:
        heard, self.heard = self.heard, []
        return heard


class Told:
    def __init__(self) -> None:
        self.events: list[Any] = []
        self.away: list[str] = []

    def messages_resent(self, task: int) -> None:
        self.events.append(-task)

    def messages_lost(self, task: int) -> None:
        self.events.append(task)

    def store_named(self, store: str) -> None:
        self.events.append(store)

    def store_unreachable(self, why: str) -> None:
        self.away.append(why)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def relay() -> Relay:
    return Relay()


@pytest.fixture
def link(clock: Clock, relay: Relay) -> RendezvousLink:
    link = RendezvousLink(clock, relay.dial, "127.0.0.1:13337")
    Deferred.fromCoroutine(link.open())
    return link


def test_a_job_is_told_at_once_and_again_every_minute(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    link.add("j", Told(), {"spill": 5})
    assert relay.takes() == [b'JOB:j:{"spill":5}']
    clock.pump([30.0] * 4)
    assert relay.takes() == [b'JOB:j:{"spill":5}'] * 2
    link.remove("j")
    link.remove("j")
    assert relay.takes() == [b"END:j"]
    clock.pump([30.0] * 4)
    assert relay.takes() == []


def test_what_the_rendezvous_lost_reaches_the_job_that_it_was_of(relay: Relay, link: RendezvousLink) -> None:
    told, other = Told(), Told()
    link.add("j", told)
    link.add("k", other)
    relay.says(b"OK:JOB:j:aa", b"OK:JOB:k:bb", b"LOST:j:3", b"LOST:gone:3", b"OK:JOB:j:aa", b"nonsense", b"END:j")
    relay.says(b"RESENT:k:4", b"RESENT:gone:4")
    assert (told.events, other.events) == (["aa", 3, "aa"], ["bb", -4])


def test_a_rendezvous_that_went_is_dialled_until_it_is_back(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    told = Told()
    link.add("j", told)
    relay.takes()
    relay.there = False
    relay.breaks()
    clock.pump([0.25] * 400)
    assert 15 < relay.dialled < 30
    relay.there = True
    clock.advance(5.0)
    assert relay.takes() == [b"JOB:j:{}"]
    relay.says(b"OK:JOB:j:bb")
    assert told.events == ["bb"]


def test_a_link_with_a_job_dials_until_the_rendezvous_is_there(clock: Clock, relay: Relay) -> None:
    relay.there = False
    link = RendezvousLink(clock, relay.dial, "x")
    link.add("j", Told())
    link.add("k", Told())
    relay.there = True
    clock.advance(5.0)
    assert relay.takes() == [b"JOB:j:{}", b"JOB:k:{}"]


def opens(link: RendezvousLink) -> list[Any]:
    """What comes of opening it, as soon as something does: None, or a failure."""
    outcome: list[Any] = []
    Deferred.fromCoroutine(link.open()).addBoth(outcome.append)
    return outcome


def test_all_who_open_it_at_once_wait_for_one_dialling(clock: Clock, relay: Relay) -> None:
    relay.slow = True
    link = RendezvousLink(clock, relay.dial, "x")
    one, other = opens(link), opens(link)
    link.add("j", Told())
    assert (one, other, relay.dialled) == ([], [], 1)
    relay.answers()
    assert (one, other, opens(link)) == ([None], [None], [None])
    assert relay.takes() == [b"JOB:j:{}"]
    link.close()
    assert not relay.up
    assert not clock.getDelayedCalls()


def test_opening_one_that_is_down_waits_until_it_is_up(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    link.add("j", Told())
    relay.there = False
    relay.breaks()
    clock.pump([1.0] * 60)
    (outcome,) = opens(link)
    assert outcome.check(TransportError)
    relay.slow = True
    waiting = opens(link)
    assert waiting == []
    relay.answers()
    assert waiting == [None]


def test_opening_does_not_wait_for_ever_for_one_that_does_not_answer(clock: Clock, relay: Relay) -> None:
    relay.slow = True
    waiting = opens(RendezvousLink(clock, relay.dial, "x"))
    clock.advance(60.0)
    assert waiting[0].check(TransportError)
    assert "did not answer" in waiting[0].getErrorMessage()


def test_who_waits_when_it_is_closed_is_told(clock: Clock, relay: Relay) -> None:
    relay.slow = True
    link = RendezvousLink(clock, relay.dial, "x")
    waiting = opens(link)
    link.close()
    assert waiting[0].check(TransportError)
    assert opens(link)[0].check(TransportError)
    assert not clock.getDelayedCalls()


def test_without_jobs_one_that_went_is_not_dialled_again(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    link.add("j", Told())
    link.remove("j")
    relay.breaks()
    clock.pump([1.0] * 3600)
    assert relay.dialled == 1
    assert not clock.getDelayedCalls()


def test_one_that_no_job_uses_is_left_and_dialled_for_the_next_job(
    clock: Clock, relay: Relay, link: RendezvousLink
) -> None:
    link.add("j", Told())
    link.remove("j")
    link.add("k", Told())
    clock.pump([1.0] * 150)
    assert relay.up
    link.remove("k")
    clock.pump([1.0] * 61)
    assert not relay.up
    assert not clock.getDelayedCalls()
    relay.takes()
    link.add("l", Told())
    assert relay.takes() == [b"JOB:l:{}"]


def test_a_job_that_comes_while_it_takes_its_leave_is_told_over_the_next_connection(
    clock: Clock, relay: Relay, link: RendezvousLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "close", lambda: None)  # takes its time
    clock.advance(60.0)
    link.add("j", Told())
    waiting = opens(link)
    assert (relay.takes(), waiting) == ([], [])
    relay.breaks()
    assert (relay.takes(), waiting, relay.dialled) == ([b"JOB:j:{}"], [None], 2)


def test_one_that_refuses_us_after_the_handshake_is_dialled_less_and_less(clock: Clock, relay: Relay) -> None:
    link = RendezvousLink(clock, relay.dial, "x")
    link.add("j", Told())
    for _ in range(400):
        relay.breaks()
        clock.advance(0.25)
    assert relay.dialled < 30


def test_after_its_close_nothing_is_dialled(clock: Clock, relay: Relay, link: RendezvousLink) -> None:
    relay.there = False
    relay.breaks()
    link.close()
    clock.pump([10.0] * 10)
    assert relay.dialled == 1
    assert not clock.getDelayedCalls()


def test_a_rendezvous_that_is_not_there_is_an_error_of_the_first_dialling(clock: Clock, relay: Relay) -> None:
    relay.there = False
    failed = Deferred.fromCoroutine(RendezvousLink(clock, relay.dial, "x").open())
    errors: list[Any] = []
    failed.addErrback(errors.append)
    assert errors[0].check(TransportError)
    assert not clock.getDelayedCalls()


def warnings(events: list[Any]) -> list[str]:
    return [str(formatEvent(event)) for event in events if event["log_level"] >= LogLevel.warn]


@pytest.mark.parametrize("jobs", [1, 7])
def test_a_rendezvous_that_stays_away_is_one_line_and_each_job_hears_of_it(
    clock: Clock, relay: Relay, link: RendezvousLink, jobs: int
) -> None:
    told = [Told() for _ in range(jobs)]
    with capturedLogs() as events:
        for number, each in enumerate(told):
            link.add(f"j{number}", each)
            relay.says(b"OK:JOB:j%d:aa" % number)
        assert [each.away for each in told] == [[]] * jobs
        relay.there = False
        relay.breaks()
        clock.pump([1.0] * 300)
    assert warnings(list(events)) == [
        "the rendezvous at 127.0.0.1:13337 is away (closed by the peer): tasks that need it are held until it is back"
    ]
    assert all(each.away[0] == "the rendezvous at 127.0.0.1:13337 is away (closed by the peer)" for each in told)
    assert all(each.away[-1].endswith("is away (cannot connect: refused)") for each in told)
    with capturedLogs() as events:
        relay.there = True
        clock.advance(5.0)
        assert [each.events for each in told] == [["aa"]] * jobs
        for number in range(jobs):
            relay.says(b"OK:JOB:j%d:bb" % number)
        relay.breaks()
    assert [each.events for each in told] == [["aa", "bb"]] * jobs
    assert len(warnings(list(events))) == 1, "it is away anew"


def test_a_job_that_comes_while_the_rendezvous_is_away_hears_it_at_once(
    clock: Clock, relay: Relay, link: RendezvousLink
) -> None:
    first, second = Told(), Told()
    link.add("j", first)
    relay.there = False
    relay.breaks()
    link.add("k", second)
    assert second.away[0] == "the rendezvous at 127.0.0.1:13337 is away (closed by the peer)"


def test_a_link_that_has_just_begun_to_dial_says_so_and_warns_of_nothing(clock: Clock, relay: Relay) -> None:
    relay.slow = True
    told = Told()
    with capturedLogs() as events:
        link = RendezvousLink(clock, relay.dial, "h:1")
        link.add("j", told)
        relay.answers()
        relay.says(b"OK:JOB:j:aa")
    assert (told.away, told.events) == (["the rendezvous at h:1 is being dialled"], ["aa"])
    assert warnings(list(events)) == []


def test_a_rendezvous_that_takes_the_call_and_hangs_up_each_time_is_one_line_too(clock: Clock, relay: Relay) -> None:
    told = Told()
    with capturedLogs() as events:
        link = RendezvousLink(clock, relay.dial, "h:1")
        link.add("j", told)
        for _ in range(50):
            relay.breaks()
            clock.advance(5.0)
    assert len(warnings(list(events))) == 1
    assert len(told.away) == 51


def test_a_job_that_cannot_take_it_in_stops_neither_others_nor_the_link(
    clock: Clock, relay: Relay, link: RendezvousLink
) -> None:
    class Broken(Told):
        def store_unreachable(self, why: str) -> None:
            raise ZeroDivisionError

    told = Told()
    link.add("a", Broken())
    link.add("b", told)
    with capturedLogs():
        relay.breaks()
    dialled = relay.dialled
    clock.advance(5.0)
    assert told.away
    assert relay.dialled == dialled + 1

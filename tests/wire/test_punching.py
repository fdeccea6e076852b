"""What workers and rendezvous say to find direct paths: each message has one spelling, and hostile ones are refused."""

import ipaddress
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mu_twisted.wire import PeerError
from mu_twisted.wire.punch_report import CandidateTried, PunchReport, PunchTried, parse_punch_report
from mu_twisted.wire.punching import (
    MAX_CANDIDATES,
    MAX_DELAY,
    MAX_REPORTED,
    MAX_RTT,
    MAX_TIMEOUT,
    MIN_PORT,
    Candidate,
    CandidateKind,
    DirectGreeting,
    Offer,
    ProbeOrder,
    PunchGo,
    PunchNo,
    PunchOutcome,
    PunchRefusal,
    PunchResult,
    PunchWant,
    is_private,
    parse_direct_greeting,
    parse_from_rendezvous,
    parse_from_worker,
    parse_probe_answer,
    parse_probe_message,
    probe_answer,
    probe_message,
    usual_address,
)

NUMBERS = st.integers(0, 10**9 - 1)
TOKENS = st.text("0123456789abcdef", min_size=32, max_size=32)
JOBS = st.text("abcXYZ019._-", min_size=1, max_size=64)
PRIVATE = st.one_of(
    *(st.ip_addresses(network=network).map(str) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")),
    st.ip_addresses(network="fd00::/8").map(str),
)
HOSTS = st.builds(Candidate, st.just(CandidateKind.HOST), PRIVATE, st.integers(MIN_PORT, 65535))
SEEN = st.builds(Candidate, st.just(CandidateKind.REFLEXIVE), st.ip_addresses(v=4).map(str), st.integers(1, 65535))
OFFERS = st.builds(Offer, st.integers(0, MAX_RTT), st.lists(HOSTS, max_size=MAX_CANDIDATES).map(tuple))
ORDERS = st.builds(
    PunchGo,
    NUMBERS,
    NUMBERS,
    TOKENS,
    st.integers(0, MAX_DELAY),
    st.integers(0, MAX_TIMEOUT),
    st.lists(HOSTS | SEEN, max_size=MAX_CANDIDATES).map(tuple),
)
RESULTS = st.builds(PunchResult, NUMBERS, NUMBERS, TOKENS, st.sampled_from(PunchOutcome))
REFUSALS = st.builds(PunchNo, NUMBERS, st.sampled_from(PunchRefusal))
PROBES = st.builds(ProbeOrder, st.integers(1, 65535), TOKENS, SEEN) | st.builds(
    ProbeOrder, st.just(0), st.just(""), SEEN
)


@given(OFFERS | st.builds(PunchWant, NUMBERS) | RESULTS)
def test_what_a_worker_says_is_read_as_it_was_meant(said: Any) -> None:
    assert parse_from_worker(said.encode()) == said


@given(ORDERS | REFUSALS | PROBES)
def test_what_the_rendezvous_says_is_read_as_it_was_meant(said: Any) -> None:
    assert parse_from_rendezvous(said.encode()) == said


@given(st.builds(DirectGreeting, JOBS, NUMBERS, NUMBERS, TOKENS), TOKENS)
def test_greeting_and_probe_are_read_as_they_were_meant(said: DirectGreeting, token: str) -> None:
    assert parse_direct_greeting(said.encode()) == said
    assert said.uri == f"mu:job/{said.job}/task/{said.task}/attempt/{said.attempt}"
    assert parse_probe_message(probe_message(token)) == token


TRIED = st.builds(
    PunchTried,
    NUMBERS,
    st.sampled_from(PunchOutcome),
    st.none() | NUMBERS,
    NUMBERS,
    st.lists(
        st.builds(
            CandidateTried, (HOSTS | SEEN).map(str), NUMBERS, st.sampled_from(["", "ECONNREFUSED"]), st.booleans()
        ),
        max_size=MAX_CANDIDATES,
    ).map(tuple),
)
REPORTS = st.builds(
    PunchReport,
    st.integers(0, 65535),
    st.just("") | SEEN.map(str),
    st.just("") | SEEN.map(str),
    st.lists(TRIED, max_size=MAX_REPORTED).map(tuple),
)


@given(REPORTS, SEEN)
def test_a_report_is_read_as_it_was_meant(report: PunchReport, seen: Candidate) -> None:
    assert parse_punch_report(report.encode()) == report
    known = report.seen and report.probed
    assert report.varies == (report.seen != report.probed if known else None)
    assert parse_probe_answer(probe_answer(seen)) == seen


GOOD = PunchReport(
    1, "", "", (PunchTried(1, PunchOutcome.TLS, 1, 1, (CandidateTried("host/10.0.0.1/2000", 1, "E", True),)),)
)


@pytest.mark.parametrize(
    ("was", "instead"),
    [
        (b'"port":1', b'"port":-1'),
        (b'"port":1', b'"port":true'),
        (b'"port":1', b'"port":9007199254740992'),
        (b'"seen":""', b'"seen":"host/8.8.8.8/2000"'),
        (b'"seen":""', b'"seen":5'),
        (b'"seen":"",', b""),
        (b'"tls"', b'"\\u001b"'),
        (b'"tls"', b"[]"),
        (b'"E"', b'"E\\n"'),
        (b'"E"', b'"' + b"E" * 21 + b'"'),
        (b"true]", b"1]"),
        (b"true]", b"true,1]"),
        (b"[[", b'"' + b"x" * 20 + b'",[['),
        (b"})", b"}"),
        (b"{", b"[" * 20_000),
        (b"}]", b"}" + b",null" * 17 + b"]"),
    ],
)
def test_a_report_of_another_form_is_refused(was: bytes, instead: bytes) -> None:
    message = GOOD.encode()
    assert was in message
    with pytest.raises(PeerError, match=r"expected OK:PUNCHES"):
        parse_punch_report(message.replace(was, instead, 1))


STARTS = [
    b"OK:PUNCHES(",
    b"OK:PROBE:",
    b"PUNCH_OFFER:",
    b"PUNCH_WANT:",
    b"PUNCH_RESULT:",
    b"PUNCH_PROBE:",
    b"PUNCH_NO:",
    b"PUNCH_GO:",
    b"HELLO_DIRECT:",
    b"",
]


@given(st.sampled_from(STARTS), st.binary(max_size=300))
@example(b"PUNCH_GO:", b"1/0:" + b"0" * 32 + b":0:0:" + b"host/10.0.0.1/2000," * 9)
@example(b"PUNCH_OFFER:", b"1:" + b"," * 100_000)
@example(b"PUNCH_OFFER:", b"1:host/" + b"1" * 100_000 + b"/2000")
@example(b"PUNCH_WANT:", b"1" * 100_000)
def test_anything_else_is_an_error_of_the_peers(start: bytes, rest: bytes) -> None:
    parsers: tuple[Any, ...] = (parse_from_worker, parse_from_rendezvous, parse_direct_greeting, parse_probe_message)
    for parse in (*parsers, parse_probe_answer, parse_punch_report):
        with suppress(PeerError):
            parse(start + rest)


@pytest.mark.parametrize(
    "candidate",
    [
        "host/8.8.8.8/4000",
        "host/127.0.0.1/4000",
        "host/169.254.169.254/4000",
        "host/0.0.0.0/4000",
        "host/224.0.0.1/4000",
        "host/198.51.100.1/4000",
        "host/2001:db8::1/4000",
        "host/::1/4000",
        "host/fe80::1%eth0/4000",
        "host/::ffff:8.8.8.8/4000",
        "host/10.0.0.1/80",
        "host/10.0.0.1/1023",
        "host/10.0.0.1/65536",
        "host/10.0.0.1/0",
        "host/10.0.0.1/04000",
        "host/10.0.0.1/",
        "host/10.0.0.1",
        "host/10.0.0.01/4000",
        "host/localhost/4000",
        "relay/10.0.0.1/4000",
        "reflexive/10.0.0.1/4000",
        "host/10.0.0.1/4000,",
    ],
)
def test_a_candidate_that_a_worker_may_not_offer_is_refused(candidate: str) -> None:
    with pytest.raises(PeerError):
        parse_from_worker(b"PUNCH_OFFER:0:" + candidate.encode())


def test_an_address_has_one_spelling() -> None:
    assert usual_address("::ffff:10.0.0.1") == "10.0.0.1"
    assert usual_address("FD00:0:0::1") == "fd00::1"
    [candidate] = parse_from_worker(b"PUNCH_OFFER:0:host/::ffff:10.0.0.1/4000").candidates  # type: ignore[union-attr]
    assert candidate.ip == "10.0.0.1"


@given(st.ip_addresses())
def test_what_is_private_is_never_an_address_of_the_internet(address: Any) -> None:
    if is_private(str(address)):
        assert not address.is_global
        assert not address.is_loopback
        assert not address.is_link_local
    assert is_private("100.64.0.1")
    assert not is_private(str(ipaddress.ip_address("100.128.0.1")))


@pytest.mark.parametrize(
    "message",
    [
        b"PUNCH_PROBE:1:%s:%s" % (b"", b"reflexive/1.2.3.4/5000"),
        b"PUNCH_PROBE:0:%s:%s" % (b"0" * 32, b"reflexive/1.2.3.4/5000"),
        b"PUNCH_PROBE:65536:%s:%s" % (b"0" * 32, b"reflexive/1.2.3.4/5000"),
        b"PUNCH_PROBE:1:%s:" % (b"0" * 32),
        b"PUNCH_NO:1:never",
        b"PUNCH_GO:1/0:%s:1001:0:" % (b"0" * 32),
        b"PUNCH_GO:1/0:%s:0:10001:" % (b"0" * 32),
        b"PUNCH_GO:1/0:%s:0:0:" % (b"0" * 31),
        b"PUNCH_GO:1:%s:0:0:" % (b"0" * 32),
    ],
)
def test_an_order_out_of_bounds_is_refused(message: bytes) -> None:
    with pytest.raises(PeerError):
        parse_from_rendezvous(message)

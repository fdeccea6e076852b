"""What the doctor makes of two workers' reports about their punches."""

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mu_twisted.aws.findings import Health
from mu_twisted.coordinator import Peers
from mu_twisted.daemons.doctor._pair_test import PairTested, PairTestError, _punch, _TestedWorker, judge_pair
from mu_twisted.tls import KeyPair
from mu_twisted.wire.links import LINKS
from mu_twisted.wire.punch_report import PUNCHES, CandidateTried, PunchReport, PunchTried
from mu_twisted.wire.punching import PUNCH, PunchOutcome, PunchRefusal

SEEN = "reflexive/203.0.113.5/4000"
OTHER = "reflexive/198.51.100.7/5000"


def report(
    outcome: PunchOutcome = PunchOutcome.DIRECT,
    error: str = "",
    errors: int = 0,
    probed: str = SEEN,
    tcp: int | None = 12,
) -> PunchReport:
    host = CandidateTried("host/10.0.0.9/4000", 2, "EHOSTUNREACH", connected=False)
    dialled = CandidateTried(OTHER, errors, error, connected=tcp is not None)
    return PunchReport(4000, SEEN, probed, (PunchTried(1, outcome, tcp, 60, (host, dialled)),))


def told(outcome: str, *reports: PunchReport) -> tuple[list[Health], list[str]]:
    findings = list(judge_pair(PairTested(outcome, (reports[0], reports[-1])), "f"))
    return [each.health for each in findings], [" ".join([each.what, each.why, each.fix]) for each in findings]


def test_a_path_is_good_and_its_times_are_told() -> None:
    healths, (one, two, both) = told("direct", report())
    assert healths == [Health.GOOD] * 3
    assert one.startswith("worker 1 has port 4000, and is seen at 203.0.113.5, port 4000: the same port for each")
    assert "no dial of the other was rejected" in two
    assert f"TCP after 12 ms, the link after 60 ms, by {OTHER}" in both


@pytest.mark.parametrize(
    ("error", "errors", "answer"),
    [
        ("ECONNREFUSED", 7, "to 7 dials of the other it has answered by RST, or ICMP that says the same"),
        ("EHOSTUNREACH", 1, "to 1 dial of the other it has answered by ICMP (host unreachable)"),
        ("EPROTO", 1, "to 1 dial of the other it has answered by EPROTO"),
        ("EPERM", 1, "1 dial of the other did not leave its machine (EPERM)"),
        ("EADDRNOTAVAIL", 2, "2 dials of the other did not leave its machine (EADDRNOTAVAIL)"),
        ("", 0, "the other's dials were dropped"),
    ],
)
def test_how_a_nat_rejects_is_what_the_others_dials_have_met(error: str, errors: int, answer: str) -> None:
    healths, (one, two, both) = told(
        "timeout", report(PunchOutcome.TIMEOUT, tcp=None), report(PunchOutcome.TIMEOUT, error, errors, tcp=None)
    )
    assert answer in one
    assert "the other's dials were dropped" in two
    assert healths[-1] is Health.DOUBTFUL
    assert "did not reach each other directly, after 0.1 s: nothing came through" in both
    assert "the rendezvous carries" in both


def test_a_mapping_that_varies_or_is_unknown_is_told_of_the_worker_that_has_it() -> None:
    healths, (one, two, both) = told("edm", report(probed="reflexive/203.0.113.5/4001"), report(probed=""))
    assert healths == [Health.DOUBTFUL] * 3
    assert "maps each destination to another port (also 4001)" in one
    assert "is not known" in two
    assert "--probe-port" in two
    assert "which no dial can meet" in both


@pytest.mark.parametrize("error", ["EADDRNOTAVAIL", "EADDRINUSE", "EPERM"])
def test_an_error_of_the_dialling_side_is_no_answer_of_the_other(error: str) -> None:
    _, (one, _, _) = told("direct", report(), report(error=error, errors=1))
    assert "no dial of the other was rejected" in one
    assert error not in one


@pytest.mark.parametrize("outcome", [*PunchOutcome, *PunchRefusal, "lost", "another"])
def test_whatever_the_outcome_is_the_last_line_says_it(outcome: str) -> None:
    healths, lines = told(outcome, PunchReport())
    assert (healths[-1] is Health.GOOD) == (outcome == "direct")
    assert all("\n" not in line for line in lines)
    if outcome == "off":
        assert len(lines) == 1


class AnsweringWorker:
    """The connection to a worker: after each command, what it has said by then."""

    def __init__(self, worker: _TestedWorker, said: dict[bytes, list[bytes]]) -> None:
        self.worker, self.said = worker, said

    def send(self, *commands: bytes) -> None:
        for command in commands:
            self.worker.frames_received(self.said.get(command.partition(b":")[0], []))


def test_the_reason_is_told_of_a_rendezvous_that_is_lost_before_it_is_needed() -> None:
    def worker(said: dict[bytes, list[bytes]]) -> _TestedWorker:
        made = _TestedWorker(lambda _: None)
        made.supports = frozenset({LINKS, PUNCH, PUNCHES})
        connection: Any = AnsweringWorker(made, said)
        made.connected(connection)
        return made

    said = {
        b"identity": [b"OK:IDENTITY"],
        b"link": [b"OK:LINK", b'INFO:paths:{"1":"unreachable"}'],
        b"punches": [b"FAIL(there are no direct paths)"],
    }
    pem = b"-----BEGIN X-----\nAAAA\n-----END X-----\n"
    first = worker(said)
    test = Deferred.fromCoroutine(
        _punch(Clock(), (first, worker({})), Peers("j", ["h:1"], lambda identity: KeyPair(pem, pem)))
    )
    first.frames_received([b"FAIL(receiving 1/doctor: its certificate is not trusted)"])
    found: list[Any] = []
    test.addErrback(found.append)
    assert "its certificate is not trusted" in str(found[0].value)
    assert found[0].check(PairTestError)

"""Workers punch through real NATs, with the worker's code and the rendezvous's. The whole table: make nat-lab."""

from collections.abc import Callable, Iterator

import pytest
from nat_lab import BOXES, Lab, Nat
from punch_cells import Cell, Trials, cells, enough, reasons
from punch_lab import PunchLab

from mu_twisted.wire.punch_report import CandidateTried, PunchReport

pytestmark = pytest.mark.netns

Trying = Callable[..., Trials]
TRIES = 3
PAUSE = 1.0
"""Seconds from one punch of a pair to the next."""
LIMIT = 120.0
"""Seconds for what must come about, however busy the machine is: the table has the worker's own limits."""


@pytest.fixture(scope="module")
def trying(build: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trying]:
    """Makes trials in a lab of so many boxes."""
    made: dict[tuple[int, bool], tuple[PunchLab, Trials]] = {}

    def make(boxes: int, isolated: bool = False) -> Trials:
        if (boxes, isolated) not in made:
            lab = build(boxes, isolated=isolated)
            punches = PunchLab(lab, tmp_path_factory.mktemp("lab") / "tls", pause=PAUSE, limit=LIMIT)
            made[boxes, isolated] = punches, Trials(lab, punches)
        return made[boxes, isolated][1]

    yield make
    for punches, _ in made.values():
        counted = punches.close()
        assert counted.get("begun", 0) <= counted.get("direct", 0) + counted.get("timeout", 0) * 2


def with_one_delay_each() -> Iterator[object]:
    """The whole table; its kinds with other delays too are for the long tests."""
    seen = set()
    for cell in cells():
        yield pytest.param(cell, id=str(cell), marks=[pytest.mark.long] if cell.title in seen else [])
        seen.add(cell.title)


@pytest.mark.parametrize("cell", list(with_one_delay_each()))
def test_workers_reach_each_other_as_far_as_their_nats_allow(trying: Trying, cell: Cell) -> None:
    trials = trying(len(cell.nats), cell.isolated)
    tried, dials = trials.run(cell, TRIES)
    assert enough(cell, tried), reasons(tried)
    for each in tried:
        assert all(address.startswith(cell.by) for address in each.by), each
    if cell.dials is not None:
        assert dials == cell.dials * TRIES
    for nat, report in zip(cell.nats * 2, trials.reports, strict=False):
        assert bool(report.varies) == ("random" in nat.mapping), report
        assert [each.outcome for each in report.punches] == ([] if cell.outcome else ["direct"]), report


@pytest.mark.long
def test_where_no_way_is_open_the_reason_is_given_after_two_tries(trying: Trying) -> None:
    cell = Cell("one NAT, no hairpin", (Nat("port-range"),), 0.0, isolated=True, outcome="timeout")
    tried, _ = trying(1, True).run(cell, 1)
    assert reasons(tried) == {"timeout": 1}


def test_where_the_way_is_cut_the_reason_is_given_after_two_tries(trying: Trying) -> None:
    cell = Cell("cut", (Nat(),) * 2, 0.0, outcome="timeout", order={"cut": [list(BOXES)]})
    trials = trying(2)
    tried, dials = trials.run(cell, 1)
    assert reasons(tried) == {"timeout": 1}
    assert dials == 4
    for report in trials.reports:
        assert [(each.outcome, each.tcp_ms) for each in report.punches] == [("timeout", None)] * 2
        assert not any(each.errors or each.connected for each in answers(report))


@pytest.mark.parametrize("answer", ["rst", "icmp"])
def test_a_nat_that_rejects_is_seen_by_the_worker_that_dials_first(trying: Trying, answer: str) -> None:
    trials = trying(2)
    [tried], _ = trials.run(Cell(answer, (Nat(unsolicited=answer),) * 2, 0.08), 1, late=-0.5)
    assert tried.reason is None
    assert any(each.error == "ECONNREFUSED" for each in answers(trials.reports[1])), trials.reports


def answers(report: PunchReport) -> list[CandidateTried]:
    """What has come of each dial to the address that the rendezvous has seen."""
    candidates = [each for punch in report.punches for each in punch.candidates]
    return [each for each in candidates if each.candidate.startswith("reflexive/")]

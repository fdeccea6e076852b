"""Workers punch through real NATs, with the worker's code and the rendezvous's. The whole table: make nat-lab."""

from collections.abc import Callable, Iterator

import pytest
from nat_lab import BOXES, Lab, Nat
from punch_cells import Cell, Trials, cells, enough, reasons
from punch_lab import PunchLab

pytestmark = pytest.mark.netns

Trying = Callable[..., Trials]
TRIES = 3


@pytest.fixture(scope="module")
def trying(build: Callable[..., Lab], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trying]:
    """Makes trials in a lab of so many boxes."""
    made: dict[tuple[int, bool], tuple[PunchLab, Trials]] = {}

    def make(boxes: int, isolated: bool = False) -> Trials:
        if (boxes, isolated) not in made:
            lab = build(boxes, isolated=isolated)
            punches = PunchLab(lab, tmp_path_factory.mktemp("lab") / "tls")
            made[boxes, isolated] = punches, Trials(lab, punches)
        return made[boxes, isolated][1]

    yield make
    for punches, _ in made.values():
        counted = punches.close()
        assert counted.get("begun", 0) <= counted.get("direct", 0) + counted.get("timeout", 0) * 2


@pytest.mark.parametrize("cell", list(cells()), ids=str)
def test_workers_reach_each_other_as_far_as_their_nats_allow(trying: Trying, cell: Cell) -> None:
    tried, dials = trying(len(cell.nats), cell.isolated).run(cell, TRIES)
    assert enough(cell, tried), reasons(tried)
    for each in tried:
        assert all(address.startswith(cell.by) for address in each.by), each
    if cell.dials is not None:
        assert dials == cell.dials * TRIES


@pytest.mark.long
def test_where_no_way_is_open_the_reason_is_given_after_two_tries(trying: Trying) -> None:
    cell = Cell("one NAT, no hairpin", (Nat("port-range"),), 0.0, isolated=True)
    tried, _ = trying(1, True).run(cell, 1)
    assert reasons(tried) == {"timeout": 1}


def test_where_the_way_is_cut_the_reason_is_given_after_two_tries(trying: Trying) -> None:
    cell = Cell("cut", (Nat(),) * 2, 0.0, order={"cut": [list(BOXES)]})
    tried, dials = trying(2).run(cell, 1)
    assert reasons(tried) == {"timeout": 1}
    assert dials == 4

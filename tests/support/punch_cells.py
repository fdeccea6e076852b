"""The table of NATs that punching is tried with: what each cell is, and what must come of it."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nat_lab import BOXES, RENDEZVOUS, Lab, Nat
from punch_lab import Punched, PunchLab

from mu_twisted.wire.punch_report import PunchReport

RTTS = (0.0, 0.02, 0.08)
DROPPING = ("masquerade", "port-preserving", "port-range", "full-cone")


@dataclass(frozen=True)
class Cell:
    """One kind of way between two workers.

    :param nats: one for each box.
    :param rtt: between the workers, seconds.
    :param isolated: see :class:`Lab`.
    :param outcome: why there is no link; None: there is one.
    :param spared: one of how many tries may come to something else, of fewer none; 0: none.
    :param limit: seconds from the first dial to the TCP connection at most, for the table.
    :param late: seconds by which one of the workers is late at most: the second in one try, the first in the next.
    :param dials: between the boxes in each try, SYNs that are copies of earlier ones not counted; None: any number.
    :param by: the beginning of the address that each reaches the other by.
    :param order: what the internet does beside, see :meth:`tun_router.Router.configure`.
    """

    title: str
    nats: tuple[Nat, ...]
    rtt: float
    isolated: bool = False
    outcome: str | None = None
    spared: int = 0
    limit: float = 0.25
    late: float = 0.0
    dials: int | None = None
    by: str = "198.51.100."
    order: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.title}, {self.rtt * 1000:g} ms"


def cells() -> Iterator[Cell]:
    """All of the table."""
    for rtt in RTTS:
        for mapping in DROPPING:
            ways = 2 if mapping == "full-cone" else 1
            dials = None if mapping == "full-cone" else 2
            yield Cell(mapping, (Nat(mapping),) * 2, rtt, limit=ways * rtt + 0.25, dials=dials)
        yield Cell("one NAT, private", (Nat("port-range"),), rtt, by="10.0.1.")
        hairpin = (Nat("port-range", hairpin=True),)
        yield Cell("one NAT, hairpin", hairpin, rtt, isolated=True, by=BOXES[0])
        for answers in (("rst", "rst"), ("icmp", "icmp"), ("rst", "icmp")):
            title = f"rejecting by {' and '.join(dict.fromkeys(answers))}"
            nats = tuple(Nat(unsolicited=answer) for answer in answers)
            yield Cell(title, nats, rtt, spared=50, limit=2.0, late=0.1)
    for mapping in ("random", "fully-random"):
        yield Cell(mapping, (Nat(mapping),) * 2, 0.02, outcome="edm", dials=0)
        yield Cell(f"{mapping} on one side", (Nat(), Nat(mapping)), 0.02, outcome="edm", dials=0)
    lost = {"lossless": [RENDEZVOUS]}
    for title, boxes, limit in (("first", BOXES[:1], 0.25), ("second", BOXES[1:], 0.25), ("both", BOXES, 1.5)):
        order = {"lose_syns": dict.fromkeys(boxes, 1)}
        yield Cell(f"SYN lost: {title}", (Nat(),) * 2, 0.02, limit=limit, dials=2, order=order)
    yield Cell("10 % lost", (Nat(),) * 2, 0.02, limit=2.0, order={"loss": 0.1, **lost})
    far = {"delay": {BOXES[0]: 0.0, BOXES[1]: 0.04}}
    yield Cell("one far away", (Nat(),) * 2, 0.08, limit=0.08 + 0.25, dials=2, order=far)


class Trials:
    """Tries a cell several times.

    :param lab: that the cell's boxes are in.
    """

    def __init__(self, lab: Lab, punches: PunchLab, seed: int = 1) -> None:
        self._lab = lab
        self._punches = punches
        self._random = random.Random(seed)  # noqa: S311

    @property
    def reports(self) -> list[PunchReport]:
        """What the workers of the last try have said of it."""
        return self._punches.reports

    def run(self, cell: Cell, tries: int, *, late: float | None = None) -> tuple[list[Punched], int]:
        """Try a cell.

        :param late: seconds by which the second worker is later than the first; None: as the cell says, in even steps
            from 0 in the first try to the most in the last.
        :returns: what each try has come to, and the dials between the boxes in all of them.
        """
        tried, dials = [], 0
        for number in range(tries):
            self._lab.configure(*cell.nats)  # forgets what the boxes have learnt of earlier tries
            self._lab.set_rtt(cell.rtt, seed=self._random.random())
            later = cell.late * number / max(1, tries - 1) * (-1) ** number if late is None else late
            held = max(0.0, -later), max(0.0, later)
            with self._punches.opened(held, in_vain=cell.outcome is not None):
                self._lab.set_rtt(cell.rtt, **{"seed": self._random.random(), **cell.order})
                tried.append(self._punches.want())
                dials += self._lab.between(self._lab.set_rtt(cell.rtt), "dials")
        return tried, dials


def reasons(tried: list[Punched]) -> Counter[str]:
    """How often each outcome was."""
    return Counter(each.reason or "direct" for each in tried)


def enough(cell: Cell, tried: list[Punched]) -> bool:
    """Whether as many tries have come to what they must as the cell demands."""
    missed = sum(each.reason != cell.outcome for each in tried)
    return missed <= (len(tried) // cell.spared if cell.spared else 0)


def slowest(tried: list[Punched]) -> float:
    """The longest time to a TCP connection, seconds; 0: there was none."""
    return max((seconds for each in tried for seconds in each.tcp), default=0.0)

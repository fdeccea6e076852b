"""A progress bar is one line about a job that runs, no longer than there are columns. Knows counts, and no terminal."""

from collections import deque
from collections.abc import Mapping
from typing import Literal
from unicodedata import east_asian_width

from mu_twisted.base import counted, printable
from mu_twisted.base.json_types import Json
from mu_twisted.wording._stages import stages_under_way

SPAN = 10.0
"""Seconds over which a rate is taken."""
SHORTEST_SPAN = 1.0
"""Seconds below which there is none."""
LONGEST_BAR = 30
SHORTEST_BAR = 8
"""Columns of the bar itself."""
GAP = "  "
NARROW = 50
"""Columns of a terminal below which there is none."""
_FEW = 3
_MANY = 100
_SHARE = 0.02
"""The time left is shown once so many tasks have ended: a share of all, within these."""

Style = Literal["", "green", "red", "dim"]
Piece = tuple[str, Style]
"""Some text, and how it is shown, as rich names it."""


class Rate:
    """Tasks that end a second, of late."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def take(self, now: float, ended: int) -> float | None:
        """Note how many have ended, and say at which rate.

        :param now: seconds, by any clock that does not jump.
        :returns: tasks a second; None as long as too little time has passed.
        """
        if self._seen and ended < self._seen[-1][1]:  # some run again
            self._seen.clear()
        self._seen.append((now, ended))
        while len(self._seen) > 2 and self._seen[1][0] <= now - SPAN:
            self._seen.popleft()
        first, before = self._seen[0]
        return (ended - before) / (now - first) if now - first >= SHORTEST_SPAN else None


def time_left(tasks: int, ended: int, active: int, median: float | None) -> float | None:
    """Seconds until a job is over, by the median of its attempts.

    :param ended: of its tasks, those that are done or have failed.
    :param median: seconds of attempts that were done.
    :returns: None where too few have ended to say, or none is active.
    """
    left = tasks - ended
    if median is None or not left or not active or ended < max(_FEW, min(_MANY, tasks * _SHARE)):
        return None
    return median * left / active


def how_long(seconds: float) -> str:
    """A span of time, as people read it."""
    if seconds < 100:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02} h" if hours else f"{minutes}:{seconds:02} min"


LEAST_PRICE = 0.0001
"""That is shown; less is rounded, or said to be less."""


def price_text(price: float, currency: str | None) -> str:
    """What something has cost, in few characters; little is not said to be nothing."""
    if 0 < price < LEAST_PRICE / 2:
        return f"<{LEAST_PRICE:g} {currency}"
    return f"{price:.{2 if price >= 1 else 4}f} {currency}"


def progress_bar(
    job: Mapping[str, Json],
    width: int,
    *,
    rate: float | None = None,
    took: float | None = None,
    ascii_only: bool = False,
) -> list[Piece]:
    """How far a job is: a bar, its share, and what there is room for of counts, time left, rate, cost, stages, note.

    :param job: its status, as the control API gives it.
    :param width: columns.
    :param rate: tasks that end a second; ``took``: seconds since it began; None: not known.
    :param ascii_only: whether the terminal shows nothing else.
    """
    tasks, done, failed = job["tasks"], job["done"], job["failed"]
    ended = done + failed
    share = f"{100 * ended // tasks if tasks else 100} %"
    left = time_left(tasks, ended, job["active"], job.get("median"))
    cost = job.get("cost") or {}
    price = cost.get("price")
    # In the order in which they are shown; those with the lowest numbers are left out last.
    parts: list[tuple[int, str, Style]] = [
        (9, job["job"], ""),
        (0, share, ""),
        (1, f"{done} of {tasks} done", ""),
        (2, f"{failed} failed" if failed else "", "red"),
        (5, f"{job['active']} active" if job["active"] else "", ""),
        (8, f"{counted(job['launches'], 'worker')} to come" if job.get("launches") else "", ""),
        (3, f"about {how_long(left)} left" if left is not None else "", ""),
        (7, f"{rate:.{1 if rate < 10 else 0}f}/s" if rate is not None else "", ""),
        (6, price_text(price, cost.get("currency")) if price is not None else "", ""),
        (10, how_long(took) if took is not None else "", "dim"),
        (11, stages_under_way(job.get("stages") or ()), "dim"),
        (4, f"({job['note']})" if job.get("note") else "", ""),
    ]
    bar = SHORTEST_BAR + 1 if width >= NARROW else 0
    room = width - bar + len(GAP)
    chosen: dict[int, str] = {}
    for rank, text, _ in sorted(parts):
        shown = printable(text)
        if shown and _columns(shown) + len(GAP) <= room:
            chosen[rank] = shown
            room -= _columns(shown) + len(GAP)
    bar = min(LONGEST_BAR + 1, room + bar) if bar else 0
    pieces: list[Piece] = []
    for rank, _, style in parts:
        if rank in chosen:
            pieces += [(GAP, "")] if pieces else []
            pieces += [*_bar(tasks, done, failed, bar - 1, ascii_only), (" ", "")] if rank == 0 and bar else []
            pieces.append((chosen[rank], style))
    return pieces


def _bar(tasks: int, done: int, failed: int, width: int, ascii_only: bool) -> list[Piece]:
    """A column is failed where one task is, so that it is seen."""
    ended = width * (done + failed) // tasks if tasks else width
    red = min(ended, -(-width * failed // tasks)) if tasks else 0
    fill, bad, rest = ("#", "x", "-") if ascii_only else ("━", "━", "─")
    return [(fill * (ended - red), "green"), (bad * red, "red"), (rest * (width - ended), "dim")]


def _columns(text: str) -> int:
    return sum(2 if east_asian_width(one) in "WF" else 1 for one in text)

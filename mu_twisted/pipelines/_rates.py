"""Rates of floating-point operations are found in what benchmarks print, and summed up. Pure text and numbers."""

import re
from collections.abc import Sequence
from statistics import quantiles

_MEGA = {"K": 1e-3, "M": 1.0, "G": 1e3, "T": 1e6}
_NUMBER = r"[0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?"
_UNIT = r"([KMGT])FLOPS?(?:/S(?:EC)?)?\b"
_BEHIND = re.compile(rf"(?<![\w.])({_NUMBER})\s*{_UNIT}", re.IGNORECASE)
_BEFORE = re.compile(rf"\b{_UNIT}\s*[:=]\s*({_NUMBER})", re.IGNORECASE)
_HEADING = re.compile(_UNIT, re.IGNORECASE)
_BINS = 10
_BAR = 40
_LONGEST_LINE = 1000
"""Characters of a line that are looked at."""


def find_rate(output: str) -> float | None:
    """The last rate in a benchmark's output, in MFLOPS.

    Known are ``512.3 MFLOPS``, ``MFLOPS: 512.3`` and tables with a column of that name, as linpack_bench prints.
    """
    found = None
    column: tuple[int, float] | None = None
    for line in output.splitlines():
        words = line[:_LONGEST_LINE].split()
        rate = _in_line(line[:_LONGEST_LINE])
        if rate is None and column is not None:
            rate = _in_column(words, *column)
        headings = [(at, _MEGA[unit[1].upper()]) for at, word in enumerate(words) if (unit := _HEADING.match(word))]
        if headings:
            column = headings[0]
        found = rate if rate is not None else found
    return found


def _in_line(line: str) -> float | None:
    behind, before = _BEHIND.search(line), _BEFORE.search(line)
    if behind is not None:
        return _finite(behind[1], _MEGA[behind[2].upper()])
    if before is not None:
        return _finite(before[2], _MEGA[before[1].upper()])
    return None


def _in_column(words: Sequence[str], at: int, scale: float) -> float | None:
    if at < len(words) and all(re.fullmatch(_NUMBER, word) for word in words):
        return _finite(words[at], scale)
    return None


def _finite(text: str, scale: float) -> float | None:
    value = float(text) * scale
    return value if value < 1e15 else None


def summary(rates: Sequence[float], runs: int) -> str:
    """Sum and distribution, for a person.

    :param rates: in MFLOPS.
    :param runs: how many there were, with those that said no rate.
    """
    if not rates:
        return f"no rate was found in the output of {runs} runs"
    of = f"{runs} runs" if len(rates) == runs else f"{len(rates)} of {runs} runs that said their rate"
    low, high = min(rates), max(rates)
    tenth, *_, half, _, _, _, ninth = quantiles(rates, n=10, method="inclusive") if len(rates) > 1 else [low] * 9
    spread = f"lowest {_shown(low)}, a tenth below {_shown(tenth)}, half below {_shown(half)}"
    spread += f", a tenth above {_shown(ninth)}, highest {_shown(high)}"
    return "\n".join([f"{of}: {_shown(sum(rates))} in all", spread, *_histogram(rates, low, high)])


def _histogram(rates: Sequence[float], low: float, high: float) -> list[str]:
    """A line for each of some bins of equal width; none where all rates are the same."""
    if low == high:
        return []
    bins = [0] * min(_BINS, len(rates))
    step = (high - low) / len(bins)
    for rate in rates:
        bins[min(int((rate - low) / step), len(bins) - 1)] += 1
    most = max(bins)
    starts = [f"{low + step * number:.1f}" for number in range(len(bins))]
    width, digits = max(map(len, starts)), len(str(most))
    return [
        f"  from {start:>{width}} MFLOPS  {count:>{digits}}  {'#' * -(-count * _BAR // most)}".rstrip()
        for start, count in zip(starts, bins, strict=True)
    ]


def _shown(rate: float) -> str:
    return (
        f"{rate:.1f} MFLOPS" if rate < 1e4 else f"{rate / 1e3:.1f} GFLOPS" if rate < 1e7 else f"{rate / 1e6:.2f} TFLOPS"
    )

"""The whole table of NATs that workers punch through, in a lab of real ones: ``make nat-lab``, or with ``TRIES=``.

Prints a line for each cell: how many of the tries came to what they must, and the longest time to a TCP connection. The
status is 1 where one has missed its target.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from nat_lab import Lab, why_not
from punch_cells import Cell, Trials, cells, enough, reasons, slowest
from punch_lab import Punched, PunchLab


def main() -> int:
    """Try all cells; returns the status."""
    parser = argparse.ArgumentParser(prog="make nat-lab", description=__doc__)
    parser.add_argument("--tries", type=int, default=50, help="of each cell (50)")
    parser.add_argument("--seed", type=int, default=1, help="of delays and losses (1)")
    parser.add_argument("--only", default="", help="cells whose name has this in it")
    options = parser.parse_args()
    reason = why_not()
    if reason is not None:
        print(f"error: {reason}", file=sys.stderr)
        return 1
    wanted = [cell for cell in cells() if options.only in str(cell)]
    missed = 0
    for boxes, isolated in sorted({(len(cell.nats), cell.isolated) for cell in wanted}, reverse=True):
        with Lab(boxes, isolated=isolated) as lab, tempfile.TemporaryDirectory() as directory:
            punches = PunchLab(lab, Path(directory) / "tls")
            trials = Trials(lab, punches, options.seed)
            for cell in (each for each in wanted if (len(each.nats), each.isolated) == (boxes, isolated)):
                missed += report(cell, *trials.run(cell, options.tries))
            punches.close()
    print(f"{missed} of {len(wanted)} cells missed" if missed else f"{len(wanted)} cells, none missed")
    return min(missed, 1)


def report(cell: Cell, tried: list[Punched], dials: int) -> bool:
    """Print a cell's line; returns whether it has missed."""
    came = reasons(tried)
    good = enough(cell, tried)
    in_time = slowest(tried) <= cell.limit
    dialled = cell.dials is None or dials == cell.dials * len(tried)
    outcomes = ", ".join(f"{number} {name}" for name, number in sorted(came.items()))
    times = f"TCP {slowest(tried) * 1000:.0f} ms (limit {cell.limit * 1000:.0f})" if cell.outcome is None else ""
    said = "" if good and in_time and dialled else f"  MISSED{'' if dialled else f': {dials} dials'}"
    print(f"{cell!s:32} {outcomes:24} {times}{said}", flush=True)
    return bool(said)


if __name__ == "__main__":
    sys.exit(main())

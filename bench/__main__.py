"""Figures are measured, as ratios in one run; the last line counts the targets that were missed.

``python -m bench`` measures all parts, ``python -m bench PART ...`` some of them, ``python -m bench plot --svg FILE``
draws what a message costs against the number of workers.
"""

import argparse
import importlib
import os
import signal
import ssl
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from bench._figure import Figure

PARTS = (
    "launch",
    "worker_start",
    "local",
    "s3",
    "guard",
    "message",
    "graphs",
    "coordinator",
    "scale",
    "status",
    "inputs",
    "journal",
    "recovery",
    "relay",
    "links",
    "shuffle",
    "watching",
)
"""Modules, each with a ``run()``."""
LIMIT = 1800.0
"""Seconds that a part may take, unless asked otherwise; the longest needs a quarter of an hour on two calm cores."""


def main() -> None:
    """Measure, and exit 1 where a part has failed."""
    options = _options()
    if options.svg is not None:
        from bench import plot

        _limit(options.limit)
        plot.draw(options.svg, plot.measured(options.runs), f"{options.runs} runs; {conditions()}")
        return
    print(conditions(), flush=True)
    figures: list[Figure] = []
    failed = []
    for part in options.parts or PARTS:
        _limit(options.limit)
        try:
            for figure in importlib.import_module(f"bench.{part}").run():
                figures.append(figure)
                print(figure, flush=True)
        except Exception as error:  # noqa: BLE001 - the other parts are measured all the same
            failed.append(part)
            print(f"{part}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            signal.alarm(0)
    print()
    print(conditions())
    for figure in figures:
        if figure.target is not None:
            print(row(figure))
    if failed:
        print(f"parts that could not be measured: {', '.join(failed)}")
    print(f"targets missed: {sum(figure.missed for figure in figures)}")
    sys.exit(bool(failed))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"all, or: {', '.join(PARTS)}; or plot")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds that a part may take (%(default)g)")
    parser.add_argument("--svg", type=Path, help="the file of the plot")
    parser.add_argument("--runs", type=int, default=5, help="of each point of the plot (%(default)d)")
    options = parser.parse_args()
    if not 1 <= options.limit <= 86400:
        parser.error(f"--limit is 1 to 86400 seconds, not {options.limit:g}")
    if not 1 <= options.runs <= 100:
        parser.error(f"--runs is 1 to 100, not {options.runs}")
    if (options.parts == ["plot"]) != (options.svg is not None):
        parser.error("the plot is drawn by itself, into a file: plot --svg FILE")
    for part in options.parts:
        if part not in (*PARTS, "plot"):
            parser.error(f"{part} is no part; there are {', '.join(PARTS)} and plot")
    return options


def _limit(seconds: float) -> None:
    """What a part has begun is ended where it has not come to its end by then."""

    def late(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise TimeoutError(f"not finished within {seconds:g} s")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(int(seconds))


def conditions() -> str:
    """What has to be known to read the figures."""
    from cryptography.hazmat.backends.openssl import backend

    from mu_twisted.transport import Transport, choose_transport

    core = "not built"
    if choose_transport({}) is Transport.CORE:
        from mu_twisted.transport import _core

        core = _core.OPENSSL
    return (
        f"load average {', '.join(f'{load:.2f}' for load in os.getloadavg())} on {os.cpu_count()} cores; OpenSSL: "
        f"in C and the core {core}, in Twisted's TLS {backend.openssl_version_text()}, in Python {ssl.OPENSSL_VERSION}"
    )


def row(figure: Figure) -> str:
    """One line of the table of targets."""
    verdict = "MISSED" if figure.missed else "met"
    return f"{figure.name:72} {figure.value:10.3f} {figure.unit:6} at most {figure.target:<8g} {verdict}"


if __name__ == "__main__":
    main()

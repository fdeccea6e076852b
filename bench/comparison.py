"""``make compare`` does one task by GNU parallel, Lithops and mu, and counts lines and seconds, as on its page."""

import argparse
import gzip
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "comparison.md"
LITHOPS = ROOT / ".venv" / "lithops" / "bin"
TOOLS = ("GNU parallel", "Lithops", "mu")
LINES = 20_000
"""Of a file that is compressed: about 130 kB."""


def programs() -> dict[str, str]:
    """The program of each tool, as the page has it."""
    found = re.findall(r"^### ([^\n]*)\n\n```\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(found)


def lines_of(program: str) -> int:
    """Lines that have something in them, continued ones with the one that they continue."""
    return sum(1 for line in program.replace("\\\n", "").splitlines() if line.strip())


def make_inputs(directory: Path, count: int, seed: int) -> dict[str, bytes]:
    """Make the files, other ones for each seed, and no results."""
    chosen = random.Random(seed)
    for name in ("in", "out"):
        shutil.rmtree(directory / name, ignore_errors=True)
    (directory / "in").mkdir()
    made = {}
    for number in range(count):
        text = "".join(f"{chosen.randrange(100_000)}\n" for _ in range(LINES)).encode()
        made[f"{number:04d}.txt"] = text
        (directory / "in" / f"{number:04d}.txt").write_bytes(text)
    return made


def run_once(tool: str, directory: Path, workers: int) -> float:
    """Run the program of a tool.

    :returns: seconds.
    :raises SystemExit: it failed.
    """
    path = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "WORKERS": str(workers), "HOME": str(directory), "MU_LOCAL": ""}
    environment = {name: value for name, value in environment.items() if not name.startswith("XDG_")}
    words = ["bash", "-euc", programs()[tool]]
    if tool == "Lithops":
        (directory / "compress.py").write_text(programs()[tool])
        path.insert(0, str(LITHOPS))
        words = [str(LITHOPS / "python"), "compress.py"]
    environment["PATH"] = ":".join(path)
    begin = time.monotonic()
    done = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - begin
    if done.returncode:
        raise SystemExit(f"error: {tool} failed:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    return seconds


def check_results(directory: Path, made: dict[str, bytes]) -> None:
    """Unpack every result.

    :raises SystemExit: one is wrong, or missing.
    """
    for name, text in made.items():
        path = directory / "out" / f"{name}.gz"
        if not path.is_file() or gzip.decompress(path.read_bytes()) != text:
            raise SystemExit(f"error: {path.name} is not what {name} compresses to")


def compare(
    tools: list[str], objects: int, rounds: int, workers: int, tell: Callable[[str], None]
) -> dict[str, list[float]]:
    """Run each tool in turn, so that what else the machine does falls on all of them.

    :returns: the seconds of each round, by tool; the first has what a tool sets up once.
    """
    times: dict[str, list[float]] = {tool: [] for tool in tools}
    with tempfile.TemporaryDirectory(prefix="mu-compare-") as name:
        homes = {tool: Path(name, tool.replace(" ", "-")) for tool in tools}
        try:
            for tool in tools:
                homes[tool].mkdir()
            for number in range(rounds):
                for tool in tools:
                    made = make_inputs(homes[tool], objects, number)
                    times[tool].append(run_once(tool, homes[tool], workers))
                    check_results(homes[tool], made)
                    tell(f"{tool}, round {number + 1}: {times[tool][-1]:.1f} s")
        finally:
            if "mu" in tools and homes["mu"].is_dir():
                stop = [str(Path(sys.executable).parent / "mu"), "local", "--stop"]
                subprocess.run(stop, env={**os.environ, "HOME": str(homes["mu"])}, capture_output=True, check=False)
    return times


def table(times: dict[str, list[float]]) -> str:
    """The page's table."""
    rows = ["| tool | lines | first run | again | again, GNU parallel = 1 |", "|---|---|---|---|---|"]
    again = {tool: statistics.median(seconds[1:] or seconds) for tool, seconds in times.items()}
    base = again.get("GNU parallel")
    for tool, seconds in times.items():
        ratio = "" if base is None else f"{again[tool] / base:.1f}"
        rows.append(f"| {tool} | {lines_of(programs()[tool])} | {seconds[0]:.1f} s | {again[tool]:.1f} s | {ratio} |")
    return "\n".join(rows)


def main() -> None:
    """Compare the tools that are there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=200, help="files to compress (200)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each tool runs (3)")
    parser.add_argument("--tool", action="append", choices=TOOLS, help="run this one (all of them)")
    options = parser.parse_args()
    tools = list(options.tool or TOOLS)
    for tool, there in (("GNU parallel", shutil.which("parallel")), ("Lithops", (LITHOPS / "lithops").exists())):
        if tool in tools and not there:
            print(f"{tool} is not installed, and left out: `make compare` installs it", file=sys.stderr)
            tools.remove(tool)
    cores, (load, _, _) = os.cpu_count() or 1, os.getloadavg()
    times = compare(
        tools, options.objects, options.rounds, cores, lambda line: print(line, file=sys.stderr, flush=True)
    )
    loads = f"load average {load:.1f} at the start, {os.getloadavg()[0]:.1f} at the end"
    print(f"{options.objects} objects, {cores} cores, {loads}")
    print(table(times))


if __name__ == "__main__":
    main()

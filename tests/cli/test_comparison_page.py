"""docs/comparison.md: its table counts the lines of the programs that it shows, and mu's compresses what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.comparison import PAGE, TOOLS, lines_of, programs

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_counts_the_lines_of_each_program() -> None:
    told = dict(re.findall(r"^\| ([\w ]+) \| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert told == {tool: str(lines_of(programs()[tool])) for tool in TOOLS}


@pytest.mark.long
@pytest.mark.process
def test_the_program_of_mu_compresses_every_file() -> None:
    words = ["-m", "bench.comparison", "--tool", "mu", "--objects", "3", "--rounds", "2"]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\| mu \| 3 \| \d+\.\d s \| \d+\.\d s \|  \|", done.stdout.splitlines()[-1])

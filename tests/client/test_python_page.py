"""docs/python.md: its lines are run in order, in one program with an empty home."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.local import stop

DOC = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
PROGRAM = """
import sys
from mu_twisted import connect
exec(compile(sys.stdin.read(), "docs/python.md", "exec"))
"""


def blocks() -> tuple[list[str], list[str]]:
    """The commands, and the programs; those whose packages would be fetched from an index are left to who has one."""
    found = re.findall(r"^    .*\n(?:^    .*\n|^\n(?=    ))*", DOC, re.MULTILINE)
    texts = [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]
    commands = [text for text in texts if text.startswith("mu ")]
    return commands, [text for text in texts if text not in commands and "requirements=" not in text]


@pytest.mark.long
@pytest.mark.process
def test_its_lines_do_what_they_say(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"}
    (tmp_path / "logs").mkdir()
    for number in range(1, 4):
        (tmp_path / "logs" / f"{number}.txt").write_text("a line\n" * number)
    commands, programs = blocks()
    printed = []
    try:
        subprocess.run(["bash", "-euc", "\n".join(commands)], env=env, cwd=tmp_path, check=True)
        for program in programs:
            words = [sys.executable, "-c", PROGRAM]
            done = subprocess.run(
                words, input=program, env=env, cwd=tmp_path, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            printed.append(sorted(done.stdout.splitlines()))
    finally:
        stop(tmp_path / ".local" / "state" / "mu" / "local")
    assert printed == [
        [f"logs/{number}.txt done s3://mine/gz/{number}.txt.gz 1" for number in range(1, 4)],
        [f"gz/{number}.txt.gz {7 * number}" for number in range(1, 4)],
        [f"{key} and {count} more 22140" for key, count in (("squares/1", 39), ("sums/0", 3))],
        [str([number * number for number in range(1000)])],
        ["256", "a b'a\\n'", "b b'b\\n'"],
    ]

"""docs/pipelines.md: its commands are run in order, and say what is printed there."""

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mu_twisted.cli.demo.fake_encoders import make_fake_encoders
from mu_twisted.local import default_state_dir, start
from mu_twisted.pipelines import pipeline_names

DOC = (Path(__file__).resolve().parents[2] / "docs" / "pipelines.md").read_text(encoding="utf-8")
CHANGING = [
    (r"-[0-9a-f]{8}\b", "-NAME"),
    (r"in \d+\.\d s", "in SECONDS"),
    (r"\d+\.\d ([MG])FLOPS", "RATE"),
    (r"(  from .*\n)+", "HISTOGRAM\n"),
]


def blocks() -> list[str]:
    """The indented blocks, without those that need the encoders."""
    found = re.findall(r"(?:^    .*\n)(?:(?:    .*)?\n)*", DOC, re.MULTILINE)
    found = [part for block in found for part in re.split(r"\n(?=    \$ )", block)]
    shown = ["".join(line[4:] + "\n" for line in block.rstrip().splitlines()) for block in found]
    return [block for block in shown if not re.match(r"mu (run xcenc7|local)\b", block)]


def settled(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def test_every_pipeline_is_in_the_table() -> None:
    assert sorted(re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE)) == pipeline_names()
    for name in pipeline_names():
        import_module(f"mu_twisted.pipelines.{name}")


@pytest.mark.long
@pytest.mark.process
def test_the_commands_say_what_is_printed(tmp_path: Path) -> None:
    script, printed = "", []
    for block in blocks():
        if "pipeline = Pipeline(" in block:
            (tmp_path / "count.py").write_text(block)
        elif not block.startswith("$ "):
            script += block.replace("mu lambdaize", "mu >&2 lambdaize")
        else:
            command, _, output = block[2:].partition("\n")
            script += f"echo '--- {len(printed)}'\n{command}\n"
            printed.append(settled(output))
    make_fake_encoders(tmp_path / "bin", ["vpxenc"])
    path = f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"}
    running = start(default_state_dir({"XDG_STATE_HOME": str(tmp_path / ".local" / "state")}))
    try:
        # The fake encoders' chunks are no films.
        script = re.sub(r"^mu run .*/out/.*\n", "echo merge-00000000: 1 of 1 tasks done in 0.0 s\n", script, flags=re.M)
        done = subprocess.run(
            ["bash", "-euc", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
        )
    finally:
        running.stop()
    assert done.returncode == 0, done.stderr
    outputs = re.split(r"^--- \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert [settled(output) for output in outputs] == printed

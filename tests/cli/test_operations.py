"""docs/operations.md: its commands are run in order, and say what is printed there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_processes import TWISTD, Process

from mu_twisted.web._api import Api

DOC = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")
LIMIT = 180.0
CHANGING = [
    (r"-[0-9a-f]{8}\b", "-NAME"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME"),
    (r"in \d+\.\d s", "in SECONDS"),
    (r"process \d+", "process PID"),
    (r"(local stack in|--local --state-dir) [^\s:`]+", r"\1 DIR"),
    (r"(mu coordinator --control|port|127\.0\.0\.1:) ?\d+", "PORT"),
]


def settled(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def blocks() -> list[str]:
    """The indented blocks."""
    found = re.findall(r"(?:^    .*\n)(?:(?:    .*)?\n)*", DOC, re.MULTILINE)
    return ["".join(line[4:] + "\n" for line in block.rstrip().splitlines()) for block in found]


def session() -> tuple[list[str], list[str]]:
    """The commands behind a ``$``, and what each printed; without curl's where a machine has none."""
    commands: list[str] = []
    printed: list[str] = []
    for block in blocks():
        if block.startswith("$ "):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = part.partition("\n")
                if command.startswith("curl ") and shutil.which("curl") is None:
                    continue
                commands.append(command)
                printed.append(output)
    return commands, printed


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A directory whose control socket curl can dial: it takes no path of more than 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="mu-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def home(short_path: Path) -> Iterator[Path]:
    """A user's home, with a coordinator that runs as the first paragraphs say."""
    process = Process(
        *TWISTD,
        *("mu-coordinator", "--local", "-t", "0", "--control", "tcp:0:interface=127.0.0.1"),
        env=environment(short_path),
        cwd=short_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = ""
    try:
        for line in process.stderr:
            said += line
            if "ready for operators" in line:
                (short_path / "control-port").write_text(line.split()[-1])
            if "ready for workers" in line:
                break
        else:
            pytest.fail(f"it ended before it was ready: {said}")
        yield short_path
    finally:
        process.terminate()
        try:
            process.communicate(timeout=180)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()


def environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.long
@pytest.mark.process
def test_the_commands_say_what_is_printed(home: Path) -> None:
    commands, printed = session()
    assert len(commands) > 10
    [module] = [block for block in blocks() if "pipeline = Pipeline(" in block]
    (home / "mine.py").write_text(module)
    [preparation] = [block for block in blocks() if "mu mb " in block]
    port = (home / "control-port").read_text()
    marked = "".join(f"echo '--- {at}'\n{command}\n" for at, command in enumerate(commands))
    script = f"until mu local-env > ready; do sleep 0.2; done 2> waiting\n{preparation}\n{marked}"
    done = subprocess.run(
        ["bash", "-uc", script.replace("127.0.0.1:13580", f"127.0.0.1:{port}")],
        env=environment(home),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    outputs = re.split(r"^--- \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert [settled(output) for output in outputs] == [settled(output) for output in printed]


def test_every_request_is_in_the_table() -> None:
    written = set(re.findall(r"^\| `([A-Z]+) /v1/([^`?]+)", DOC, re.MULTILINE))
    routes = Api(None, None)._routes  # type: ignore[arg-type]
    offered = {
        (method, "/".join(segment or "JOB" for segment in shape))
        for shape, methods in routes.items()
        for method in methods
    }
    assert written == offered

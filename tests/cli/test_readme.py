"""The README's first job, run as it is printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.cli._main import COMMANDS
from mu_twisted.local import default_state_dir, stop

README = Path(__file__).resolve().parents[2] / "README.md"


def commands_after(text: str) -> str:
    """The indented block that follows this text."""
    found = re.search(re.escape(text) + r"[\s\S]*?\n\n((?:    .*\n|\n)+)", README.read_text(encoding="utf-8"))
    assert found is not None
    return "".join(line[4:] + "\n" for line in found[1].splitlines())


# Looked up here, so that a text that has changed is noticed without the tests that take long.
DEMO_PRINTS = commands_after("then turns 60 PNG frames into ten Y4M files")
OWN_JOB = commands_after("Then a job of your own: a folder of pictures")
OWN_JOB_PRINTS = commands_after("any folder of them will do. It prints")
FROM_PYTHON = commands_after("The same from Python, several maps as stages of one job, and Python functions on workers")


@pytest.mark.process
def test_the_first_job_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = commands_after("Make a bucket in the embedded S3, have eight workers")
    try:
        done = subprocess.run(
            ["bash", "-euc", script], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
    finally:
        stop(default_state_dir({"XDG_STATE_HOME": str(tmp_path / ".local" / "state")}))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 of 8 tasks done" in done.stdout
    assert "numbers/07.gz" in done.stdout
    assert done.stdout.endswith("\n7\n")


CHANGING = [
    (r"(local stack in|--state-dir) \S+", r"\1 DIR"),
    (r"-[0-9a-f]{8}\b", "-NAME"),
    (r"mu-[0-9a-f]{16}", "FUNCTION"),
    (r"process \d+", "process PID"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r" +\d+\.\d (s|MB)\b", r" N \1"),
]


def settled(text: str) -> list[str]:
    """Its lines, without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return [line for line in text.splitlines() if line]


@pytest.mark.long
@pytest.mark.process
def test_two_hundred_pictures_become_small_and_are_measured_as_printed(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    script = OWN_JOB.replace(". .venv/bin/activate\n", "")
    (tmp_path / "measure.py").write_text(FROM_PYTHON)
    try:
        done = subprocess.run(
            ["bash", "-euc", f"{script}\npython measure.py"],
            env=environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    finally:
        stop(default_state_dir({"XDG_STATE_HOME": str(tmp_path / ".local" / "state")}))
    assert done.returncode == 0, done.stdout
    said = settled(done.stdout)
    measured = re.search(r"It prints\n\n    (200 pictures.*)\n    (\d+)\n", README.read_text(encoding="utf-8"))
    assert measured is not None
    assert done.stdout.splitlines()[-2:] == [measured[1], measured[2]]
    assert [line for line in settled(OWN_JOB_PRINTS) if line not in said] == []
    made = sorted((tmp_path / "small").iterdir())
    assert [path.name for path in made] == [f"{number:03d}.jpg" for number in range(1, 201)]
    assert {path.read_bytes()[:2] for path in made} == {b"\xff\xd8"}


@pytest.mark.long
@pytest.mark.process
def test_the_demo_prints_what_is_printed(tmp_path: Path) -> None:
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "MU_RETRIES": "0"}
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "mu.toml").write_text("[defaults]\nregion = 'eu-west-1'\nprogram = '/bin/true'\n")
    done = subprocess.run(
        [Path(sys.executable).parent / "mu", "demo"],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    printed = settled(DEMO_PRINTS)
    said = settled(done.stdout)
    assert [line for line in printed if line not in said] == []
    # In a job that takes long a line of progress comes every few seconds.
    ours, shown = ([line for line in lines if " waiting, " not in line] for lines in (said, printed))
    assert len(ours) == len(shown)


def test_the_table_names_each_command_and_daemon_once() -> None:
    rows = re.findall(r"^\| (`.*?) \| ", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = [words for row in rows for words in re.findall(r"`(?:twistd )?(mu[- ][^`]*)`", row)]
    first = [" ".join(words.split()[: 1 if words.startswith("mu-") else 2]) for words in told]
    assert {name.removeprefix("mu ") for name in first if name.startswith("mu ")} == set(COMMANDS)
    assert {name for name in first if name.startswith("mu-")} == {"mu-coordinator", "mu-rendezvous", "mu-local"}
    assert len(told) == len(set(told))

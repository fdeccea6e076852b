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


def test_the_table_names_each_command_and_daemon_once() -> None:
    rows = re.findall(r"^\| (`.*?) \| ", README.read_text(encoding="utf-8"), re.MULTILINE)
    told = [words for row in rows for words in re.findall(r"`(?:twistd )?(mu[- ][^`]*)`", row)]
    first = [" ".join(words.split()[: 1 if words.startswith("mu-") else 2]) for words in told]
    assert {name.removeprefix("mu ") for name in first if name.startswith("mu ")} == set(COMMANDS)
    assert {name for name in first if name.startswith("mu-")} == {"mu-coordinator", "mu-rendezvous", "mu-local"}
    assert len(told) == len(set(told))

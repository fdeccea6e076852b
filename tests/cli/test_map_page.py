"""docs/map.md: its commands are run in order, and say what is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.local import default_state_dir, start

DOC = (Path(__file__).resolve().parents[2] / "docs" / "map.md").read_text(encoding="utf-8")
CHANGING = [
    (r"-[0-9a-f]{8}\b", "-NAME"),
    (r"in \d+\.\d s", "in SECONDS"),
    (r" in the local stack in \S+", " in the local stack"),
    (r"/bin/sh: .*\[: .*", "SHELL'S WORDS"),
    (r"list of \d+-\d+-\d+", "list of DATE"),
]


def commands() -> list[tuple[str, str]]:
    """Each command, and what is printed; those that prepare print nothing that is shown."""
    found = []
    for block in re.findall(r"(?:^    .*\n)+", DOC, re.MULTILINE):
        text = re.sub(r"^    ", "", block, flags=re.MULTILINE)
        if text.startswith("$ "):
            for one in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, output = one.partition("\n")
                found.append((command, output))
        elif "INPUTS -- COMMAND" not in text:
            found.append((f"{{ {text.strip()}\n}} > /dev/null", ""))
    return found


def settled(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


@pytest.mark.long
@pytest.mark.process
def test_the_commands_say_what_is_printed(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {"HOME": str(tmp_path), "PATH": path, "AWS_EC2_METADATA_DISABLED": "true", "MU_LOCAL": "1"}
    script, printed = "until mu jobs > /dev/null 2>&1; do sleep 0.2; done\n", []
    for number, (command, output) in enumerate(commands()):
        # A command that fails is shown to do so.
        script += f"echo '--- {number}'\n" + (f"{{ {command}\n}} 2>&1 || true\n" if output else f"{command}\n")
        printed.append(settled(output))
    state = tmp_path / ".local" / "state"
    running = start(default_state_dir({"XDG_STATE_HOME": str(state)}))
    twistd = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
    words = ["-n", "--pidfile=", "mu-coordinator", "--local", "-t", "tcp:0:interface=127.0.0.1"]
    with (tmp_path / "coordinator.log").open("wb") as log:
        coordinator = subprocess.Popen([*twistd, *words], env=env, cwd=tmp_path, stdout=log, stderr=log)
    try:
        done = subprocess.run(
            ["bash", "-euc", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=180, check=False
        )
    finally:
        coordinator.terminate()
        coordinator.wait(180)
        running.stop()
    assert done.returncode == 0, done.stderr
    outputs = re.split(r"^--- \d+\n", done.stdout, flags=re.MULTILINE)[1:]
    assert [settled(output) for output in outputs] == printed

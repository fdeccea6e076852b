"""docs/faces.md: its commands are run in order, with the real networks, and say what is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.cli.faces.command import EXCLUDE, PROGRAMS
from mu_twisted.local import default_state_dir, start

DOC = (Path(__file__).resolve().parents[2] / "docs" / "faces.md").read_text(encoding="utf-8")
CHANGING = [(r"-[0-9a-f]{8}\b", "-NAME"), (r"in \d+\.\d s", "in SECONDS"), (r"distance 0\.\d\d", "distance NEAR")]
COMMANDS = DOC.split("## Switches")[0]


def settled(text: str) -> str:
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


def mu(*words: str, work: Path) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]
    env = {"HOME": str(work), "PATH": os.environ["PATH"]}
    return subprocess.run([*program, *words], cwd=work, env=env, capture_output=True, text=True, check=False)


def test_what_is_written_is_what_the_printed_command_packs(tmp_path: Path) -> None:
    done = mu("faces", "a b", "-b", "mine", work=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    wheel, lambdaize = done.stdout.splitlines()
    assert wheel.startswith("pip wheel --no-deps --use-pep517 --wheel-dir 'a b/wheels' face-recognition-models==")
    for name in (*PROGRAMS, "requirements.txt", "ffmpeg"):
        assert f"'a b/{name}'" in lambdaize
        assert (tmp_path / "a b" / name).is_file()
    assert os.access(tmp_path / "a b" / PROGRAMS[0], os.X_OK)
    assert f"--exclude '{EXCLUDE}' --code-bucket mine --name faces" in lambdaize
    (tmp_path / "file").touch()
    refused = mu("faces", "file", work=tmp_path)
    assert (refused.returncode, refused.stderr) == (1, "error: file cannot be written: File exists\n")


@pytest.mark.long
@pytest.mark.process
def test_the_commands_say_what_is_printed(tmp_path: Path) -> None:
    """It fetches 200 MB of packages from the index that pip is configured with."""
    found = re.findall(r"(?:^    .*\n)(?:(?:    .*)?\n)*", COMMANDS, re.MULTILINE)
    parts = [part for block in found for part in re.split(r"\n(?=    \$ )", block)]
    script, printed = "", ""
    for part in parts:
        lines = [line[4:] for line in part.rstrip().splitlines()]
        if lines[0].startswith("$ "):
            script += f"echo --- run\n{lines[0][2:]}\necho --- ran\n"
            printed = "\n".join(lines[1:]) + "\n"
        else:
            script += "\n".join(lines) + "\n"
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**kept, "HOME": str(tmp_path), "PATH": path, "AWS_EC2_METADATA_DISABLED": "true"}
    running = start(default_state_dir({"XDG_STATE_HOME": str(tmp_path / ".local" / "state")}))
    try:
        done = subprocess.run(
            ["bash", "-euc", script], env=env, cwd=tmp_path, capture_output=True, text=True, timeout=900, check=False
        )
    finally:
        running.stop()
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("--- run\n")[2].partition("--- ran\n")[0]
    assert settled(said) == settled(printed)
    assert (tmp_path / "sheet.jpg").read_bytes().startswith(b"\xff\xd8\xff")
    assert '{"from": 2.0, "to": 5.0, "distance": 0.' in done.stdout

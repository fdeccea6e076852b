"""The tutorial's text works as it stands: its modules are pipelines, and both notations send the same commands."""

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.fsm import Machine, Outcome
from mu_twisted.pipelines import Pipeline, load_pipeline

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
STATES, SCRIPT, BY_HAND = BLOCKS
NOTATIONS = {"states": STATES, "script": SCRIPT}
BUILT_IN = ROOT / "mu_twisted" / "pipelines" / "png2y4m.py"


def load(directory: Path, text: str) -> Pipeline:
    (directory / "mine.py").write_text(text)
    return load_pipeline(str(directory / "mine.py"))


def reply(command: bytes) -> bytes:
    """What a worker of PROTOCOL section 2 says, of a job that does not run in the background."""
    name, _, rest = command.partition(b":")
    if name in (b"set", b"seti"):
        return b"OK:%s(%s)" % (name.upper(), rest.partition(b":")[0])
    if name in (b"retrieve", b"upload"):
        return b"OK:%s(bucket/%s)" % (name.upper(), rest.partition(b"\0")[0])
    assert name == b"run"
    return b"OK:RETVAL(0):OUTPUT(done\n):COMMAND(./png2y4m)"


def converse(pipeline: Pipeline, task: int, *switches: str) -> list[bytes]:
    """All commands of one task, each replied to at once."""
    options = pipeline.options()
    options.parseOptions(list(switches))
    machine = Machine(pipeline.first, task, settings=options)
    sent = machine.start()
    answers = [b"OK:HELLO"]
    while machine.outcome is Outcome.RUNNING:
        commands = machine.receive(answers)
        answers = [reply(command) for command in commands]
        sent += commands
    assert machine.outcome is Outcome.DONE, machine.error
    return sent


@pytest.mark.parametrize("switches", [(), ("-f", "1"), ("-f", "3", "-o", "10", "-v", "film", "-i", "png8")])
@pytest.mark.parametrize("task", [0, 7])
def test_both_notations_send_the_same_commands(tmp_path: Path, task: int, switches: tuple[str, ...]) -> None:
    states = converse(load(tmp_path, STATES), task, *switches)
    script = converse(load(tmp_path, SCRIPT), task, *switches)
    assert states == script


@pytest.mark.parametrize("notation", NOTATIONS)
def test_frames_keep_their_numbers_in_s3_and_begin_with_1_in_the_directory(tmp_path: Path, notation: str) -> None:
    sent = converse(load(tmp_path, NOTATIONS[notation]), 3, "-f", "2", "-o", "10")
    assert sent == [
        b"set:cmdinfile:##TMPDIR##/%08d.png",
        b"set:cmdoutfile:##TMPDIR##/out.y4m",
        b"seti:nonblock:0",
        b"retrieve:sintel-1k-png16/00000027.png\0##TMPDIR##/00000001.png",
        b"retrieve:sintel-1k-png16/00000028.png\0##TMPDIR##/00000002.png",
        b"run:",
        b"upload:sintel-1k-y4m_02/00000013.y4m\0##TMPDIR##/out.y4m",
    ]


@pytest.mark.parametrize("notation", NOTATIONS)
def test_the_error_of_a_failed_command_is_the_one_shown(
    tmp_path: Path, notation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(tmp_path, NOTATIONS[notation])
    monkeypatch.chdir(tmp_path)
    printed = io.StringIO()
    namespace: dict[str, Any] = {}
    with contextlib.redirect_stdout(printed):
        exec(compile(BY_HAND, "by_hand.py", "exec"), namespace)
    assert printed.getvalue() in TEXT


def test_the_built_in_pipeline_is_the_tutorials_text() -> None:
    if not BUILT_IN.exists():
        pytest.skip("the built-in png2y4m is not there yet")
    assert BUILT_IN.read_text() == STATES

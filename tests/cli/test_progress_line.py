"""The last line of a terminal says how far a command is."""

import io
import re
import sys

import pytest

from mu_twisted.cli import _s3
from mu_twisted.cli._wait import ProgressLine


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_copy_that_takes_long_shows_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_s3._CopyProgress, "STEP", 0.0)
    progress = _s3._CopyProgress(4_000_000)
    progress.moved(1_000_000)
    progress.moved(1_000_000)
    assert "25 %" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()


JOB = {"job": "j", "tasks": 100, "done": 45, "failed": 2, "active": 5, "state": "running"}


def shown(monkeypatch: pytest.MonkeyPatch, columns: int, **environ: str) -> str:
    """What a terminal so wide is sent of a job."""
    for name, value in ({"TERM": "xterm", "NO_COLOR": "", "COLUMNS": str(columns)} | environ).items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine()
    line.show_job(JOB)
    line.clear()
    return terminal.getvalue()


def test_a_job_is_shown_in_colours_and_without_where_the_user_wants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[31m2 failed\x1b[m" in shown(monkeypatch, 80)
    plain = shown(monkeypatch, 80, NO_COLOR="1")
    assert "2 failed" in plain
    assert set(re.findall(r"\x1b\[[0-9;]*[A-Za-z]", plain)) == {"\x1b[K"}
    assert shown(monkeypatch, 80, TERM="dumb") == ""


def test_it_follows_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    line = ProgressLine()
    for columns in (100, 20, 4):
        monkeypatch.setenv("COLUMNS", str(columns))
        terminal.truncate(0)
        line.show_job(JOB)
        drawn = terminal.getvalue().strip("\0").removeprefix("\r").removesuffix("\x1b[K")
        assert len(drawn) < columns
        assert ("47 %" in drawn) is (columns > 4)


def test_what_is_no_terminal_is_sent_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = io.StringIO()
    monkeypatch.setattr(sys, "stderr", nothing)
    line = ProgressLine()
    line.show_job(JOB)
    line.clear()
    line.say("a line")
    assert nothing.getvalue() == "a line\n"

"""The last line of a terminal says how far a command is."""

import io
import sys

import pytest

from mu_twisted.cli import _s3


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_copy_that_takes_long_shows_how_much_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(_s3._Progress, "STEP", 0.0)
    progress = _s3._Progress(4_000_000)
    progress.moved(1_000_000)
    progress.moved(1_000_000)
    assert "25 %" in terminal.getvalue()
    assert "50 %" in terminal.getvalue()

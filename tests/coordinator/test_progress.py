"""What a one-shot job shows of itself: a live line on a terminal, elsewhere a line every few seconds."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from twisted.internet.task import Clock

from mu_twisted.coordinator import Progress
from mu_twisted.statuses import Cost, JobStatus


def shown(terminal: bool, kind: str, cost: Cost | None = None) -> str:
    """All that is written in seven seconds of a job."""
    out, clock = io.StringIO(), Clock()
    console = Console(file=out, force_terminal=terminal, width=100, _environ={"TERM": kind})
    progress = Progress(
        console,
        clock,
        lambda: JobStatus("j", "p", "running", 0.0, tasks=9, done=int(clock.seconds()), active=2, failed=1, cost=cost),
    )
    progress.start()
    for _ in range(7):
        clock.advance(1.0)
    progress.stop()
    assert not clock.getDelayedCalls()
    return out.getvalue()


def test_on_a_terminal_a_bar_is_written_again_and_again() -> None:
    written = shown(terminal=True, kind="xterm")
    while_it_ran = written.partition("\n")[0]
    plain = re.sub(r"\x1b\[[0-9;]*m", "", while_it_ran)
    states = re.findall(r"(\d+) %  (\d) of 9 done  1 failed  2 active", plain)
    assert list(dict.fromkeys(states)) == [(str(100 * (second + 1) // 9), str(second)) for second in range(8)]
    assert while_it_ran.count("\r\x1b[2K") >= 7
    assert written.endswith("\x1b[2K7 done, 2 active, 0 waiting, 1 failed of 9, 7.0 s\n")


def test_where_the_bar_has_told_a_cost_so_does_the_last_line() -> None:
    cost = Cost(3, 100.0, 176.9, 0.01234, "USD", "2026-11-01")
    assert shown(True, "xterm", cost).endswith("1 failed of 9, 7.0 s, 0.0123 USD\n")
    assert shown(True, "xterm", replace(cost, price=None)).endswith("1 failed of 9, 7.0 s\n")
    assert "USD" not in shown(False, "xterm", cost)


@pytest.mark.parametrize(("terminal", "kind"), [(False, "xterm"), (True, "dumb")])
def test_elsewhere_a_line_is_written_every_few_seconds(terminal: bool, kind: str) -> None:
    assert shown(terminal, kind).splitlines() == [
        "5 done, 2 active, 0 waiting, 1 failed of 9, 5.0 s",
        "7 done, 2 active, 0 waiting, 1 failed of 9, 7.0 s",
    ]

"""Progress is shown by a live bar on a terminal, elsewhere by a line every few seconds."""

from collections.abc import Callable

import msgspec
from rich.console import Console
from rich.live import Live
from rich.text import Text
from twisted.logger import Logger

from mu_twisted.statuses import JobStatus
from mu_twisted.transport import ReactorTime, every
from mu_twisted.wording import Rate, price_text, progress_bar, stages_under_way

LIVE_PERIOD = 0.2
"""Seconds between two looks on a terminal."""
LINE_PERIOD = 5.0
"""Seconds between two lines elsewhere."""


def progress_line(counts: JobStatus, seconds: float) -> str:
    """What one sees of a job: ``7 done, 3 active, 0 waiting, 0 failed of 10, 2.1 s``, and stages that are under way.

    :param counts: the job's status.
    :param seconds: that it has run.
    """
    stages = stages_under_way(msgspec.to_builtins(counts.stages))
    ended = counts.state in ("cancelled", "interrupted")
    return (
        f"{counts.done} done, {counts.active} active, {counts.waiting} waiting, "
        f"{counts.failed} {'not done' if ended else 'failed'} "
        f"of {counts.tasks}, {seconds:.1f} s{f' ({stages})' if stages else ''}"
    )


class Progress:
    """Shows a job's counts until it is stopped.

    :param console: where to; a terminal that can take a line back gets the bar.
    :param clock: drives it.
    :param counts: asked each time.
    """

    log = Logger()

    def __init__(self, console: Console, clock: ReactorTime, counts: Callable[[], JobStatus]) -> None:
        self._console = console
        self._clock = clock
        self._counts = counts
        self._start = clock.seconds()
        self._rate = Rate()
        # A dumb terminal cannot take a line back: rich would show nothing on it.
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._loop = every(clock, LIVE_PERIOD if self._live is not None else LINE_PERIOD, self._show)

    def start(self) -> None:
        """Begin to show."""
        if self._live is not None:
            self._live.start()
        self._loop.start(now=self._live is not None)

    def stop(self) -> None:
        """Take the live line away; print the last state."""
        if not self._loop.running:
            return
        self._loop.stop()
        if self._live is not None:
            self._live.stop()
        self._print(self._cost() if self._live is not None else "")

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(self._bar(self._console.width - 1), refresh=True)
        else:
            self._print()

    def _print(self, more: str = "") -> None:
        self._console.print(Text(self._line() + more), soft_wrap=True)

    def _cost(self) -> str:
        """What the bar has shown of it."""
        cost = self._counts().cost
        return "" if cost is None or cost.price is None else f", {price_text(cost.price, cost.currency)}"

    def _bar(self, width: int) -> Text:
        counts, now = self._counts(), self._clock.seconds()
        pieces = progress_bar(
            msgspec.to_builtins(counts),
            width,
            rate=self._rate.take(now, counts.done + counts.failed),
            took=now - self._start,
            ascii_only=not self._console.encoding.startswith("utf"),
        )
        return Text.assemble(*pieces, no_wrap=True)  # without colours where NO_COLOR says so

    def _line(self) -> str:
        return progress_line(self._counts(), self._clock.seconds() - self._start)

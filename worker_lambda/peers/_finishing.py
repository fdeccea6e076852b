"""A run that has ended well waits here, one after the other, until its state is kept and sent on.

A run's result is reported only then: the coordinator may start the next run on it, which uses the files. Nor is a state
read while the last one waits to be taken by the rendezvous, so states do not accumulate in memory.
"""

from collections import deque
from collections.abc import Callable
from pathlib import Path

from worker_lambda.peers._channel import PeerChannel
from worker_lambda.peers._states import StateRun, keep_output, message_of
from worker_lambda.programs import CommandRuns


class _Item:
    def __init__(
        self, run: StateRun, directory: Path, done: Callable[[str | None], None], killed: Callable[[], None]
    ) -> None:
        self.run = run
        self.directory = directory
        self.done = done
        self.killed = killed
        self.abandoned = False
        self.message: bytes | None = None

    def work(self, cancelled: Callable[[], bool]) -> None:
        """In a thread."""
        keep_output(self.run, self.directory, lambda: self.abandoned or cancelled())
        if self.run.send:
            self.message = message_of(self.run, self.directory)


class Finishing:
    """Keeps and sends the states of ended runs, one at a time.

    :param runs: starts what takes time, beside the loop.
    :param channel: where states go.
    :param strict: whether what cannot be kept or sent fails the run; else it is only logged, as for a coordinator that
        did not ask for a state explicitly.
    :param log: takes one line.
    """

    def __init__(self, runs: CommandRuns, channel: PeerChannel, *, strict: bool, log: Callable[[str], None]) -> None:
        self._runs = runs
        self._channel = channel
        self._strict = strict
        self._log = log
        self._waiting: deque[_Item] = deque()
        self._current: _Item | None = None

    @property
    def active(self) -> int:
        """How many runs have not been reported."""
        return len(self._waiting) + (self._current is not None)

    def add(
        self, run: StateRun, directory: Path, done: Callable[[str | None], None], killed: Callable[[], None]
    ) -> None:
        """Take a run that has exited with 0.

        :param directory: the worker's private one, as it was when the run was started.
        :param done: is given what went wrong, None if nothing did.
        :param killed: called instead where :meth:`kill` came first.
        """
        self._waiting.append(_Item(run, directory, done, killed))
        self.pump()

    def pump(self) -> None:
        """Begin with the next one, if it can be begun; to be called in each pass of the loop."""
        while self._current is None and self._waiting:
            item = self._waiting[0]
            if item.run.send and not self._channel.has_room:
                return
            self._current = self._waiting.popleft()
            self._runs.chore(item.work, lambda error, item=item: self._finish(item, error))  # type: ignore[misc]

    def kill(self) -> None:
        """Give all up."""
        for item in self._clear():
            item.killed()

    def drop(self) -> None:
        """Give all up, and report nothing."""
        self._clear()

    def _clear(self) -> list[_Item]:
        items = [*([self._current] if self._current is not None else []), *self._waiting]
        self._current = None
        self._waiting.clear()
        for item in items:
            item.abandoned = True
        return items

    def _finish(self, item: _Item, error: str | None) -> None:
        if item is not self._current:
            return
        self._current = None
        if error is None and item.message is not None and not self._channel.open:
            error = f"the state of run_iter {item.run.run_iter} was not sent: the peer channel is not open"
        if error is not None and not self._strict:
            self._log(f"warning: {error}")
            error = None
        elif error is None and item.message is not None:
            self._channel.send(item.message)
        item.done(error)

"""A commit queue records the decisions of one turn of the reactor together, and has them carried out after that.

Knows neither what an action means nor how it is done.
"""

from collections import deque
from collections.abc import Callable, Iterable

from twisted.internet.base import DelayedCall

from mu_twisted.coordinator._interfaces import Recorder
from mu_twisted.jobs import Action, Record
from mu_twisted.transport import ReactorTime


class CommitQueue:
    """The actions of one job, from their decision until they are carried out.

    :param clock: for the end of the turn.
    :param recorder: of the job's records.
    :param act: carries one action out. It does not fail.
    :param recorded: is called when decisions are on record, before they are carried out. It does not fail.
    """

    def __init__(
        self,
        clock: ReactorTime,
        recorder: Recorder,
        act: Callable[[Action], None],
        recorded: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._recorder = recorder
        self._act = act
        self._recorded = recorded
        self._todo: deque[Action] = deque()
        self._turn: DelayedCall | None = None
        self._busy = False

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._todo

    def take(self, actions: Iterable[Action]) -> None:
        """These were decided. Where nothing is to be recorded before, they are carried out at once."""
        records = []
        for action in actions:
            if isinstance(action, Record):
                records.append(action.record)
            else:
                self._todo.append(action)
        if records:
            self._recorder.record(records)
            if self._turn is None:
                self._turn = self._clock.callLater(0, self.end)
        elif self._turn is None:
            self._act_all()

    def end(self) -> None:
        """The turn is over."""
        turn, self._turn = self._turn, None
        if turn is not None and turn.active():
            turn.cancel()
        self._recorder.flush()
        self._recorded()
        self._act_all()

    def drop(self) -> None:
        """What waits is not to be done."""
        self._todo.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _act_all(self) -> None:
        # Carrying one out may report the next event at once (a machine that ends where it starts): then its actions
        # wait their turn behind those that were decided before.
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo and self._turn is None:
                self._act(self._todo.popleft())
        finally:
            self._busy = False

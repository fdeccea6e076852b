"""The model's tasks as connections of the transport's core, which carries their streams where it can."""

import shutil
from typing import Any, cast

from core_relay import CoreRelay
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from links_model import Against, tasks
from memory_links import KIB, SHORT, TASKS, Store, Task, content, frames_of
from memory_relay import Link
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.rendezvous._link_session import LinkSession
from mu_twisted.wire.links import LinkFrame, LinkGreeting, Unwant, Want, parse_link_frame


class CarriedStore(Store):
    """As its base, in a relay."""

    def __init__(self, limits: RelayLimits) -> None:
        self.world = CoreRelay(limits)
        self.directory = self.world.directory
        self.troubles = []
        self.mailboxes = self.world.relay.mailboxes
        self.store = self.mailboxes.store
        self._observer: ILogObserver = cast(ILogObserver, self._logged)
        globalLogPublisher.addObserver(self._observer)

    def _logged(self, event: LogEvent) -> None:
        if "log_failure" in event:
            self.troubles.append(event["log_failure"].getTraceback())

    @property
    def lost(self) -> set[int]:
        """Whose loss would have been told to the coordinator."""
        run = self.mailboxes.jobs.get(b"j")
        return set() if run is None else run.lost

    @lost.setter
    def lost(self, told: set[int]) -> None:
        """It is told already."""

    def end(self) -> None:
        ended = self.mailboxes.end(b"j")
        assert ended is not None
        self.world.relay._close_readers(ended, "the job is over")
        self.world.settle()

    def close(self) -> None:
        globalLogPublisher.removeObserver(self._observer)
        self.world.relay.mailboxes.clear()
        assert (self.store.memory.used, self.store.stored.used, self.store.named.used) == (0, 0, 0)
        assert not self.store.taken
        assert not self.store.gone
        assert not self.store.idle
        self.world.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class _Wire(Link):
    """Its end, which acknowledges nothing by itself."""

    def frames_received(self, payloads: list[bytes]) -> None:
        self.got += payloads


class CarriedTask(Task):
    """As its base, over a connection: what has come is heard when the test says so."""

    def __init__(self, store: CarriedStore, task: int, attempt: int) -> None:
        self.store, self.task, self.attempt = store, task, attempt
        self.may_repeat = self.may_lie = False
        self.sending, self.coming, self.lengths, self.got = {}, {}, {}, {}
        self.safe, self.refused = set(), {}
        self.waiting: set[tuple[int, int, bytes]] = set()
        self.world = store.world
        self.wire = _Wire(self.world)
        self.world.dial(None, self.wire)
        self.wire.says(LinkGreeting(b"j", task, attempt, {"whole": True}).encode())
        assert self.wire.heard()[0].startswith(b"OK:HELLO_LINK:")
        self.run = store.mailboxes.jobs[b"j"]
        self._session = cast(Any, self.run.links.receivers[task])

    @property
    def session(self) -> LinkSession | None:  # type: ignore[override]
        """None: its connection is gone."""
        there = not self.wire.reasons and self.run.links.receivers.get(self.task) is self._session
        return cast(LinkSession, self._session) if there else None

    def says(self, *frames: LinkFrame) -> None:
        """As a worker does: it asks once for a message, and looks at what has come before it asks no more."""
        said = []
        for frame in frames:
            if isinstance(frame, Want):
                key = frame.peer, frame.number, frame.name
                if key in self.waiting:
                    continue
                self.waiting.add(key)
            elif isinstance(frame, Unwant):
                self.hears()
                self.waiting = {key for key in self.waiting if (key[0], key[2]) != (frame.peer, frame.name)}
            said.append(frame.encode())
        if said:
            self.wire.says(*said)

    def hears(self, limit: int = 1 << 30) -> list[LinkFrame]:
        said: list[LinkFrame] = []
        while self.wire.got and len(said) < limit:
            raw = self.wire.got.pop(0)
            if raw.startswith(b"FAIL("):
                break
            frame = parse_link_frame(raw)
            said.append(frame)
            self.heard(frame)
        return said

    def leaves(self) -> None:
        if not self.wire.reasons:
            self.wire.wire.abort()
            self.world.settle()


class CarriedAgainst(Against):
    """The model, with connections of the core."""

    limits = RelayLimits(memory=200 * KIB, links=1500 * KIB, disk=2000 * KIB, named=90)
    newer = (0, 1, 2)

    @rule(sender=tasks, to=tasks, messages=st.integers(1, 8))
    def send_short(self, sender: int, to: int, messages: int) -> None:
        task = self.tasks[sender]
        if task.session is None:
            return
        first = self.next.get((sender, to, SHORT), 0) + 1
        self.next[sender, to, SHORT] = first + messages - 1
        numbers = range(first, first + messages)
        bodies = {number: content(sender, to, SHORT, number) for number in numbers}
        task.sending |= {(to, SHORT, number): iter(()) for number in numbers}
        task.says(*(next(frames_of(to, SHORT, each, body, whole=True)) for each, body in bodies.items()))

    @rule(me=tasks, sender=tasks, ahead=st.integers(1, 8))
    def want_short(self, me: int, sender: int, ahead: int) -> None:
        task = self.tasks[me]
        if task.session is not None:
            have = [number for peer, name, number in task.got if (peer, name) == (sender, SHORT)]
            first = max(have, default=0) + 1
            task.says(*(Want(sender, number, SHORT) for number in range(first, first + ahead)))

    @invariant()
    def short_messages_are_in_order(self) -> None:
        for task in self.tasks.values():
            for sender in TASKS:
                have = [number for peer, name, number in task.got if (peer, name) == (sender, SHORT)]
                assert have == list(range(1, len(have) + 1))

    def make_store(self) -> Store:
        return CarriedStore(self.limits)

    def make_task(self, task: int, attempt: int = 0) -> Task:
        return CarriedTask(cast(CarriedStore, self.store), task, attempt)

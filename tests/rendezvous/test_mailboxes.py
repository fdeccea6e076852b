"""The mailboxes against a simple model: no loss, no reordering, takeover, limits; and one rule after the other."""

import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from property_examples import examples

from mu_twisted.rendezvous import Full, Mailboxes, MessageStore, PeerRefused, RelayLimits, Spill
from mu_twisted.rendezvous._limits import OVERHEAD
from mu_twisted.wire import Decoder, PeerGreeting, encode

LIMITS = RelayLimits(
    memory=20_000, window=3_000, retain=5_000, spill=40_000, disk=60_000, message=1 << 20, runs=5, mailboxes=30
)
TASKS = range(3)


class Office:
    """Mailboxes with a disk of their own."""

    def __init__(self, limits: RelayLimits = LIMITS) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mu-mailboxes-"))
        self.troubles: list[str] = []
        self.store = MessageStore(limits, Spill(self.directory / "spill"), self.troubles.append)
        tokens = count()
        self.mailboxes = Mailboxes(self.store, lambda: f"token{next(tokens)}")

    def files(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("spill/*/*"))

    def close(self) -> None:
        self.mailboxes.clear()
        shutil.rmtree(self.directory)


@dataclass(eq=False)
class Reader:
    """A reader with a subscription, and what it has been given."""

    subscription: Any
    decoder: Decoder = field(default_factory=lambda: Decoder(1 << 20))
    got: list[bytes] = field(default_factory=list)

    def take(self, limit: int) -> bool:
        data = self.subscription.inbox.take(limit)
        assert len(data) <= limit
        self.got += self.decoder.feed(data)
        return bool(data)


@dataclass
class Box:
    """What the model knows of one mailbox: all that was ever sent to it, and how far its reader is."""

    sent: list[tuple[bytes, float, int]] = field(default_factory=list)
    at: int = 0


class Against(RuleBasedStateMachine):
    """Sends, takes, comes and goes in any order."""

    readers = Bundle("readers")

    def __init__(self) -> None:
        super().__init__()
        self.office = Office()
        self.now = 0.0
        self.number = count()
        self.boxes: dict[tuple[bool, int], Box] = {}
        self.attempts: dict[int, int] = {}
        self.sitting: dict[tuple[bool, int], Reader] = {}

    def box(self, job: bool, me: int) -> Box:
        return self.boxes.setdefault((job, me), Box())

    @rule(
        target=readers,
        job=st.booleans(),
        me=st.sampled_from(TASKS),
        to=st.sampled_from(TASKS),
        attempt=st.integers(0, 3),
        replay=st.booleans(),
    )
    def greet(self, job: bool, me: int, to: int, attempt: int, replay: bool) -> Any:
        greeting = PeerGreeting(b"r", me, to, attempt, replay) if job else PeerGreeting(b"r", me, to)
        reader = Reader(None)
        key, box = (job, me), self.box(job, me)
        if job and attempt < self.attempts.get(me, 0):
            with pytest.raises(PeerRefused, match=f"attempt {self.attempts[me]} has its mailbox"):
                self.office.mailboxes.greet(greeting, reader, self.now)
            return reader
        before = self.sitting.pop(key, None)
        welcome = self.office.mailboxes.greet(greeting, reader, self.now)
        assert welcome.replaced == ([] if before is None else [before])
        if before is not None:
            self.settle(key, before)
            self.office.mailboxes.unsubscribe(before.subscription, before)
            before.subscription = None
        reader.subscription = welcome.subscription
        self.sitting[key] = reader
        if job:
            self.attempts[me] = attempt
        if job and replay:
            self.replayed(box, welcome)
        else:
            assert not welcome.lost
        if not job:
            self.expire(box)
        return reader

    def replayed(self, box: Box, welcome: Any) -> None:
        """What is kept comes again, without holes; what is gone is reported unless its sender has begun again."""
        kept = self.kept(welcome.subscription.inbox)
        assert kept == [body for body, _, _ in box.sent][len(box.sent) - len(kept) :]
        first = len(box.sent) - len(kept)
        assert first <= box.at
        gone: dict[int, int] = {}
        for _, task, attempt in box.sent[:first]:
            gone[int(task)] = max(gone.get(int(task), 0), attempt)
        assert sorted(welcome.lost) == sorted(task for task, last in gone.items() if self.attempts[task] <= last)
        box.at = first

    def kept(self, mailbox: Any) -> list[bytes]:
        kept: list[bytes] = []
        for message in mailbox.waiting:
            data = message.path.read_bytes() if message.frames is None else bytes(message.frames)
            kept += Decoder(1 << 20).feed(data)
        return kept

    def settle(self, key: tuple[bool, int], reader: Reader) -> None:
        """Whole messages that it was given are no longer waiting."""
        box = self.boxes[key]
        assert reader.got == [body for body, _, _ in box.sent[box.at : box.at + len(reader.got)]]
        box.at += len(reader.got)
        reader.got.clear()

    @rule(reader=readers, sizes=st.lists(st.sampled_from([0, 1, 100, 900, 2500, 12_000]), max_size=4))
    def put(self, reader: Reader, sizes: list[int]) -> None:
        if reader.subscription is None:
            return
        subscription = reader.subscription
        job, run = subscription.run.storage.job, subscription.run
        for size in sizes:
            body = (b"%d " % next(self.number)).ljust(size, b".")
            try:
                subscription.outbox.put(encode(body), subscription.origins, self.now)
            except Full:
                assert job
                assert not run.storage.admits(len(body) + 13)
                return
            me, attempt = subscription.origins[0] if job else (self.now, 0)
            self.box(job, subscription.outbox.me).sent.append((body, me, attempt))

    @rule(reader=readers, limit=st.sampled_from([14, 50, 1000, 64_000]), times=st.integers(1, 5))
    def take(self, reader: Reader, limit: int, times: int) -> None:
        if reader.subscription is None:
            return
        for _ in range(times):
            reader.take(limit)
        self.settle((reader.subscription.run.storage.job, reader.subscription.inbox.me), reader)

    @rule(reader=readers)
    def leave(self, reader: Reader) -> None:
        if reader.subscription is None:
            return
        key = (reader.subscription.run.storage.job, reader.subscription.inbox.me)
        self.office.mailboxes.unsubscribe(reader.subscription, reader)
        assert self.sitting.pop(key) is reader
        reader.subscription = None

    @rule(seconds=st.sampled_from([0.0, 300.0]))
    def advance(self, seconds: float) -> None:
        """Messages of a run grow old; the job is mentioned in time."""
        self.now += seconds
        if b"r" in self.office.mailboxes.jobs:
            self.office.mailboxes.mention(b"r", {}, "watcher", self.now)
        mid = {key for key, reader in self.sitting.items() if reader.subscription.inbox.mid_message}
        assert not self.office.mailboxes.sweep(self.now)
        for key, box in self.boxes.items():
            if not key[0] and key not in mid:
                self.expire(box)

    def expire(self, box: Box) -> None:
        while box.at < len(box.sent) and box.sent[box.at][1] <= self.now - 600:
            box.at += 1

    @rule(size=st.integers(0, 20_000))
    def memory_is_needed(self, size: int) -> None:
        if self.office.store.make_room(size):
            assert self.office.store.memory.free >= size

    @rule(reader=readers)
    def too_slow(self, reader: Reader) -> None:
        if reader.subscription is not None:
            reader.subscription.inbox.slow = True
            reader.subscription.inbox.spill()

    @rule()
    def end(self) -> None:
        self.office.mailboxes.end(b"r")
        self.attempts.clear()
        for key in [key for key in self.sitting if key[0]]:
            reader = self.sitting.pop(key)
            self.office.mailboxes.unsubscribe(reader.subscription, reader)
            reader.subscription = None
        self.boxes = {key: box for key, box in self.boxes.items() if not key[0]}

    @invariant()
    def accounts_are_right(self) -> None:
        mailboxes = self.office.mailboxes
        store = self.office.store
        memory = undelivered = files = 0
        for run in (*mailboxes.runs.values(), *mailboxes.jobs.values()):
            waiting = retained = 0
            for mailbox in run.mailboxes.values():
                assert mailbox.held == sum(message.length for message in mailbox.waiting if message.frames is not None)
                waiting += sum(message.left for message in mailbox.waiting)
                retained += sum(message.length for message in mailbox.delivered)
                for message in (*mailbox.waiting, *mailbox.delivered):
                    memory += message.memory
                    files += message.length if message.frames is None else 0
            assert run.storage.undelivered.used == waiting
            assert run.storage.retained.used == retained <= run.storage.retained.limit
            undelivered += waiting
        assert store.stored.used == undelivered
        assert store.memory.used == memory
        assert self.office.files() == files
        assert memory <= LIMITS.memory + 8 * OVERHEAD  # bundles cost a little too
        assert not self.office.troubles

    def teardown(self) -> None:
        # What was sent and not yet taken comes, whole and in order, to its next reader.
        for (job, me), box in list(self.boxes.items()):
            reader = self.greet(job, me, me, 9 if job else 0, False)
            while reader.take(1000):
                pass
            self.settle((job, me), reader)
            assert box.at == len(box.sent)
        self.office.mailboxes.clear()
        assert self.office.store.memory.used == 0
        assert self.office.files() == 0
        self.office.close()


TestAgainstTheModel = Against.TestCase
TestAgainstTheModel.settings = settings(max_examples=examples(120), stateful_step_count=40, deadline=None)

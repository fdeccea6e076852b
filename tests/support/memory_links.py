"""The store of named messages without sockets, and tasks that send and receive by its frames."""

import hashlib
import random
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from mu_twisted.rendezvous import Mailboxes, MessageStore, RelayLimits, Spill
from mu_twisted.rendezvous._link_session import LinkSession
from mu_twisted.wire.links import (
    MAX_PART,
    WHOLE,
    Ack,
    Begin,
    Cut,
    End,
    LinkFrame,
    LinkGreeting,
    LinkPing,
    MessageKey,
    Nak,
    Part,
    Whole,
    parse_link_frame,
)

KIB = 1 << 10
LIMITS = RelayLimits(memory=200 * KIB, links=1500 * KIB, disk=2000 * KIB, named=60)
TASKS = range(3)
ONE, ANY, SHORT = b"one", b"any", b"short"
SIZES = [0, 1, 5000, 64 * KIB, 64 * KIB + 1, MAX_PART, MAX_PART + 1, 300 * KIB]


def content(sender: int, to: int, name: bytes, number: int) -> bytes:
    """What a deterministic program sends; under this name they are short."""
    chance = random.Random(repr((sender, to, name, number)))
    if name == SHORT:
        return chance.randbytes(chance.choice((0, 1, 100, 5000)))
    return chance.randbytes(16) * (chance.choice(SIZES) // 16) + bytes(chance.choice(SIZES[:2]))


def frames_of(to: int, name: bytes, number: int, body: bytes, *, whole: bool = False) -> Iterator[LinkFrame]:
    if whole and len(body) <= MAX_PART:
        yield Whole(to, number, hashlib.sha256(body).hexdigest().encode(), name, body)
        return
    yield Begin(to, number, len(body), name, body[:MAX_PART])
    for at in range(MAX_PART, len(body), MAX_PART):
        yield Part(to, number, at, name, body[at : at + MAX_PART])
    yield End(to, number, hashlib.sha256(body).hexdigest().encode(), name)


class Store:
    """The mailboxes of a rendezvous, with a disk of their own."""

    def __init__(self, limits: RelayLimits = LIMITS) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="mu-links-"))
        self.troubles: list[str] = []
        self.store = MessageStore(limits, Spill(self.directory / "spill"), self.troubles.append)
        tokens = count()
        self.mailboxes = Mailboxes(self.store, lambda: f"token{next(tokens)}")
        self.lost: set[int] = set()

    def end(self) -> None:
        """The job is over."""
        self.mailboxes.end(b"j")

    def on_disk(self) -> int:
        return sum(path.stat().st_size for path in self.directory.glob("spill/*/*"))

    def close(self) -> None:
        self.mailboxes.clear()
        assert (self.store.memory.used, self.store.stored.used, self.store.named.used) == (0, 0, 0)
        assert not self.store.taken
        assert not self.store.gone
        assert not self.store.idle
        assert self.on_disk() == 0
        shutil.rmtree(self.directory)


class Task:
    """A worker's connection, that takes frames when the test says so.

    :param may_repeat: whether it may ask again for what it has.
    :param whole: whether it takes a message in one frame.
    :param may_lie: whether others may send it digests of other bytes: the rendezvous passes them on, and a worker
        refuses the message.
    """

    def __init__(
        self,
        store: Store,
        task: int,
        attempt: int = 0,
        *,
        may_repeat: bool = False,
        may_lie: bool = False,
        whole: bool = False,
    ) -> None:
        self.store, self.task, self.attempt = store, task, attempt
        self.may_repeat, self.may_lie = may_repeat, may_lie
        welcome = store.mailboxes.greet_link(LinkGreeting(b"j", task, attempt, {WHOLE: whole}), self, 0.0)
        self.session: LinkSession | None = welcome.session
        self.run = welcome.run
        for replaced in welcome.replaced:
            if isinstance(replaced, Task):
                replaced.session = None
        self.woken = 0
        self.sending: dict[tuple[int, bytes, int], Iterator[LinkFrame]] = {}
        self.coming: dict[tuple[int, bytes, int], bytearray] = {}
        self.lengths: dict[tuple[int, bytes, int], int] = {}
        self.got: dict[tuple[int, bytes, int], bytes] = {}
        self.safe: set[tuple[int, bytes, int]] = set()
        self.refused: dict[tuple[int, bytes, int], str] = {}

    def deliver(self) -> None:
        self.woken += 1

    def says(self, *frames: LinkFrame) -> None:
        assert self.session is not None
        for frame in frames:
            self.session.receive(parse_link_frame(frame.encode()))
        self.store.lost |= self.run.links.take_lost()

    def sends(self, to: int, name: bytes, body: bytes, number: int = 1, *, whole: bool = False) -> None:
        self.says(*frames_of(to, name, number, body, whole=whole))

    def hears(self, limit: int = 1 << 30) -> list[LinkFrame]:
        """What there is for it, up to so many frames; each is checked, and whole messages are acknowledged."""
        said: list[LinkFrame] = []
        while self.session is not None and len(said) < limit:
            raw = self.session.next_frame()
            if raw is None:
                break
            frame = parse_link_frame(raw)
            said.append(frame)
            self.heard(frame)
        self.store.lost |= self.run.links.take_lost()
        return said

    def heard(self, frame: Any) -> None:
        if isinstance(frame, LinkPing):
            return
        key = frame.peer, frame.name, frame.number
        match frame:
            case Begin():
                assert self.may_repeat or key not in self.got, "it came twice"
                self.coming[key] = bytearray(frame.part)
                self.lengths[key] = frame.length
            case Part():
                assert frame.offset == len(self.coming[key])
                self.coming[key] += frame.part
            case Whole():
                assert self.may_repeat or key not in self.got, "it came twice"
                self.coming.pop(key, None)
                self.lengths.pop(key, None)
                self.takes(key, frame.part, frame.digest)
            case End():
                body = bytes(self.coming.pop(key))
                assert len(body) == self.lengths.pop(key)
                self.takes(key, body, frame.digest)
            case Cut():
                del self.coming[key]
            case Ack():
                self.safe.add(key)
            case Nak():
                self.refused[key] = frame.reason.decode()

    def takes(self, key: MessageKey, body: bytes, digest: bytes) -> None:
        assert self.may_lie or hashlib.sha256(body).hexdigest().encode() == digest
        self.got[key] = body
        self.says(Ack(key[0], key[2], key[1]))

    def leaves(self) -> None:
        if self.session is not None:
            self.run.links.detach(self.session)
            self.session = None
            self.store.lost |= self.run.links.take_lost()

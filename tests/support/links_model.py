"""Named messages against a simple model: whatever comes, goes and dies, a receiver gets the bytes that were sent, in
order and once, unless their sender's loss is reported.
"""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from memory_links import (
    ANY,
    KIB,
    LIMITS,
    ONE,
    TASKS,
    Store,
    Task,
    content,
    frames_of,
)

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.wire.links import Cut, Unwant, Want, WantAny

tasks = st.sampled_from(TASKS)


class Against(RuleBasedStateMachine):
    """Three tasks that send one another messages, in any order, and die now and then."""

    limits: RelayLimits = LIMITS
    newer: tuple[int, ...] = (1,)
    """Tasks that send and take short messages in one frame."""

    def __init__(self) -> None:
        super().__init__()
        self.store = self.make_store()
        self.tasks = {task: self.make_task(task) for task in TASKS}
        self.safe: set[tuple[int, int, bytes, int]] = set()
        """What was reported safe to a sender: sender, receiver, name, number."""
        self.next: dict[tuple[int, int, bytes], int] = {}
        self.told_taken: set[object] = set()

    def make_store(self) -> Store:
        return Store(self.limits)

    def make_task(self, task: int, attempt: int = 0) -> Task:
        return Task(self.store, task, attempt, whole=task in self.newer)

    def taken(self, task: Task) -> list[tuple[int, bytes, int]]:
        """Messages of a connection are whole, and of the bytes that were sent."""
        for (sender, name, number), body in task.got.items():
            assert body == content(sender, task.task, name, number)
        return list(task.got)

    @rule(sender=tasks, to=tasks, name=st.sampled_from([ONE, ANY]))
    def begin(self, sender: int, to: int, name: bytes) -> None:
        task = self.tasks[sender]
        if task.session is None or len(task.sending) >= 4:
            return
        number = self.next[sender, to, name] = self.next.get((sender, to, name), 0) + 1
        frames = frames_of(to, name, number, content(sender, to, name, number), whole=sender in self.newer)
        task.says(next(frames))
        task.sending[to, name, number] = frames

    @rule(sender=tasks, which=st.integers(0, 3), frames=st.integers(1, 5))
    def go_on(self, sender: int, which: int, frames: int) -> None:
        task = self.tasks[sender]
        if task.session is None or not task.sending:
            return
        key = list(task.sending)[which % len(task.sending)]
        for _ in range(frames):
            frame = next(task.sending[key], None)
            if frame is None:
                del task.sending[key]
                break
            task.says(frame)
        self.look(task)

    @rule(sender=tasks, which=st.integers(0, 3))
    def give_up(self, sender: int, which: int) -> None:
        task = self.tasks[sender]
        if task.session is not None and task.sending:
            to, name, number = list(task.sending)[which % len(task.sending)]
            del task.sending[to, name, number]
            task.says(Cut(to, number, name))

    @rule(me=tasks, sender=tasks, ahead=st.integers(0, 2))
    def want(self, me: int, sender: int, ahead: int) -> None:
        task = self.tasks[me]
        if task.session is not None:
            have = [number for peer, name, number in task.got if (peer, name) == (sender, ONE)]
            task.says(Want(sender, max(have, default=0) + 1 + ahead, ONE))

    @rule(me=tasks, whole=st.booleans())
    def want_any(self, me: int, whole: bool) -> None:
        task = self.tasks[me]
        if task.session is not None:
            have: dict[int, int] = {}
            for peer, name, number in task.got:
                if name == ANY:
                    assert number == have.get(peer, 0) + 1, "out of order"
                    have[peer] = number
            first = task.session not in self.told_taken  # then nothing is known of what it has
            self.told_taken.add(task.session)
            task.says(WantAny(ANY, tuple(have.items()) if whole or first else ()))

    @rule(me=tasks, peer=st.none() | tasks)
    def unwant(self, me: int, peer: int | None) -> None:
        task = self.tasks[me]
        if task.session is not None:
            name = ANY if peer is None else ONE
            task.says(Unwant(peer, name))
            for key in [key for key in task.coming if key[1] == name and peer in (None, key[0])]:
                del task.coming[key]

    @rule(me=tasks, frames=st.integers(1, 8))
    def hear(self, me: int, frames: int) -> None:
        self.tasks[me].hears(frames)
        self.look(self.tasks[me])

    @rule(me=tasks)
    def connection_breaks(self, me: int) -> None:
        """The same attempt dials again, and sends again what was not safe; messages that it has it keeps."""
        before = self.tasks[me]
        before.leaves()
        again = self.tasks[me] = self.make_task(me, before.attempt)
        again.got = before.got
        for to, name, number in [key for key in before.sending if key not in before.safe]:
            frames = frames_of(to, name, number, content(me, to, name, number), whole=me in self.newer)
            again.says(next(frames))
            again.sending[to, name, number] = frames

    @rule(me=tasks)
    def begin_anew(self, me: int) -> None:
        """Another attempt, which may come before the connection of the first is gone."""
        self.tasks[me] = self.make_task(me, self.tasks[me].attempt + 1)
        for key in [key for key in self.next if key[0] == me]:
            self.next[key] = 0

    @rule(size=st.integers(0, 200 * KIB))
    def memory_is_needed(self, size: int) -> None:
        if self.store.store.make_room(size):
            assert self.store.store.memory.free >= size

    @rule()
    def disk_is_needed(self) -> None:
        self.store.store.make_disk_room(1200 * KIB)

    @precondition(lambda self: all(task.session for task in self.tasks.values()))
    @rule()
    def end(self) -> None:
        self.store.end()
        attempts = {task: each.attempt for task, each in self.tasks.items()}
        self.tasks = {task: self.make_task(task, attempts[task]) for task in TASKS}
        self.safe.clear()
        self.next.clear()
        self.store.lost.clear()

    def look(self, task: Task) -> None:
        self.taken(task)
        self.safe |= {(task.task, *key) for key in task.safe}
        assert all("finds no room" in why or "named messages already" in why for why in task.refused.values())

    @invariant()
    def accounts_are_right(self) -> None:
        store = self.store.store
        links = self.tasks[0].run.links
        storage = links.storage
        messages, named, gone = set(), storage._carried_messages, 0
        for streams in links._streams.values():
            for stream in streams.values():
                assert stream.carried is not None or not stream.unused
                messages |= {*stream.stored.values(), *stream.arriving.values()}
                named += 1 + len(stream.stored) + len(stream.arriving) + len(stream.gone)
                gone += len(stream.gone)
        files = {message.file for message in messages if message.file is not None}
        in_memory = sum(message.length for message in messages if message.file is None)
        carried = storage._carried_bytes
        assert store.named.used == named <= self.limits.named
        assert len(store.gone) == gone
        assert store.memory.used == carried + sum(len(message.body or b"") for message in messages)
        assert store.memory.used <= self.limits.memory
        assert store.stored.used == storage.used.used == carried + in_memory + sum(file.length for file in files)
        assert store.stored.used <= self.limits.links
        assert self.store.on_disk() <= sum(file.length for file in files)
        assert {message for message in messages if message.uses} >= {
            delivery.message
            for task in self.tasks.values()
            if task.session is not None
            for delivery in task.session._deliveries.values()
        }
        assert set(store.taken) - {storage} == {
            each for each in messages if each.taken and not each.uses and each.digest is not None
        }
        assert not self.store.troubles

    def teardown(self) -> None:
        """What was safe comes to a later attempt at its receiver, or its loss is reported."""
        for task in self.tasks.values():
            task.hears()
            self.look(task)
            task.leaves()
        self.store.lost.clear()
        senders = {task: self.make_task(task, self.tasks[task].attempt) for task in TASKS}
        for me in TASKS:
            receiver = self.make_task(me, self.tasks[me].attempt + 1)
            senders[me] = receiver
            wanted = [key for key in self.safe if key[1] == me]
            for sender, _, name, number in wanted:
                receiver.says(Want(sender, number, name))
            receiver.hears()
            self.taken(receiver)
            for sender, _, name, number in wanted:
                assert (sender, name, number) in receiver.got or self.gone(sender, me, name, number)
        for task in senders.values():
            task.leaves()
        self.store.close()

    def gone(self, sender: int, me: int, name: bytes, number: int) -> bool:
        """Whether a message was removed, and that told, unless a later attempt at its sender has begun."""
        stream = self.tasks[0].run.links.stream(sender, me, name)
        attempt = None if stream is None else stream.lost(number)
        assert attempt is not None
        return sender in self.store.lost or self.tasks[0].run.attempts[sender] > attempt

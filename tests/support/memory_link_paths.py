"""Two tasks' messages, the rendezvous's store and a direct path between the workers, all without sockets."""

import math
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memory_links import Store

from mu_twisted.rendezvous import RelayLimits
from mu_twisted.wire.links import (
    MAX_PART,
    WHOLE,
    Ack,
    Begin,
    Cut,
    End,
    LinkGreeting,
    Part,
    Unwant,
    Want,
    Whole,
    parse_link_frame,
)
from worker_lambda._errors import CommandFailure
from worker_lambda.links._receives import Receives
from worker_lambda.links._sends import Sends

SIZES = [0, 1, MAX_PART - 1, MAX_PART, MAX_PART + 1, 8 * MAX_PART, 20 * MAX_PART + 7]
SENDER, RECEIVER = 1, 2


class Beside:
    """Does what is to be done beside the loop when the test says so, in any order, and reports it in a later step."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[..., None], Callable[[str | None], None]]] = []
        self.done: list[tuple[Callable[[str | None], None], str | None]] = []
        self.begun = 0

    def chore(self, work: Callable[..., None], finished: Callable[[str | None], None]) -> None:
        self.begun += 1
        self.waiting.append((work, finished))

    def step(self, which: int = 0) -> bool:
        if self.done and (which % 2 or not self.waiting):
            finished, error = self.done.pop(0)
            finished(error)
        elif self.waiting:
            work, finished = self.waiting.pop(which % len(self.waiting))
            error = None
            try:
                work(lambda: False)
            except CommandFailure as failure:
                error = str(failure)
            self.done.append((finished, error))
        else:
            return False
        return True

    def run(self) -> None:
        while self.step():
            pass


class PathEnd:
    """One end of a direct path; what it says waits until it is carried."""

    def __init__(self, task: int, attempt: int) -> None:
        self.task, self.attempt = task, attempt
        self.wants: dict[tuple[int, bytes], None] = {}
        self.said: deque[bytes] = deque()
        self.lost = False

    def say(self, frame: bytes) -> None:
        self.said.append(frame)

    def want(self, number: int, name: bytes) -> bool:
        self.wants[number, name] = None
        return True


class World:
    """A task that sends, one that receives, a rendezvous, and at most one direct path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store(RelayLimits())
        self.beside = Beside()
        self.attempts = {SENDER: 0, RECEIVER: 0}
        self.sent: list[str | None] = []
        self.got: list[tuple[int, str | None]] = []
        self.direct_frames: list[Any] = []
        self.relayed: list[Any] = []
        self.path: tuple[PathEnd, PathEnd] | None = None
        self.begin(SENDER)
        self.begin(RECEIVER)

    def deliver(self) -> None:
        """As an outlet of the sessions."""

    def begin(self, task: int, attempt: int = 0) -> None:
        """A new attempt."""
        runs: Any = self.beside
        self.attempts[task] = attempt
        if task == SENDER:
            self.sends = Sends(runs, self.folder, later=attempt > 0)
        else:
            self.receives = Receives(runs)
        self.dial(task)

    def dial(self, task: int) -> None:
        greeting = LinkGreeting(b"j", task, self.attempts[task], {WHOLE: self.attempts[task] % 2 == 1})
        admission = self.store.mailboxes.greet_link(greeting, self, 0.0)
        session, self.run = admission.session, admission.run
        if task == SENDER:
            self.of_sender = session
            self.sends.restart(whole=self.attempts[task] % 2 == 1)
        else:
            self.of_receiver = session
            self.receives.restart()

    def link(self) -> None:
        """A direct path comes up at both ends."""
        self.path = PathEnd(RECEIVER, self.attempts[RECEIVER]), PathEnd(SENDER, self.attempts[SENDER])
        ends: Any = self.path
        self.sends.path_up(ends[0])
        self.receives.path_up(ends[1])

    def cut(self, order: tuple[int, ...] = (0, 1)) -> None:
        """It is gone, and the ends notice that one after the other."""
        path, self.path = self.path, None
        for which in order if path is not None else ():
            end: Any = path[which]  # type: ignore[index]
            if not end.lost:
                end.lost = True
                (self.sends if which == 0 else self.receives).path_lost(end)

    def carry(self, frames: int = 1 << 30) -> bool:
        """Carry up to so many frames of each kind."""
        moved = False
        for _ in range(frames):
            before = len(self.relayed) + len(self.direct_frames)
            if not (self._relay() | self._direct()):
                return moved
            moved = moved or before < len(self.relayed) + len(self.direct_frames)
        return moved

    def _relay(self) -> bool:
        there, back = self.sends.next_frame(), self.receives.next_frame()
        if there is not None:
            self.relayed.append(parse_link_frame(there))
            self.of_sender.receive(self.relayed[-1])
        if back is not None:
            self.relayed.append(parse_link_frame(back))
            self.of_receiver.receive(self.relayed[-1])
        to_sender, to_receiver = self.of_sender.next_frame(), self.of_receiver.next_frame()
        if to_sender is not None:
            answer: Any = parse_link_frame(to_sender)
            self.sends.ask(answer) if isinstance(answer, Want) else self.sends.answered(answer)
            self.relayed.append(answer)
        if to_receiver is not None:
            frame: Any = parse_link_frame(to_receiver)
            self.receives.received(frame)
            self.relayed.append(frame)
        return any(each is not None for each in (there, back, to_sender, to_receiver))

    def _direct(self) -> bool:
        if self.path is None:
            return False
        ours, theirs = self.path
        at_sender: Any = ours
        frame = self.sends.next_frame(at_sender)
        if frame is not None:
            ours.say(frame)
        moved = False
        if ours.said:
            moved = True
            self._take_direct(ours.said.popleft(), SENDER, theirs)
        if theirs.said and self.path is not None:
            moved = True
            self._take_direct(theirs.said.popleft(), RECEIVER, ours)
        return moved

    def _take_direct(self, raw: bytes, frm: int, end: Any) -> None:
        frame: Any = parse_link_frame(raw)
        assert frame.peer == (RECEIVER if frm == SENDER else SENDER)
        object.__setattr__(frame, "peer", frm)
        self.direct_frames.append(frame)
        match frame:
            case Begin() | Whole() | Part() | End() | Cut():
                self.receives.received(frame, end)
            case Want():
                self.sends.wanted(end, frame)
            case Unwant():
                self.sends.unwanted(end, frame)
            case Ack():
                self.sends.arrived(frame)

    def settle(self) -> None:
        while self.beside.step() or self.carry() or self.late():
            pass

    def late(self) -> bool:
        """The rendezvous hears of what is wanted on the path, as time passes; returns whether there was any."""
        return self.receives.say_late(math.inf) is not None or self.carry()

    def send(self, body: bytes, name: bytes = b"x") -> Path:
        path = self.folder / f"out{len(list(self.folder.glob('out*')))}"
        path.write_bytes(body)
        self.sends.add(RECEIVER, name, os.fsencode(path), b"", self.sent.append)
        return path

    def want(self, count: int = 1, name: bytes = b"x") -> None:
        for number in range(count):
            where = os.fsencode(self.folder / f"in{number}-{name.decode()}-{self.attempts[RECEIVER]}")
            self.receives.add(SENDER, name, where, lambda peer, error: self.got.append((peer, error)))

    def received(self, number: int = 0, name: str = "x") -> bytes:
        return (self.folder / f"in{number}-{name}-{self.attempts[RECEIVER]}").read_bytes()

    def bytes_by(self, frames: list[Any]) -> int:
        return sum(len(frame.part) for frame in frames if isinstance(frame, Begin | Part))

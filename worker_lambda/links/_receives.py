"""Receives are the messages that a worker's task waits for, by whatever path they come, until each is a file.

Knows no connection: frames come in, and those to be sent are asked for. Files are written beside the loop.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from mu_twisted.wire.links import MAX_TAKEN, Ack, Begin, Cut, End, MessageKey, Part, Unwant, Want, WantAny, Whole
from worker_lambda._errors import CommandFailure
from worker_lambda._traffic import Traffic
from worker_lambda.links._files import MessageTarget
from worker_lambda.links._paths import DirectPath
from worker_lambda.links._sends import MAX_WAITING, StreamNumbers
from worker_lambda.programs import CommandRuns

MAX_WANTED = 1024
"""Messages that are waited for at once; others wait for their turn."""
MAX_UNWRITTEN = 4 << 20
"""Bytes that have come and are not on disk beyond which no more are read."""
MAX_ANY_NAMES = 1024
"""Names under which one task may receive messages of any task."""
LATE_WANT = 1.0
"""Seconds after which the rendezvous hears, too, what a peer was said on its path, and has not begun to send."""
_ACKNOWLEDGED = 1000


@dataclass(eq=False)
class _Receive:
    """One ``receive:``.

    :ivar frm: the sender's task; None: any.
    :ivar number: of the message; of any task: None until one has begun to come.
    :ivar target: what it is written to, while it comes.
    :ivar via: the direct path by which it comes then; None: by the rendezvous.
    :ivar said: whether the rendezvous has heard that it is wanted; else the sender has, on its direct path.
    """

    frm: int | None
    name: bytes
    path: bytes
    done: Callable[[int, str | None], None]
    number: int | None = None
    peer: int = 0
    target: MessageTarget | None = None
    via: DirectPath | None = None
    length: int = 0
    offset: int = 0
    unwritten: list[bytes] = field(default_factory=list)
    digest: bytes | None = None
    said: bool = False
    over: bool = False


class Receives:
    """All messages that the worker's task receives.

    :param runs: writes files beside the loop.
    :param traffic: counts the bytes of those that are there.
    """

    def __init__(self, runs: CommandRuns, traffic: Traffic | None = None) -> None:
        self._traffic = traffic or Traffic()
        self._runs = runs
        self._numbers = StreamNumbers()
        self._waiting: deque[_Receive] = deque()
        self._wanted: dict[_Receive, None] = {}
        self._coming: dict[MessageKey, _Receive] = {}
        self._to_write: deque[_Receive] = deque()
        self._writing = False
        self._unwritten = 0
        self._frames: deque[bytes] = deque()
        self._acknowledged: deque[bytes] = deque(maxlen=_ACKNOWLEDGED)
        self._any_taken: dict[bytes, int] = {}
        self._any_senders: dict[bytes, int] = {}
        self._any_said: set[bytes] = set()
        self._paths: dict[int, DirectPath] = {}
        self._late: deque[tuple[float, _Receive]] = deque()

    @property
    def active(self) -> int:
        """How many have not come."""
        return len(self._waiting) + len(self._wanted)

    @property
    def coming(self) -> bool:
        """Whether any is on its way."""
        return bool(self._coming)

    @property
    def full(self) -> bool:
        """Whether nothing more should be read for now."""
        return self._unwritten > MAX_UNWRITTEN

    @property
    def waits(self) -> list[tuple[int | None, str, int]]:
        """The messages of which nothing has come: sender's task, None for any; name; which one of that name it is."""
        found: list[tuple[int | None, str, int]] = []
        ahead: dict[bytes, int] = {}
        for each in self._wanted:
            if each.target is None:
                number = each.number
                if number is None:
                    ahead[each.name] = ahead.get(each.name, 0) + 1
                    number = self._any_taken.get(each.name, 0) + ahead[each.name]
                found.append((each.frm, each.name.decode("utf-8"), number))
        return found

    def add(self, frm: int | None, name: bytes, path: bytes, done: Callable[[int, str | None], None]) -> None:
        """Wait for a message.

        :param frm: the sender's task; None: any.
        :param path: where its file is to be.
        :param done: is given the sender's task, and what went wrong, None if the file is there.
        :raises CommandFailure: too many are waited for.
        """
        if self.active >= MAX_WAITING:
            raise CommandFailure(f"{self.active} messages are waited for, that is the limit")
        if frm is None and self._any_senders.get(name, 0) >= MAX_TAKEN:
            raise CommandFailure(f"messages of {MAX_TAKEN} tasks were received under this name, that is the limit")
        if frm is None and name not in self._any_taken:
            if len(self._any_taken) >= MAX_ANY_NAMES:
                raise CommandFailure(f"{MAX_ANY_NAMES} names are received of any task, that is the limit")
            self._any_taken[name] = 0
        self._waiting.append(_Receive(frm, name, path, done))
        self._want_waiting()

    def restart(self) -> None:
        """Say everything again, as on a new connection: what is wanted comes from its beginning."""
        self._frames = deque(self._acknowledged)
        self._any_said.clear()
        for each in self._wanted:
            if each.digest is None:  # else all of it has come, and is being written
                if each.via is None:
                    self._lose(each)
                if each.said or each.frm not in self._paths:
                    self._ask_rendezvous(each)

    def say_late(self, now: float) -> float | None:
        """Have the rendezvous hear, too, what is wanted on a path and has not begun to come.

        :param now: see ``time.monotonic``.
        :returns: in how many seconds to call again; None: there is nothing of that kind.
        """
        while self._late:
            due, each = self._late[0]
            if not (each.over or each.said or each.target is not None):
                if due > now:
                    return due - now
                self._ask_rendezvous(each)
            self._late.popleft()
        return None

    def next_frame(self) -> bytes | None:
        """The next frame to be sent; None if there is none now."""
        return self._frames.popleft() if self._frames else None

    def path_up(self, path: DirectPath) -> None:
        """A direct path is there: what is wanted of its peer may come by it from now on."""
        self._paths[path.task] = path
        for each in self._wanted:
            if each.frm == path.task and each.number is not None and each.digest is None:
                path.say(Want(each.frm, each.number, each.name).encode())

    def path_lost(self, path: DirectPath) -> None:
        """A direct path is gone: what it has not brought comes by the rendezvous, from its beginning."""
        if self._paths.get(path.task) is path:
            del self._paths[path.task]
        for each in self._wanted:
            if each.frm == path.task and each.digest is None and (each.via is path or not each.said):
                self._lose(each)
                self._ask_rendezvous(each)

    @property
    def used(self) -> set[DirectPath]:
        """The direct paths on which anything is on its way."""
        return {each.via for each in self._coming.values() if each.via is not None}

    def received(self, frame: Begin | Whole | Part | End | Cut, path: DirectPath | None = None) -> None:
        """Take a frame; those of messages that are not waited for are of some that were given up.

        :param path: the direct one that it has come by; None: it is from the rendezvous.
        :raises CommandFailure: it is out of place.
        """
        key = frame.peer, frame.name, frame.number
        coming = self._coming.get(key)
        instead = path is not None and isinstance(frame, Begin) and coming is not None and coming.frm is not None
        if coming is not None and coming.via is not path and not instead:
            return  # a rest, or the sender knows already that the path by which the message comes is lost
        match frame:
            case Begin():
                self._begin(key, frame.length, frame.part, path)
            case Whole():
                self._begin(key, len(frame.part), frame.part, path)
                each = self._coming.get(key)
                if each is not None and each.digest is None:
                    self._ended(each, frame.digest)
            case Part() if key in self._coming:
                self._part(self._coming[key], frame)
            case End() if key in self._coming:
                self._ended(self._coming[key], frame.digest)
            case Cut() if coming is not None and coming.digest is None:
                self._lose(coming)
                if path is not None:
                    path.say(Want(coming.peer, frame.number, coming.name).encode())
                    self._ask_rendezvous(coming)
            case Cut() if coming is None and path is not None:  # the rendezvous has it, or will
                for each in self._wanted:
                    if (each.frm, each.number, each.name) == (frame.peer, frame.number, frame.name) and not each.said:
                        self._ask_rendezvous(each)

    def fail(self, reason: str) -> None:
        """Give all up, each with this reason."""
        given_up, streams = [*self._wanted, *self._waiting], self._streams()
        self._waiting.clear()
        for frm, name in streams:
            self._say_unwant(frm, name)
        for each in given_up:
            self._end(each, reason)

    def close(self) -> None:
        """Give all up, and say nothing."""
        for each in self._wanted:
            each.over = True
            if each.target is not None:
                each.target.discard()
        self._wanted.clear()
        self._waiting.clear()
        self._coming.clear()
        self._to_write.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _streams(self) -> dict[tuple[int | None, bytes], None]:
        return {(each.frm, each.name): None for each in self._wanted}

    def _want_waiting(self) -> None:
        """Begin to wait for what has its turn. Where messages of one name are waited for of any task, those of single
        ones have their turn later, and the reverse: else it would not be said whose is whose.
        """
        held: deque[_Receive] = deque()
        kinds = {each.name: each.frm is None for each in self._wanted}
        names: set[bytes] = set()  # that are held: those behind one come after it
        while self._waiting and len(self._wanted) < MAX_WANTED:
            each = self._waiting.popleft()
            if each.name in names or kinds.setdefault(each.name, each.frm is None) != (each.frm is None):
                names.add(each.name)
                held.append(each)
                continue
            self._wanted[each] = None
            if each.frm is not None:
                each.peer, each.number = each.frm, self._numbers.take((each.frm, each.name))
            self._say_want(each)
        self._waiting.extendleft(reversed(held))

    def _say_want(self, each: _Receive) -> None:
        """Say that a message is wanted, on the direct path to its sender where there is one."""
        path = None if each.frm is None else self._paths.get(each.frm)
        if path is None or each.frm is None or each.number is None:
            self._ask_rendezvous(each)
        else:
            each.said = False
            path.say(Want(each.frm, each.number, each.name).encode())
            self._late.append((time.monotonic() + LATE_WANT, each))

    def _ask_rendezvous(self, each: _Receive) -> None:
        each.said = True
        if each.frm is not None and each.number is not None:
            self._frames.append(Want(each.frm, each.number, each.name).encode())
            return
        taken: list[tuple[int, int]] = []
        if each.name not in self._any_said:
            self._any_said.add(each.name)
            taken = [pair for pair in self._numbers.last(each.name) if pair[1]]
        self._frames.append(WantAny(each.name, tuple(taken)).encode())

    def _say_unwant(self, frm: int | None, name: bytes) -> None:
        unwant = Unwant(frm, name).encode()
        self._frames.append(unwant)
        if frm in self._paths:
            self._paths[frm].say(unwant)

    def _begin(self, key: MessageKey, length: int, part: bytes, path: DirectPath | None) -> None:
        peer, name, number = key
        each = self._coming.get(key)
        if each is None:
            follows = self._numbers.next((peer, name)) == number
            for other in self._wanted:
                any_fits = follows and path is None  # those of any task come by the rendezvous
                fits = any_fits if other.frm is None else (other.frm, other.number) == (peer, number)
                if other.target is None and other.name == name and fits:
                    each = other
                    break
        if each is None or each.digest is not None:
            return
        self._lose(each)
        each.peer, each.number, each.via = peer, number, path
        each.length, each.offset = length, len(part)
        each.target = MessageTarget(each.path, length)
        self._coming[key] = each
        self._add_part(each, part)

    def _ended(self, each: _Receive, digest: bytes) -> None:
        if each.offset != each.length:
            raise CommandFailure(f"a message of {each.length} bytes has ended after {each.offset}")
        each.digest = digest
        self._write(each)

    def _part(self, each: _Receive, frame: Part) -> None:
        if frame.offset != each.offset or frame.offset + len(frame.part) > each.length or each.digest is not None:
            raise CommandFailure(f"bytes of a message came out of place: at {frame.offset}, expected {each.offset}")
        each.offset += len(frame.part)
        self._add_part(each, frame.part)

    def _add_part(self, each: _Receive, part: bytes) -> None:
        each.unwritten.append(part)
        self._unwritten += len(part)
        if each.offset < each.length:  # else its end comes at once, and all that is left is written with that
            self._write(each)

    def _lose(self, each: _Receive) -> None:
        """Forget what has come of a message, which is waited for as before."""
        if each.target is not None:
            self._drop(each)
            if each.frm is None:
                each.number = None

    def _drop(self, each: _Receive) -> None:
        if each.target is not None and each.number is not None:
            self._coming.pop((each.peer, each.name, each.number), None)
            each.target.discard()
            each.target = each.via = None
        self._unwritten -= sum(map(len, each.unwritten))
        each.unwritten = []
        each.digest = None

    def _write(self, each: _Receive) -> None:
        if each not in self._to_write:
            self._to_write.append(each)
        self._write_on()

    def _write_on(self) -> None:
        while self._to_write and not self._writing:
            each = self._to_write.popleft()
            target, parts, digest = each.target, each.unwritten, each.digest
            if target is None or each.over:
                continue
            each.unwritten = []
            size = sum(map(len, parts))
            self._writing = True

            def written(
                error: str | None,
                each: _Receive = each,
                target: MessageTarget = target,
                size: int = size,
                whole: bool = digest is not None,
            ) -> None:
                self._writing = False
                self._unwritten -= size
                if each.target is target and not each.over:
                    if error is not None:
                        self._refuse(each, error)
                    elif whole:
                        self._taken(each)
                self._write_on()

            self._runs.chore(lambda _, write=target.write, parts=parts, digest=digest: write(parts, digest), written)  # type: ignore[misc]

    def _taken(self, each: _Receive) -> None:
        assert each.number is not None
        key = each.peer, each.name, each.number
        ack = Ack(each.peer, each.number, each.name).encode()
        if each.via is None or each.said or each.name in self._any_taken:
            self._frames.append(ack)  # else the rendezvous knows of no want
            self._acknowledged.append(ack)
        if each.via is not None:
            each.via.say(ack)
        if each.frm is None:
            self._any_taken[each.name] += 1
            self._any_senders[each.name] = self._any_senders.get(each.name, 0) + (each.number == 1)
            self._numbers.taken((each.peer, each.name), each.number)
        del self._coming[key]
        del self._wanted[each]
        each.over = True
        self._traffic.add(received=each.length, more=self.active > 0)
        each.done(each.peer, None)
        self._want_waiting()

    def _refuse(self, each: _Receive, error: str) -> None:
        """One message cannot be kept; the others of its stream, which are not wanted either now, are wanted anew."""
        self._say_unwant(each.frm, each.name)
        self._end(each, error)
        for other in self._wanted:
            if (other.frm, other.name) == (each.frm, each.name) and other.digest is None:
                self._lose(other)
                self._say_want(other)

    def _end(self, each: _Receive, error: str) -> None:
        if each in self._wanted:
            del self._wanted[each]
            if each.frm is not None and each.number is not None:
                self._numbers.give_back((each.frm, each.name), each.number)
        self._drop(each)
        each.over = True
        each.done(each.peer, error)
        self._want_waiting()


class WaitReport:
    """Says when a task that does nothing but wait in ``receive:`` has done so for long enough to be reported.

    :param delay: seconds.
    """

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._told: list[tuple[int | None, str, int]] = []
        self._seen: list[tuple[int | None, str, int]] = []
        self._since = 0.0

    def look(self, waits: list[tuple[int | None, str, int]]) -> tuple[bool, float | None]:
        """Take what is waited for now; empty while the task does anything else.

        :returns: whether to say it, and in how many seconds to look again, None: when something happens.
        """
        now = time.monotonic()
        if waits != self._seen:
            self._seen, self._since = waits, now
        if waits == self._told:
            return False, None
        left = self._since + self._delay - now if waits else 0.0
        if left > 0:
            return False, left
        self._told = waits
        return True, None

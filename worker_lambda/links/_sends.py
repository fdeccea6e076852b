"""Sends are the messages that a worker sends: the frames of each, on whatever path, until they are acknowledged, and
beyond that those that were sent directly, which are kept here only.

Knows no connection: frames are asked for, answers come in. Files are read beside the loop.
"""

from collections import deque
from collections.abc import Callable, Container
from heapq import heappop, heappush
from pathlib import Path

from mu_twisted.wire.links import MAX_HELD, Ack, Cut, Nak, Unwant, Want
from worker_lambda._errors import CommandFailure
from worker_lambda._traffic import Traffic
from worker_lambda.links._files import MessageSource
from worker_lambda.links._outgoing_message import MessageStream, OutgoingMessage
from worker_lambda.links._paths import DirectPath
from worker_lambda.programs import CommandRuns

MAX_SENDING = 8
"""Messages that are sent at once; others wait."""
MAX_WAITING = 10_000
"""Messages that wait to be sent or received."""
MAX_WAITING_BYTES = 16 << 20
"""Bytes of messages that came with their commands, those that are held included."""
MAX_KEPT, MAX_KEPT_BYTES = MAX_HELD // 2, MAX_WAITING_BYTES // 4
"""Messages that are held, and bytes of those that came with their commands: of more the rendezvous gets the oldest."""
WORTH_A_CHANGE = 1 << 20
"""Bytes of a message that are left for which it begins again on a direct path."""


class StreamNumbers:
    """Numbers the messages of each stream; one that was given back is given again first."""

    def __init__(self) -> None:
        self._next: dict[MessageStream, int] = {}
        self._returned: dict[MessageStream, list[int]] = {}

    def take(self, stream: MessageStream) -> int:
        """The next number."""
        returned = self._returned.get(stream)
        if returned:
            number = heappop(returned)
            if not returned:
                del self._returned[stream]
            return number
        number = self._next.get(stream, 1)
        self._next[stream] = number + 1
        return number

    def give_back(self, stream: MessageStream, number: int) -> None:
        """A message with this number has come to nothing."""
        heappush(self._returned.setdefault(stream, []), number)

    def taken(self, stream: MessageStream, number: int) -> None:
        """A message has this number that was not taken from here."""
        self._next[stream] = max(self._next.get(stream, 1), number + 1)

    def next(self, stream: MessageStream) -> int:
        """The number after the largest that was given."""
        return self._next.get(stream, 1)

    def last(self, name: bytes) -> list[tuple[int, int]]:
        """The last numbers of all streams of a name, by their tasks."""
        return [(peer, number - 1) for (peer, each), number in self._next.items() if each == name]


class Sends:
    """All messages that the worker's task sends.

    :param runs: reads files beside the loop.
    :param directory: where files are held beyond their removal; None: nowhere.
    :param later: whether an earlier attempt at the task may have sent other bytes: then none is sent to its end on a
        direct path before the rendezvous has compared their digest.
    :param traffic: counts the bytes of those that are safe.
    """

    def __init__(
        self,
        runs: CommandRuns,
        directory: Path | None = None,
        *,
        later: bool = False,
        traffic: Traffic | None = None,
    ) -> None:
        self._traffic = traffic or Traffic()
        self._runs = runs
        self._directory = directory
        self._later = later
        self._numbers = StreamNumbers()
        self._waiting: dict[tuple[int, bytes, int], OutgoingMessage] = {}
        self._sending: dict[tuple[int, bytes, int], OutgoingMessage] = {}
        self._turns: deque[OutgoingMessage] = deque()
        self._answers: deque[bytes] = deque()
        self._paths: dict[int, DirectPath] = {}
        self._holding: dict[tuple[int, bytes, int], OutgoingMessage] = {}
        self._held_length = self._held_data = 0
        self._recalled = 0
        self._bytes = 0
        self._whole = False

    @property
    def active(self) -> int:
        """How many are not safe yet, or are to be copied to the rendezvous."""
        return len(self._waiting) + len(self._sending)

    @property
    def holding(self) -> int:
        """How many are safe only as long as they are here."""
        return len(self._holding) + self._recalled

    @property
    def answers(self) -> bool:
        """Whether there is something new to be said to the rendezvous, beside messages."""
        return bool(self._answers)

    @property
    def handing_over(self) -> bool:
        """Whether the rendezvous does not have all yet that it is to have."""
        return bool(self._recalled)

    def add(self, to: int, name: bytes, path: bytes | None, data: bytes, done: Callable[[str | None], None]) -> None:
        """Send a message.

        :param path: the file; None: ``data``.
        :param done: is given what went wrong, None if it is safe.
        :raises CommandFailure: there is no such file, or too many messages wait.
        """
        if self.active >= MAX_WAITING or self._bytes + len(data) > MAX_WAITING_BYTES:
            raise CommandFailure(f"too many messages wait to be sent: {self.active}, with {self._bytes} bytes")
        source = MessageSource(path, data, self._directory)
        self._bytes += len(data)
        message = OutgoingMessage((to, name), self._numbers.take((to, name)), source, done)
        self._waiting[message.key] = message
        self._begin_waiting()

    def restart(self, *, whole: bool) -> None:
        """Send everything from its beginning, as on a new connection to the rendezvous.

        :param whole: whether that takes a message in one frame.
        """
        self._whole = whole
        self._answers.clear()
        for message in self._sending.values():
            message.said = message.noted = False
            message.due = 0
            if message.path is None:
                message.restart()
                self._read_on(message)
            elif message.ended:
                self._say_held(message)
        for message in self._holding.values():
            self._answers.append(message.held())

    def next_frame(self, path: DirectPath | None = None) -> bytes | None:
        """The next frame of any message, in turns; None if there is none now.

        :param path: the direct one that it is for; None: it is for the rendezvous.
        """
        if path is None and self._answers:
            return self._answers.popleft()
        for _ in range(len(self._turns)):
            message = self._turns[0]
            self._turns.rotate(-1)
            if message.path is not path:
                continue
            if path is not None and message.ending:
                self._say_held(message)
                if self._later and not message.noted:
                    continue
            frame = message.next_frame(whole=self._whole and path is None)
            self._read_on(message)
            if frame is not None:
                return frame
        return None

    def answered(self, answer: Ack | Nak) -> None:
        """The rendezvous has a message, knows that it is held here, or refuses it; one that is unknown was given up."""
        key = answer.peer, answer.name, answer.number
        message = self._sending.get(key)
        if message is None:
            return
        if isinstance(answer, Nak):
            self._end(message, answer.reason.decode("utf-8", "replace"))
        elif message.due:  # answers come in the order of what they answer
            message.due -= 1
            message.noted = message.said and not message.due
            self._check_held(message)
        elif message.path is None:
            self._end(message, None)

    def fail(self, reason: str, *, final: bool = False) -> None:
        """Give all up, each with this reason.

        :param final: whether there will be no answer to what has been sent either. Else that goes on, and keeps its
            number: its receiver may have it.
        """
        waiting = [*self._sending.values(), *self._waiting.values()]
        self._waiting.clear()
        for message in waiting:
            if message.recalled and not final:
                if message.key not in self._sending:
                    self._waiting[message.key] = message
            elif not message.ended or final:
                self._end(message, reason)
            elif not message.given_up:
                message.given_up = True
                message.done(reason)
        self._begin_waiting()

    def close(self) -> None:
        """Give all up, and say nothing."""
        for message in [*self._sending.values(), *self._waiting.values(), *self._holding.values()]:
            message.close()
        self._waiting.clear()
        self._sending.clear()
        self._turns.clear()
        self._holding.clear()

    # -- direct paths ----------------------------------------------------------------------------------------------

    def path_up(self, path: DirectPath) -> None:
        """A direct path is there; what its peer wants on it goes by it from now on."""
        self._paths[path.task] = path

    def path_lost(self, path: DirectPath) -> None:
        """A direct path is gone: what it has not brought is sent by the rendezvous, from its beginning."""
        if self._paths.get(path.task) is path:
            del self._paths[path.task]
        for message in self._sending.values():
            if message.path is path and not message.arrived:
                self._change(message, None)

    def wanted(self, path: DirectPath, frame: Want) -> None:
        """The peer wants a message on its path, from the beginning."""
        message = self._sending.get((frame.peer, frame.name, frame.number))
        if message is None:
            waits = self._waiting.get((frame.peer, frame.name, frame.number))
            comes = (
                frame.number >= self._numbers.next((frame.peer, frame.name)) if waits is None else not waits.recalled
            )
            if not comes or not path.want(frame.number, frame.name):
                self._say_elsewhere(path, frame.number, frame.name)
            return
        begins = not message.begun and not message.ended
        worth = message.begun and message.left >= WORTH_A_CHANGE
        if message.path is path:
            if not message.arrived and (message.begun or message.ended):
                self._change(message, path)
        elif message.path is None and not message.recalled and (begins or worth) and self._may_hold(message):
            if message.begun:
                self._answers.append(message.cut())
            self._change(message, path)
        else:
            self._say_elsewhere(path, frame.number, frame.name)

    @staticmethod
    def _say_elsewhere(path: DirectPath, number: int, name: bytes) -> None:
        """Say that a message that is wanted on a path does not come by it: its receiver asks the rendezvous."""
        path.say(Cut(path.task, number, name).encode())

    def unwanted(self, path: DirectPath, frame: Unwant) -> None:
        """The peer waits for messages of a name no longer: they go to the rendezvous, which keeps them."""
        for number, name in list(path.wants):
            if name == frame.name:
                del path.wants[number, name]
        for message in self._sending.values():
            if message.path is path and message.stream[1] == frame.name and not message.arrived:
                self._change(message, None)

    def arrived(self, frame: Ack) -> None:
        """The receiver has all of a message that was sent directly."""
        message = self._sending.get((frame.peer, frame.name, frame.number))
        if message is not None and message.path is not None and message.ended:
            message.arrived = True
            self._check_held(message)

    @property
    def used(self) -> set[DirectPath]:
        """The direct paths on which anything is on its way."""
        return {each.path for each in self._sending.values() if each.path is not None and not each.arrived}

    # -- what is held ----------------------------------------------------------------------------------------------

    def ask(self, frame: Want) -> None:
        """The rendezvous wants a message that was sent directly: an attempt at its receiver's task wants it again."""
        key = frame.peer, frame.name, frame.number
        message = self._holding.get(key)
        if message is not None:
            self._hand_over(message)
            return
        message = self._sending.get(key)
        # It may have ended on the path to the attempt before, which did not acknowledge it. One that has is held soon,
        # and is asked for again as that is noted.
        if message is not None and message.path is not None and not message.arrived:
            if message.begun:
                message.path.say(message.cut())
            self._change(message, None)

    def hand_over(self, tasks: Container[int]) -> None:
        """The worker will be gone: what these tasks may want again goes to the rendezvous, and no more is held."""
        for message in list(self._holding.values()):
            if message.stream[0] in tasks:
                self._hand_over(message)
            else:
                self._answers.append(message.cut())
                self._release(message)

    def _hand_over(self, message: OutgoingMessage) -> None:
        del self._holding[message.key]
        message.recalled, message.path = True, None
        message.said = message.noted = message.arrived = False
        message.restart()
        self._recalled += 1
        self._held_data -= message.source.data_length
        self._waiting[message.key] = message
        self._begin_waiting()

    def _may_hold(self, message: OutgoingMessage) -> bool:
        """Whether the file or the bytes can be held: where there is little room, the rendezvous keeps them."""
        if len(self._holding) + len(self._sending) + self._recalled >= MAX_HELD:
            return False
        return message.source.retain(self._held_length)

    def _say_held(self, message: OutgoingMessage) -> None:
        if not message.said:
            message.said = True
            message.due += 1
            self._answers.append(message.held())

    def _check_held(self, message: OutgoingMessage) -> None:
        if message.arrived and message.noted:
            self._forget(message)
            message.source.rest()
            self._holding[message.key] = message
            self._held_length += message.source.kept_length
            self._held_data += message.source.data_length
            while len(self._holding) > MAX_KEPT or self._held_data > MAX_KEPT_BYTES:
                self._hand_over(next(iter(self._holding.values())))
            if not message.given_up:
                self._count(message)
                message.done(None)
            self._begin_waiting()

    def _release(self, message: OutgoingMessage) -> None:
        """Hold a message no longer."""
        if self._holding.pop(message.key, None) is not None:
            self._held_length -= message.source.kept_length
            self._held_data -= message.source.data_length
        self._bytes -= message.source.data_length
        message.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _begin_waiting(self) -> None:
        while self._waiting and len(self._sending) < MAX_SENDING:
            message = self._waiting.pop(next(iter(self._waiting)))
            self._sending[message.key] = message
            self._turns.append(message)
            path = self._paths.get(message.stream[0])
            want = message.number, message.stream[1]
            if path is not None and want in path.wants:
                del path.wants[want]
                if not message.recalled and self._may_hold(message):
                    message.path = path
                else:
                    self._say_elsewhere(path, *want)
            self._read_on(message)

    def _change(self, message: OutgoingMessage, path: DirectPath | None) -> None:
        """Send a message by a path, from its beginning."""
        if path is not None and path is not message.path:
            message.said = message.noted = False
        message.path = path
        message.restart()
        self._read_on(message)

    def _read_on(self, message: OutgoingMessage) -> None:
        if not message.hungry:
            return
        if message.source.data_length:  # it is here: no time is lost with a thread
            message.read()()
            return
        message.reading = True
        taken: list[Callable[[], None]] = []

        def read(error: str | None) -> None:
            message.reading = False
            if message.over:
                return
            if error is not None:
                self._end(message, error)
            else:
                taken[0]()
                self._read_on(message)  # if it has begun anew meanwhile

        self._runs.chore(lambda _: taken.append(message.read()), read)

    def _count(self, message: OutgoingMessage) -> None:
        self._traffic.add(sent=message.length, more=self.active > 0)

    def _forget(self, message: OutgoingMessage) -> None:
        self._sending.pop(message.key, None)
        if message in self._turns:
            self._turns.remove(message)

    def _end(self, message: OutgoingMessage, error: str | None) -> None:
        self._forget(message)
        if message.recalled:
            self._recalled -= 1
            self._held_length -= message.source.kept_length
        if error is not None:
            if not message.recalled:
                self._numbers.give_back(message.stream, message.number)
            if message.begun and message.path is not None:
                message.path.say(message.cut())
            elif message.begun or message.recalled:
                self._answers.append(message.cut())
        self._release(message)
        if not message.recalled and not message.given_up:
            if error is None:
                self._count(message)
            message.done(error)
        self._begin_waiting()

"""A session is one task's connection for links: its frames come in, and those for it are asked for. No sockets here.

What is sent is pulled: :meth:`LinkSession.next_frame` gives one frame at a time, as the connection takes them, so
nothing is buffered for a slow receiver but in the store.
"""

from binascii import hexlify, unhexlify
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Protocol

from mu_twisted.rendezvous._carried_stream import IRREGULAR, CarriedStream
from mu_twisted.rendezvous._errors import Full
from mu_twisted.rendezvous._links import MAX_CARRIED, Links
from mu_twisted.rendezvous._named_message import NamedMessage, NamedStream
from mu_twisted.rendezvous._named_storage import SMALL_MESSAGE
from mu_twisted.rendezvous._spill import SpillError
from mu_twisted.transport import Bundle, LinkEnd
from mu_twisted.wire import PeerError
from mu_twisted.wire.links import (
    MAX_HELD,
    MAX_PART,
    Ack,
    Begin,
    Cut,
    End,
    Held,
    LinkFrame,
    LinkPing,
    MessageKey,
    Nak,
    Part,
    Unwant,
    Want,
    WantAny,
    Whole,
)

MAX_ARRIVING = 64
"""Messages that one connection may have begun and not ended."""
MAX_WANTS = 4096
"""Messages that one connection may wait for or be receiving."""
MAX_ANY = 4096
"""Names under which one connection may wait for messages of any task, and 16 times that many senders' numbers that it
may say it has."""
MAX_ANSWERS = 1024
"""Answers that a connection may leave untaken before it is not read."""


@dataclass(eq=False, slots=True)
class _IncomingMessage:
    """A message that this session sends.

    :param message: where its bytes go; None: they are only counted, as it is compared or was refused.
    :param compared: with this kept one, whose bytes its receiver has or is getting.
    """

    length: int
    message: NamedMessage | None = None
    compared: NamedMessage | None = None
    arrived: int = 0


@dataclass(eq=False, slots=True)
class _Delivery:
    """A message that this session receives.

    :ivar offset: of the next byte; None: it has not begun.
    :ivar ended: whether all was sent, so that only the receiver's acknowledgement is missing.
    """

    message: NamedMessage
    any_sender: bool
    offset: int | None = None
    ended: bool = False

    @property
    def ready(self) -> bool:
        """Whether there is something to send."""
        if self.ended:
            return False
        message = self.message
        return self.offset is None or message.digest is not None or message.arrived > self.offset


@dataclass(eq=False, slots=True)
class _AnySender:
    """The messages of one name that are waited for, of any task.

    :param name: of them.
    :param taken: the last number that the receiver has, by the sender.
    :ivar count: how many.
    :ivar queue: senders that may have a next message, by the order in which that has begun; it may have changed.
    :ivar queued: the senders in that queue, each once.
    """

    name: bytes
    taken: dict[int, int]
    count: int = 0
    queue: list[tuple[int, int]] = field(default_factory=list)
    queued: set[int] = field(default_factory=set)


class Outlet(Protocol):
    """A connection, as a session sees it."""

    def deliver(self) -> None:
        """Call :meth:`LinkSession.next_frame` as long as there is something, and it can be sent."""


class LinkSession:
    """One connection for links that has greeted.

    :param links: the job's.
    :param task: whose connection it is.
    :param attempt: of that.
    :param outlet: the connection, which is to ask for frames now.
    :param whole: whether it takes a message in one frame.
    :ivar link_end: its connection in the core; None: it is not there, or has ended.
    :ivar carried: streams that the core carries, of which it is an end.
    :ivar irregular: as :class:`StreamSession` has it.
    """

    def __init__(self, links: Links, task: int, attempt: int, outlet: Outlet, *, whole: bool = False) -> None:
        self.task = task
        self._whole = whole
        self.attempt = attempt
        self._links = links
        self.outlet: Outlet = outlet
        self._arriving: dict[MessageKey, _IncomingMessage] = {}
        self.link_end: LinkEnd | None = None
        self.carried: dict[CarriedStream, None] = {}
        self.irregular = 0
        self._wants: dict[tuple[int, bytes], set[int]] = {}
        self._want_count = 0
        self._any: dict[bytes, _AnySender] = {}
        self._any_count = 0
        self._said = 0
        self._deliveries: dict[MessageKey, _Delivery] = {}
        self._ready: dict[_Delivery, None] = {}
        self._answers: deque[bytes] = deque()
        self._held: dict[MessageKey, int] = {}  # and the receiver's attempt that has it, or for which it was asked for

    @property
    def clogged(self) -> bool:
        """Whether so many answers wait to be taken that no more frames should be read."""
        return len(self._answers) > MAX_ANSWERS

    def receive(self, frame: LinkFrame) -> None:
        """Take a frame of the task's.

        :raises PeerError: it is out of place, or one too many.
        """
        if self.carried:
            self._settle(frame)
        match frame:
            case Whole():
                self._take_whole(frame)
            case Want():
                self._want(frame)
            case Ack():
                self._acknowledged(frame)
            case Begin():
                self._begin((frame.peer, frame.name, frame.number), frame.length, frame.part)
            case Part():
                self._part(frame)
            case End():
                self._end((frame.peer, frame.name, frame.number), frame.digest)
            case Cut():
                self._give_up((frame.peer, frame.name, frame.number))
            case WantAny():
                self._want_any(frame)
            case Unwant():
                self._unwant(frame)
            case Held():
                self._hold(frame)
            case LinkPing(answer=False):
                self._answer(LinkPing(answer=True).encode())
            case Nak() | LinkPing():
                raise PeerError(f"a task says this to no rendezvous: {frame.encode()[:80]!r}")

    def next_frame(self) -> bytes | None:
        """The next frame for the task; None if there is none now."""
        while self._answers or self._ready:
            if self._answers:
                return self._answers.popleft()
            delivery = next(iter(self._ready))
            del self._ready[delivery]
            try:
                frame = self._frame(delivery)
            except SpillError:
                self._links.lose(delivery.message)  # which ends the delivery, and may answer
                continue
            if delivery.ready:
                self._ready[delivery] = None  # behind the others
            return frame
        return None

    def close(self) -> None:
        """End the session: what has begun to arrive is cut, what it was to receive waits for the next one."""
        self.link_end = None
        for carried in list(self.carried):
            carried.end()
        for key in list(self._arriving):
            self._give_up(key)
        for delivery in self._deliveries.values():
            self._links.storage.disuse(delivery.message)
        self._wants.clear()
        self._want_count = 0
        self._any.clear()
        self._deliveries.clear()
        self._ready.clear()
        self._answers.clear()
        for key in list(self._held):
            self._release(key)

    # -- as a sender ---------------------------------------------------------------------------------------------------

    def _take_whole(self, frame: Whole) -> None:
        key = frame.peer, frame.name, frame.number
        stream = self._links.stream(self.task, frame.peer, frame.name)
        new = key not in self._arriving and (stream is None or stream.new(frame.number))
        if not new or len(frame.part) > SMALL_MESSAGE:
            self._begin(key, len(frame.part), frame.part)
            self._end(key, frame.digest)
            return
        self._held.pop(key, None)
        digest = unhexlify(frame.digest)
        try:
            self._links.keep(self.task, self.attempt, frame.peer, frame.name, frame.number, frame.part, digest)
        except Full as error:
            self._refuse(key, str(error))
        else:
            self._answer(Ack(frame.peer, frame.number, frame.name).encode())

    def _begin(self, key: MessageKey, length: int, part: bytes) -> None:
        peer, name, number = key
        if key in self._arriving:
            raise PeerError(f"message {number} to task {peer} has begun already")
        if len(self._arriving) >= MAX_ARRIVING:
            raise PeerError(f"{MAX_ARRIVING} messages have begun and not ended: no more may begin")
        arrival = self._arriving[key] = _IncomingMessage(length)
        self._held.pop(key, None)
        stream = self._links.stream(self.task, peer, name)
        kept = None if stream is None else stream.kept.get(number)
        if kept is not None and (kept.taken or kept.uses or kept.attempt == self.attempt):
            arrival.compared = kept
            self._links.storage.use(kept)
        else:
            try:
                arrival.message = self._links.begin(self.task, self.attempt, peer, name, number, length)
            except Full as error:
                self._refuse(key, str(error))
        self._append(key, arrival, part)

    def _part(self, frame: Part) -> None:
        key = frame.peer, frame.name, frame.number
        arrival = self._arriving.get(key)
        if arrival is None:
            raise PeerError(f"bytes of message {frame.number} to task {frame.peer}, which has not begun")
        if frame.offset != arrival.arrived or frame.offset + len(frame.part) > arrival.length:
            raise PeerError(
                f"{len(frame.part)} bytes at {frame.offset} of message {frame.number} to task {frame.peer}: it has "
                f"{arrival.length}, and those from {arrival.arrived} on are expected"
            )
        self._append(key, arrival, frame.part)

    def _append(self, key: MessageKey, arrival: _IncomingMessage, part: bytes) -> None:
        arrival.arrived += len(part)
        if arrival.message is not None:
            try:
                self._links.append(arrival.message, part)
            except SpillError as error:
                message, arrival.message = arrival.message, None
                self._links.drop(message)
                self._refuse(key, str(error))

    def _end(self, key: MessageKey, hexadecimal: bytes) -> None:
        peer, name, number = key
        arrival = self._arriving.get(key)
        if arrival is None or arrival.arrived != arrival.length:
            came = "has not begun" if arrival is None else f"has {arrival.arrived} of {arrival.length} bytes"
            raise PeerError(f"the end of message {number} to task {peer}, which {came}")
        del self._arriving[key]
        digest = unhexlify(hexadecimal)
        if arrival.message is not None:
            same = self._links.end(arrival.message, digest)
        elif arrival.compared is not None:
            same = self._links.same(arrival.compared, self.attempt, digest)
            self._links.storage.disuse(arrival.compared)
        else:
            return  # it was refused
        if same:
            self._answer(Ack(peer, number, name).encode())
        else:
            self._refuse_other(key)

    def _give_up(self, key: MessageKey) -> None:
        arrival = self._arriving.pop(key, None)
        if arrival is None:
            self._release(key)  # or its end was quicker
            return
        if arrival.message is not None:
            self._links.drop(arrival.message)
        if arrival.compared is not None:
            self._links.storage.disuse(arrival.compared)

    def _hold(self, frame: Held) -> None:
        key = frame.peer, frame.name, frame.number
        if key in self._arriving:
            raise PeerError(f"message {frame.number} to task {frame.peer} is held, and was begun here")
        if len(self._held) >= MAX_HELD and key not in self._held:
            raise PeerError(f"{MAX_HELD} messages are held: no more may be")
        digest = unhexlify(frame.digest)
        try:
            same = self._links.hold(self.task, self.attempt, frame.peer, frame.name, frame.number, digest)
        except Full as error:
            self._refuse(key, str(error))
            return
        if not same:
            self._refuse_other(key)
            return
        self._held[key] = frame.attempt
        self._answer(Ack(frame.peer, frame.number, frame.name).encode())
        receiver = self._links.receivers.get(frame.peer)
        if receiver is not None and receiver.wants(self.task, frame.name, frame.number):
            self.ask(frame.peer, frame.name, frame.number, receiver.attempt)

    def ask(self, receiver: int, name: bytes, number: int, attempt: int) -> bool:
        """Ask for a message that the task holds; it comes as any other."""
        key = receiver, name, number
        if key in self._arriving:
            return True
        if key not in self._held:
            return False
        if attempt != self._held[key]:
            self._held[key] = attempt  # once for each attempt
            self._answer(Want(receiver, number, name).encode())
        return True

    def _release(self, key: MessageKey) -> None:
        if self._held.pop(key, None) is not None:
            receiver, name, number = key
            self._links.released(self.task, receiver, name, number)

    def _refuse_other(self, key: MessageKey) -> None:
        peer, name, number = key
        self._refuse(
            key,
            f"task {self.task}'s program is not deterministic: message {number} {name.decode('utf-8', 'replace')!r} to "
            f"task {peer} has other bytes than an earlier attempt has sent",
        )

    def _refuse(self, key: MessageKey, reason: str) -> None:
        peer, name, number = key
        self._answer(Nak(peer, number, name, reason.encode("utf-8", "replace")).encode())

    # -- as an end of streams that the core carries --------------------------------------------------------------------

    def carry(self, frame: LinkFrame) -> bool:
        """Have the core carry a stream, this frame on, if it is one of a steady stream.

        :returns: whether it does: then it is to carry out this frame.
        """
        if self.link_end is None:
            return False
        if isinstance(frame, Want):
            return self._links.carry(frame.peer, self.task, frame.name, frame.number)
        if isinstance(frame, Whole) and len(frame.part) <= SMALL_MESSAGE:
            return self._links.carry(self.task, frame.peer, frame.name, frame.number)
        return False

    def read(self, bundle: Bundle, at: int) -> tuple[bytes | None, int, int, int]:
        """As :meth:`Links.read`, of what its connection in the core has brought."""
        if self.link_end is None:
            return None, at, at, 0  # it has ended
        return self._links.read(self.link_end, bundle, at, carries=bool(self.carried))

    def may_be_carried(self, name: bytes) -> bool:
        """Whether it may be the end of one more stream of this name that is carried: what the core sends must not
        overtake anything.
        """
        waits = self._answers or self._ready or name in self._any
        return self._whole and not waits and len(self.carried) < MAX_CARRIED

    def take_back(self, message: NamedMessage, *, sent: bool) -> None:
        """Deliver a message that its task waits for, or await the acknowledgement of one that was sent to it."""
        key = message.stream.sender, message.stream.name, message.number
        if not sent:
            self._deliver(key, message, any_sender=False)
            return
        self._links.storage.use(message)
        delivery = self._deliveries[key] = _Delivery(message, any_sender=False)
        delivery.offset, delivery.ended = message.length, True

    def expect(self, stream: NamedStream, number: int) -> None:
        """Wait for a message that has not come."""
        self._wait((stream.sender, stream.name, number))

    def wants_of(self, sender: int, name: bytes) -> set[int]:
        """The numbers of messages that its task waits for, of that sender and name."""
        return self._wants.get((sender, name), set())

    def forget_wants(self, sender: int, name: bytes) -> None:
        """Wait for those no more."""
        self._want_count -= len(self._wants.pop((sender, name), ()))

    def _settle(self, frame: LinkFrame) -> None:
        """A frame that the core has not carried out is carried out here, with all that is known of its stream."""
        streams: list[NamedStream | None] = []
        match frame:
            case Whole() | Begin() | Part() | End() | Cut() | Held():
                streams = [self._links.stream(self.task, frame.peer, frame.name)]
            case Ack() if (frame.peer, frame.name, frame.number) in self._deliveries:
                pass  # it was sent before the stream was carried
            case Ack() | Want() | Unwant() if frame.peer is not None:
                streams = [self._links.stream(frame.peer, self.task, frame.name)]
            case WantAny() if frame.name not in self._any:  # else none of them is carried
                streams = list(self._links.senders(self.task, frame.name))
        for stream in streams:
            if stream is not None and stream.carried is not None:
                if stream.carried.is_open:
                    self.irregular = IRREGULAR
                stream.carried.settle()

    # -- as a receiver -------------------------------------------------------------------------------------------------

    def wants(self, sender: int, name: bytes, number: int) -> bool:
        """Whether the task waits for this message, and nothing of it can be delivered."""
        wanted = self._any.get(name)
        follows = wanted is not None and wanted.count > 0 and wanted.taken.get(sender, 0) + 1 == number
        return follows or number in self._wants.get((sender, name), ())

    def begun(self, message: NamedMessage) -> None:
        """A message for the task can be delivered."""
        stream = message.stream
        key = stream.sender, stream.name, message.number
        if self._unwait(key):
            self._deliver(key, message, any_sender=False)
        elif stream.name in self._any:
            self._queue(self._any[stream.name], stream)
            self._satisfy(self._any[stream.name])

    def grown(self, message: NamedMessage) -> None:
        """More of a message has arrived, or its end."""
        delivery = self._deliveries.get((message.stream.sender, message.stream.name, message.number))
        if delivery is not None and delivery.message is message and delivery.ready:
            self._ready[delivery] = None
            self.outlet.deliver()

    def cut(self, message: NamedMessage) -> None:
        """A message is being removed: if it was being delivered, it is waited for anew."""
        stream = message.stream
        key = stream.sender, stream.name, message.number
        delivery = self._deliveries.get(key)
        if delivery is None or delivery.message is not message:
            return
        self._stop(key, delivery)
        if delivery.offset is not None:
            self._answer(Cut(stream.sender, message.number, stream.name).encode())
        if delivery.any_sender:
            wanted = self._any[stream.name]
            wanted.count += 1
            self._any_count += 1
            self._queue(wanted, stream)
            self._satisfy(wanted)
        else:
            self._wait_for(key)

    def _want(self, frame: Want) -> None:
        key = frame.peer, frame.name, frame.number
        delivery = self._deliveries.get(key)
        if delivery is not None:  # from its beginning again
            self._stop(key, delivery)
        elif frame.number not in self._wants.get((frame.peer, frame.name), ()):
            self._check_wants()
        self._wait_for(key)

    def _wait_for(self, key: MessageKey) -> None:
        sender, name, number = key
        stream = self._links.stream(sender, self.task, name)
        message = None if stream is None else stream.available(number)
        if message is not None and message.begun:
            self._unwait(key)
            self._deliver(key, message, any_sender=False)
            return
        self._wait(key)
        if stream is not None:
            self._links.wanted(stream, number)

    def _want_any(self, frame: WantAny) -> None:
        self._check_wants()
        wanted = self._any.get(frame.name)
        self._said += len(frame.taken)
        if (wanted is None and len(self._any) >= MAX_ANY) or self._said > 16 * MAX_ANY:
            raise PeerError(
                f"it waits for any task's messages under {len(self._any)} names, and has {self._said} of them"
            )
        if wanted is None:
            wanted = self._any[frame.name] = _AnySender(frame.name, dict(frame.taken))
            for stream in self._links.senders(self.task, frame.name):
                self._queue(wanted, stream)
        for sender, number in frame.taken:
            self._taken(wanted, sender, number)
        wanted.count += 1
        self._any_count += 1
        self._satisfy(wanted)

    def _taken(self, wanted: _AnySender, sender: int, number: int) -> None:
        """The receiver has this message of a sender, and those before it."""
        if number > wanted.taken.get(sender, 0):
            wanted.taken[sender] = number
            stream = self._links.stream(sender, self.task, wanted.name)
            if stream is not None:
                self._queue(wanted, stream)

    def _queue(self, wanted: _AnySender, stream: NamedStream) -> None:
        """Look at a sender's stream when it has its turn; it may be another one then."""
        if stream.sender not in wanted.queued:
            wanted.queued.add(stream.sender)
            message = self._next_of(wanted, stream)
            heappush(wanted.queue, (-1 if message is None else message.order, stream.sender))

    def _satisfy(self, wanted: _AnySender) -> None:
        """Deliver what is next of any stream, the message first that has begun first. Of one stream this is one at a
        time: so all before it are safe when it is said to have been taken.
        """
        while wanted.count and wanted.queue:
            order, sender = heappop(wanted.queue)
            wanted.queued.discard(sender)
            stream = self._links.stream(sender, self.task, wanted.name)
            if stream is None:
                continue
            message = self._next_of(wanted, stream)
            if message is None:
                self._links.wanted(stream, wanted.taken.get(stream.sender, 0) + 1)
            elif order != message.order:
                self._queue(wanted, stream)
            else:
                wanted.count -= 1
                self._any_count -= 1
                self._deliver((stream.sender, stream.name, message.number), message, any_sender=True)

    def _next_of(self, wanted: _AnySender, stream: NamedStream) -> NamedMessage | None:
        """The next message of a stream, if it has begun and is not being delivered."""
        number = wanted.taken.get(stream.sender, 0) + 1
        message = stream.available(number)
        delivered = (stream.sender, stream.name, number) in self._deliveries
        return None if message is None or delivered or not message.begun else message

    def _unwant(self, frame: Unwant) -> None:
        for key, delivery in list(self._deliveries.items()):
            of_it = delivery.any_sender if frame.peer is None else key[0] == frame.peer and not delivery.any_sender
            if of_it and key[1] == frame.name:
                self._stop(key, delivery)
        if frame.peer is None:
            wanted = self._any.get(frame.name)
            if wanted is not None:
                self._any_count -= wanted.count
                wanted.count = 0
        else:
            self.forget_wants(frame.peer, frame.name)

    def _acknowledged(self, frame: Ack) -> None:
        key = frame.peer, frame.name, frame.number
        stream = self._links.stream(frame.peer, self.task, frame.name)
        delivery = self._deliveries.get(key)
        message = None
        if stream is not None:
            message = (stream.kept if delivery is None else stream.stored).get(frame.number)
        if message is not None:
            message.taken = True
        if delivery is not None:
            self._stop(key, delivery)
        if message is not None and (delivery is None or delivery.message is not message):
            self._links.storage.use(message)
            self._links.storage.disuse(message)
        self._unwait(key)
        wanted = self._any.get(frame.name)
        if wanted is not None:
            self._taken(wanted, frame.peer, frame.number)
            self._satisfy(wanted)

    def _check_wants(self) -> None:
        carried = 0 if self.link_end is None else self.link_end.waited
        if self._want_count + len(self._deliveries) + self._any_count + carried >= MAX_WANTS:
            raise PeerError(f"{MAX_WANTS} messages are waited for: no more may be")

    def _wait(self, key: MessageKey) -> None:
        sender, name, number = key
        numbers = self._wants.setdefault((sender, name), set())
        self._want_count += number not in numbers
        numbers.add(number)

    def _unwait(self, key: MessageKey) -> bool:
        """Wait for a message no more; returns whether it was waited for."""
        sender, name, number = key
        numbers = self._wants.get((sender, name))
        if numbers is None or number not in numbers:
            return False
        numbers.discard(number)
        if not numbers:
            del self._wants[sender, name]
        self._want_count -= 1
        return True

    def _deliver(self, key: MessageKey, message: NamedMessage, *, any_sender: bool) -> None:
        self._links.storage.use(message)
        delivery = self._deliveries[key] = _Delivery(message, any_sender)
        self._ready[delivery] = None
        self.outlet.deliver()

    def _stop(self, key: MessageKey, delivery: _Delivery) -> None:
        del self._deliveries[key]
        self._ready.pop(delivery, None)
        self._links.storage.disuse(delivery.message)

    def _frame(self, delivery: _Delivery) -> bytes:
        message, offset = delivery.message, delivery.offset
        stream = message.stream
        if offset is None or offset < message.arrived:
            part = self._links.storage.read(message, offset or 0, MAX_PART)
            delivery.offset = (offset or 0) + len(part)
            if offset is not None:
                return Part(stream.sender, message.number, offset, stream.name, part).encode()
            if self._whole and message.digest is not None and len(part) == message.length:
                delivery.ended = True
                return Whole(stream.sender, message.number, hexlify(message.digest), stream.name, part).encode()
            return Begin(stream.sender, message.number, message.length, stream.name, part).encode()
        assert message.digest is not None
        delivery.ended = True
        return End(stream.sender, message.number, hexlify(message.digest), stream.name).encode()

    def _answer(self, frame: bytes) -> None:
        self._answers.append(frame)
        self.outlet.deliver()

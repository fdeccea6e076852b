"""Links are the frames by which tasks send one another named messages, over a rendezvous or directly.

The package does not import this module: only workers that use links, and the rendezvous, load it. A frame is a header
of fields separated by colons, and where it carries bytes a NUL and these. PEER is the task at the other end: to the
rendezvous it is the one that is meant, from it the one that has sent; between two workers it is the one that is meant.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain, islice

from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.wire._errors import PeerError
from mu_twisted.wire._fields import NUMBER, check_bare, read_number

WHOLE = "whole"
"""What both announce in their greetings that take a message in one frame."""
LINKS = "links"
"""What a worker announces in its greeting that takes ``link:``, ``send:`` and ``receive:``."""

PINGS = "pings"
"""What a rendezvous announces in its answer to a greeting that answers :class:`LinkPing`."""

MAX_PART = 128 << 10
"""Bytes of a message that one frame carries."""
MAX_NAME = 200
"""Bytes of a message's name."""
MAX_DATA = 64 << 10
"""Bytes of a message that stand in its command, instead of a file."""
MAX_LENGTH = 1 << 40
"""Bytes of a message."""
MAX_NUMBER = 10**9
"""The largest number of a message among those of its sender, receiver and name."""
MAX_TAKEN = 4096
"""Messages that one ``WANT_ANY`` may say to have been taken."""
MAX_LINK_FRAME = MAX_PART + 1024
"""Bytes of a frame."""
MAX_LINK_GREETING = 4 << 10
MAX_HELD = 4096
"""Messages that one sender may hold for the rendezvous."""
MAX_REASON = 500
"""Bytes of the reason of a ``NAK``."""

MAX_AHEAD = 64
"""Peers to which direct paths are made before there is anything to send."""
MAX_TASKS = 1000
"""Ranges of tasks that a command names."""
MAX_PATHS_REPORTED = 256
"""Peers of whose paths a worker says at once what has become of them."""
MAX_WAITS = 16
"""Messages that a worker says it waits for."""

MessageKey = tuple[int, bytes, int]
"""Of a named message: the task at the other end, the name, the number."""

_WAITS = b"INFO:waits:"
_PATHS = b"INFO:paths:"
_OUTCOME = re.compile("[a-z]{1,20}", re.ASCII)
_GREETING = b"HELLO_LINK:"
_WELCOME = b"OK:HELLO_LINK:"
_JOB = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_DIGEST = re.compile(rb"[0-9a-f]{64}", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def check_name(name: str) -> bytes:
    """A message's name as it travels.

    :raises ValueError: it is empty, too long, or holds control characters or what is no Unicode.
    """
    try:
        raw = name.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError(f"a message's name is text, got {name!r:.80}") from None
    if not 0 < len(raw) <= MAX_NAME or _CONTROL.search(name):
        raise ValueError(f"a message's name has 1 to {MAX_NAME} bytes and no control characters, got {name!r:.80}")
    return raw


@dataclass(frozen=True)
class LinkGreeting:
    """The first frame of a worker on its connection for links.

    :param job: the job's name.
    :param task: the worker's task.
    :param attempt: of the task.
    :param announced: what the worker can do and has, by name; unknown members are ignored.
    """

    job: bytes
    task: int
    attempt: int
    announced: JsonObject

    def encode(self) -> bytes:
        """``HELLO_LINK:JOB:TASK:ATTEMPT:{...}``."""
        return _GREETING + b"%b:%d:%d:%b" % (self.job, self.task, self.attempt, _json(self.announced))


@dataclass(frozen=True)
class LinkWelcome:
    """The rendezvous' answer to a greeting.

    :param announced: what the rendezvous can do and has seen, by name; unknown members are ignored.
    """

    announced: JsonObject

    def encode(self) -> bytes:
        """``OK:HELLO_LINK:{...}``."""
        return _WELCOME + _json(self.announced)


# Frames are not frozen: they are made for each message, and that would double what it costs. None changes any.


@dataclass(slots=True)
class Begin:
    """A message begins, with its first bytes.

    :param peer: number of the task at the other end.
    :param number: of the message among those of its sender, receiver and name; the first of an attempt has 1.
    :param length: bytes of the whole message.
    :param name: the message's.
    :param part: its first bytes; fewer than :data:`MAX_PART` only if these are all.
    """

    peer: int
    number: int
    length: int
    name: bytes
    part: bytes

    def encode(self) -> bytes:
        """``SEND:PEER:NUMBER:LENGTH:NAME``, NUL, bytes."""
        return b"SEND:%d:%d:%d:%b\0%b" % (self.peer, self.number, self.length, self.name, self.part)


@dataclass(slots=True)
class Whole:
    """A message of :data:`MAX_PART` bytes at most, all of it.

    :param digest: SHA-256 of its bytes in hexadecimal.
    :param part: its bytes.
    """

    peer: int
    number: int
    digest: bytes
    name: bytes
    part: bytes

    def encode(self) -> bytes:
        """``WHOLE:PEER:NUMBER:SHA256:NAME``, NUL, bytes."""
        return b"WHOLE:%d:%d:%b:%b\0%b" % (self.peer, self.number, self.digest, self.name, self.part)


@dataclass(slots=True)
class Part:
    """More of a message that has begun.

    :param offset: of these bytes in the message.
    """

    peer: int
    number: int
    offset: int
    name: bytes
    part: bytes

    def encode(self) -> bytes:
        """``DATA:PEER:NUMBER:OFFSET:NAME``, NUL, bytes."""
        return b"DATA:%d:%d:%d:%b\0%b" % (self.peer, self.number, self.offset, self.name, self.part)


@dataclass(slots=True)
class End:
    """All bytes of a message have been sent.

    :param digest: their SHA-256 in hexadecimal.
    """

    peer: int
    number: int
    digest: bytes
    name: bytes

    def encode(self) -> bytes:
        """``END:PEER:NUMBER:SHA256:NAME``."""
        return b"END:%d:%d:%b:%b" % (self.peer, self.number, self.digest, self.name)


@dataclass(slots=True)
class Cut:
    """A message that has begun will not go on: its sender is gone or has given it up."""

    peer: int
    number: int
    name: bytes

    def encode(self) -> bytes:
        """``CUT:PEER:NUMBER:NAME``."""
        return b"CUT:%d:%d:%b" % (self.peer, self.number, self.name)


@dataclass(slots=True)
class Ack:
    """A whole message is safe: the receiver has it, or the rendezvous keeps it."""

    peer: int
    number: int
    name: bytes

    def encode(self) -> bytes:
        """``ACK:PEER:NUMBER:NAME``."""
        return b"ACK:%d:%d:%b" % (self.peer, self.number, self.name)


@dataclass(slots=True)
class Nak:
    """A message is refused; the sender's task fails with the reason.

    :param reason: one line.
    """

    peer: int
    number: int
    name: bytes
    reason: bytes

    def encode(self) -> bytes:
        """``NAK:PEER:NUMBER:NAME``, NUL, the reason."""
        reason = b" ".join(self.reason.split())[:MAX_REASON]
        return b"NAK:%d:%d:%b\0%b" % (self.peer, self.number, self.name, reason)


@dataclass(slots=True)
class Want:
    """The receiver waits for this message; it is delivered once, as soon as it begins to arrive."""

    peer: int
    number: int
    name: bytes

    def encode(self) -> bytes:
        """``WANT:PEER:NUMBER:NAME``."""
        return b"WANT:%d:%d:%b" % (self.peer, self.number, self.name)


@dataclass(slots=True)
class WantAny:
    """The receiver waits for one more message of this name, of any task: the next of one of them.

    :param taken: by the sender's task, the number of its last message of this name that the receiver has; those may be
        left out that it has said or acknowledged on this connection.
    """

    name: bytes
    taken: tuple[tuple[int, int], ...] = ()

    def encode(self) -> bytes:
        """``WANT_ANY:NAME``, NUL, ``PEER=NUMBER,...``."""
        return b"WANT_ANY:%b\0%b" % (self.name, b",".join(b"%d=%d" % pair for pair in self.taken))


@dataclass(slots=True)
class Unwant:
    """The receiver waits no more for any message of this name; what is under way is not to go on.

    :param peer: whose; None: what :class:`WantAny` asked for.
    """

    peer: int | None
    name: bytes

    def encode(self) -> bytes:
        """``UNWANT:PEER:NAME``, PEER ``*`` for any."""
        return b"UNWANT:%b:%b" % (b"*" if self.peer is None else b"%d" % self.peer, self.name)


@dataclass(slots=True)
class Held:
    """The sender holds a message that it has sent directly; the rendezvous may ask for it with :class:`Want`.

    :param attempt: of the receiver, that has it or is getting it.
    :param digest: SHA-256 of all bytes in hexadecimal.
    """

    peer: int
    number: int
    attempt: int
    digest: bytes
    name: bytes

    def encode(self) -> bytes:
        """``HELD:PEER:NUMBER:ATTEMPT:SHA256:NAME``."""
        return b"HELD:%d:%d:%d:%b:%b" % (self.peer, self.number, self.attempt, self.digest, self.name)


@dataclass(slots=True)
class LinkPing:
    """Is the other side there? It is to answer: a worker, or a rendezvous that has announced :data:`PINGS`.

    :param answer: whether this is the answer.
    """

    answer: bool = False

    def encode(self) -> bytes:
        """``PING:`` or ``PONG:``."""
        return b"PONG:" if self.answer else b"PING:"


LinkFrame = Begin | Whole | Part | End | Cut | Ack | Nak | Want | WantAny | Unwant | Held | LinkPing


def waits_info(waits: Sequence[tuple[int | None, str, int]]) -> bytes:
    """``INFO:waits:[[FROM,"NAME",NUMBER],...]``: the messages that a worker waits for, the first of them if many."""
    return _WAITS + json.dumps(list(waits)[:MAX_WAITS], separators=(",", ":")).encode("ascii")


def parse_waits(message: bytes) -> tuple[tuple[int | None, str, int], ...]:
    """Read what :func:`waits_info` has written.

    :raises PeerError: it is something else.
    """
    try:
        body: Json = json.loads(message.removeprefix(_WAITS)) if message.startswith(_WAITS) else None
        waits = tuple(_wait(*entry) for entry in body[: MAX_WAITS + 1])
        if len(waits) <= MAX_WAITS:
            return waits
    except (ValueError, TypeError, RecursionError):
        pass
    raise PeerError(f"expected INFO:waits:[[FROM,NAME,NUMBER],...], got {message[:80]!r}")


def _wait(frm: object, name: object, number: object) -> tuple[int | None, str, int]:
    if not (frm is None or type(frm) is int) or not isinstance(name, str) or type(number) is not int:
        raise TypeError
    check_name(name)
    return frm, name, number


def paths_info(outcomes: Mapping[int, str]) -> bytes:
    """``INFO:paths:{"PEER":"OUTCOME",...}``: the peers to which there is a direct path, and why not to the others."""
    some = dict(islice(outcomes.items(), MAX_PATHS_REPORTED))
    return _PATHS + json.dumps({str(peer): outcome for peer, outcome in some.items()}, separators=(",", ":")).encode()


def parse_paths(message: bytes) -> dict[int, str]:
    """Read what :func:`paths_info` has written.

    :raises PeerError: it is something else.
    """
    body = _object(message.removeprefix(_PATHS)) if message.startswith(_PATHS) else None
    if body is not None and len(body) <= MAX_PATHS_REPORTED:
        peers = [peer.encode("utf-8", "replace") for peer in body]
        outcomes = [outcome for outcome in body.values() if isinstance(outcome, str) and _OUTCOME.fullmatch(outcome)]
        if len(outcomes) == len(body) and all(map(NUMBER.fullmatch, peers)):
            return dict(zip(map(int, peers), outcomes, strict=True))
    raise PeerError(f"expected INFO:paths:{{PEER:OUTCOME,...}}, got {message[:80]!r}")


class TaskRanges:
    """Some tasks, as a command names them.

    :param ranges: each the first and the last of a range, in order.
    """

    def __init__(self, ranges: Sequence[tuple[int, int]] = ()) -> None:
        self._ranges = ranges

    @classmethod
    def of(cls, tasks: Iterable[int]) -> "TaskRanges":
        """These tasks, and where they are in more than :data:`MAX_TASKS` ranges some more, between them."""
        ranges: list[tuple[int, int]] = []
        for task in sorted(tasks):
            if ranges and (task <= ranges[-1][1] + 1 or len(ranges) == MAX_TASKS):
                ranges[-1] = ranges[-1][0], task
            else:
                ranges.append((task, task))
        return cls(ranges)

    def __contains__(self, task: object) -> bool:
        return isinstance(task, int) and any(first <= task <= last for first, last in self._ranges)

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(range(first, last + 1) for first, last in self._ranges)

    def __bool__(self) -> bool:
        return bool(self._ranges)

    def encode(self) -> bytes:
        """``FIRST-LAST,TASK,...``."""
        return b",".join(b"%d" % first if first == last else b"%d-%d" % (first, last) for first, last in self._ranges)


def parse_tasks(text: bytes) -> TaskRanges:
    """Read ``FIRST-LAST,TASK,...``.

    :raises PeerError: it is something else.
    """
    try:
        if text.count(b",") < MAX_TASKS:
            ends = [part.partition(b"-") for part in text.split(b",")] if text else []
            return TaskRanges(
                [(read_number(first), read_number(last if dash else first)) for first, dash, last in ends]
            )
    except ValueError:
        pass
    raise PeerError(f"expected numbers of tasks, FIRST-LAST,TASK,..., got {text[:80]!r}")


def is_link_greeting(message: bytes) -> bool:
    """Whether a first frame is one of a connection for links."""
    return message.startswith(_GREETING)


def parse_link_greeting(message: bytes) -> LinkGreeting:
    """Read the first frame of a connection for links.

    :raises PeerError: it is none.
    """
    parts = message.split(b":", 4)
    announced = _object(parts[4]) if len(parts) == 5 and len(message) <= MAX_LINK_GREETING else None
    numbers = all(map(NUMBER.fullmatch, parts[2:4]))
    if announced is None or parts[0] + b":" != _GREETING or not _JOB.fullmatch(parts[1]) or not numbers:
        raise PeerError(f"expected HELLO_LINK:JOB:TASK:ATTEMPT:{{...}}, got {message[:80]!r}")
    return LinkGreeting(parts[1], int(parts[2]), int(parts[3]), announced)


def parse_link_welcome(message: bytes) -> LinkWelcome:
    """Read the answer to a greeting.

    :raises PeerError: it is none.
    """
    fits = message.startswith(_WELCOME) and len(message) <= MAX_LINK_GREETING
    announced = _object(message[len(_WELCOME) :]) if fits else None
    if announced is None:
        raise PeerError(f"expected OK:HELLO_LINK:{{...}}, got {message[:80]!r}")
    return LinkWelcome(announced)


def parse_link_frame(message: bytes) -> LinkFrame:
    """Read a frame of a connection for links.

    :raises PeerError: it is none, or breaks a limit.
    """
    header, nul, body = message.partition(b"\0")
    kind, _, rest = header.partition(b":")
    try:
        return _PARSERS[kind](rest, body if nul else None)
    except (KeyError, ValueError):
        raise PeerError(f"expected a frame of a link, got {message[:80]!r}") from None


# -- inside ------------------------------------------------------------------------------------------------------------

_message_number = partial(read_number, most=MAX_NUMBER, least=1)


def _begin(rest: bytes, body: bytes | None) -> Begin:
    peer, number, length, name = rest.split(b":", 3)
    size, part = read_number(length, MAX_LENGTH), _part(body)
    if len(part) > size or len(part) < min(size, MAX_PART):
        raise ValueError
    return Begin(read_number(peer), _message_number(number), size, _name(name), part)


def _whole(rest: bytes, body: bytes | None) -> Whole:
    peer, number, digest, name = rest.split(b":", 3)
    return Whole(read_number(peer), _message_number(number), _digest(digest), _name(name), _part(body))


def _data(rest: bytes, body: bytes | None) -> Part:
    peer, number, offset, name = rest.split(b":", 3)
    part = _part(body)
    if not part:
        raise ValueError
    return Part(read_number(peer), _message_number(number), read_number(offset, MAX_LENGTH), _name(name), part)


def _end(rest: bytes, body: bytes | None) -> End:
    peer, number, digest, name = check_bare(rest, body).split(b":", 3)
    return End(read_number(peer), _message_number(number), _digest(digest), _name(name))


def _want_any(rest: bytes, body: bytes | None) -> WantAny:
    if body is None or body.count(b",") >= MAX_TAKEN:
        raise ValueError
    pairs = (pair.split(b"=", 1) for pair in body.split(b",")) if body else ()
    return WantAny(_name(rest), tuple((read_number(peer), _message_number(number)) for peer, number in pairs))


def _unwant(rest: bytes, body: bytes | None) -> Unwant:
    peer, name = check_bare(rest, body).split(b":", 1)
    return Unwant(None if peer == b"*" else read_number(peer), _name(name))


def _nak(rest: bytes, body: bytes | None) -> Nak:
    if body is None or len(body) > MAX_REASON:
        raise ValueError
    return Nak(*_address(rest), b" ".join(body.split()))


def _held(rest: bytes, body: bytes | None) -> Held:
    peer, number, attempt, digest, name = check_bare(rest, body).split(b":", 4)
    return Held(read_number(peer), _message_number(number), read_number(attempt), _digest(digest), _name(name))


def _ping(rest: bytes, body: bytes | None, *, answer: bool) -> LinkPing:
    if check_bare(rest, body):
        raise ValueError
    return LinkPing(answer)


def _cut(rest: bytes, body: bytes | None) -> Cut:
    return Cut(*_address(check_bare(rest, body)))


def _ack(rest: bytes, body: bytes | None) -> Ack:
    return Ack(*_address(check_bare(rest, body)))


def _want(rest: bytes, body: bytes | None) -> Want:
    return Want(*_address(check_bare(rest, body)))


_PARSERS: dict[bytes, Callable[[bytes, bytes | None], LinkFrame]] = {
    b"SEND": _begin,
    b"WHOLE": _whole,
    b"DATA": _data,
    b"END": _end,
    b"CUT": _cut,
    b"ACK": _ack,
    b"NAK": _nak,
    b"WANT": _want,
    b"WANT_ANY": _want_any,
    b"UNWANT": _unwant,
    b"HELD": _held,
    b"PING": partial(_ping, answer=False),
    b"PONG": partial(_ping, answer=True),
}


def _address(text: bytes) -> tuple[int, int, bytes]:
    peer, number, name = text.split(b":", 2)
    return read_number(peer), _message_number(number), _name(name)


def _part(body: bytes | None) -> bytes:
    if body is None or len(body) > MAX_PART:
        raise ValueError
    return body


def _digest(text: bytes) -> bytes:
    if not _DIGEST.fullmatch(text):
        raise ValueError
    return text


@lru_cache(maxsize=1024)
def _name(raw: bytes) -> bytes:
    """Names come again with each message, and are checked once."""
    return check_name(raw.decode("utf-8"))


def _json(announced: JsonObject) -> bytes:
    return json.dumps(announced, separators=(",", ":")).encode("ascii")


def _object(text: bytes) -> JsonObject | None:
    try:
        body: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None

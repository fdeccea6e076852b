"""This module reads and writes what the rendezvous carries: greetings of peers, states, and notices.

Everything is bytes here too; what a message between peers holds is no concern of the rendezvous.
"""

import json
import re
import zlib
from dataclasses import dataclass

from mu_twisted.base.json_types import Json
from mu_twisted.wire._errors import CommandError, PeerError
from mu_twisted.wire._messages import parse_integer

_LEGACY = b"HELLO_STATE:"
_GREETING = b"HELLO_STATE2:"
_JOB = re.compile(rb"[A-Za-z0-9._-]{1,64}", re.ASCII)
_STATE = re.compile(rb"STATE\(([0-9]{1,18})\):", re.ASCII)
_NUMBER = re.compile(rb"[0-9]{1,18}", re.ASCII)
_MAX_DIGITS = 64
_MAX_LIMITS = 4096


@dataclass(frozen=True)
class PeerGreeting:
    """How a worker introduces itself to the rendezvous.

    :param run: the job, or what the original called a run: any bytes without a colon.
    :param me: its number, whose mailbox it reads.
    :param to: the number that everything it sends goes to; may be its own.
    :param attempt: of the task; None for the original's greeting, which has none.
    :param replay: whether all messages of the mailbox are wanted again, from the first.
    """

    run: bytes
    me: int
    to: int
    attempt: int | None = None
    replay: bool = False

    def encode(self) -> bytes:
        """``HELLO_STATE:RUN:ME:NEXT``, or ``HELLO_STATE2:JOB:ME:NEXT:ATTEMPT:REPLAY`` where there is an attempt."""
        if self.attempt is None:
            return _LEGACY + b"%b:%d:%d" % (self.run, self.me, self.to)
        return _GREETING + b"%b:%d:%d:%d:%d" % (self.run, self.me, self.to, self.attempt, self.replay)


def parse_peer_greeting(message: bytes) -> PeerGreeting:
    """Read the first message of a peer.

    :raises PeerError: it is no greeting, of neither kind.
    """
    if message.startswith(_GREETING):
        return _greeting(message)
    parts = message.split(b":")
    if not message.startswith(_LEGACY) or len(parts) != 4:
        raise PeerError(f"expected HELLO_STATE:RUN:ME:NEXT, got {message[:80]!r}")
    _, run, me, to = parts
    if len(me) > _MAX_DIGITS or len(to) > _MAX_DIGITS:
        raise PeerError(f"the numbers of a greeting are too long: {message[:80]!r}")
    try:
        return PeerGreeting(run, parse_integer(me), parse_integer(to))
    except CommandError:
        raise PeerError(f"ME and NEXT of a greeting are integers, got {message[:80]!r}") from None


def _greeting(message: bytes) -> PeerGreeting:
    parts = message.split(b":")
    if len(parts) != 6 or not _JOB.fullmatch(parts[1]) or not all(map(_NUMBER.fullmatch, parts[2:])):
        raise PeerError(f"expected HELLO_STATE2:JOB:ME:NEXT:ATTEMPT:REPLAY, got {message[:80]!r}")
    me, to, attempt, replay = map(int, parts[2:])
    if replay > 1:
        raise PeerError(f"REPLAY of a greeting is 0 or 1, got {replay}")
    return PeerGreeting(parts[1], me, to, attempt, bool(replay))


def state_message(number: int, state: bytes) -> bytes:
    """``STATE(N):`` and the state, compressed; level 1, as states hardly shrink with more.

    :param number: the pass that made it.
    """
    return b"STATE(%d):" % number + zlib.compress(state, 1)


def parse_state(message: bytes, limit: int) -> tuple[int, bytes]:
    """Number and state of a ``STATE(N):`` message.

    :param limit: bytes that a state may have; a message of a few bytes can stand for gigabytes.
    :raises PeerError: it is none, cannot be decompressed, or holds more than the limit.
    """
    found = _STATE.match(message)
    if found is None:
        raise PeerError(f"expected STATE(N):, got {message[:40]!r}")
    number = int(found.group(1))
    unpack = zlib.decompressobj()
    try:
        state = unpack.decompress(memoryview(message)[found.end() :], limit + 1)
    except zlib.error as error:
        raise PeerError(f"STATE({number}) cannot be decompressed: {error}") from None
    if len(state) > limit:
        raise PeerError(f"STATE({number}) holds more than {limit} bytes")
    if not unpack.eof:
        raise PeerError(f"STATE({number}) is cut off")
    return number, state


@dataclass(frozen=True)
class JobNotice:
    """The coordinator: this job lives, with these limits.

    :param job: its identifier.
    :param limits: bytes by name: ``retain`` of delivered messages, ``spill`` of undelivered ones on disk.
    """

    job: str
    limits: dict[str, int]

    def encode(self) -> bytes:
        """``JOB:J:LIMITS``, with LIMITS a JSON object."""
        return f"JOB:{self.job}:{json.dumps(self.limits, separators=(',', ':'))}".encode("ascii")


@dataclass(frozen=True)
class JobTaken:
    """The rendezvous: the job is known.

    :param store: another token than before means that its mailboxes are gone.
    """

    job: str
    store: str

    def encode(self) -> bytes:
        """``OK:JOB:J:STORE``."""
        return f"OK:JOB:{self.job}:{self.store}".encode("ascii")


@dataclass(frozen=True)
class EndNotice:
    """The coordinator: the job is over, its messages are of no use."""

    job: str

    def encode(self) -> bytes:
        """``END:J``."""
        return f"END:{self.job}".encode("ascii")


@dataclass(frozen=True)
class EndTaken:
    """The rendezvous: the job's messages are gone."""

    job: str

    def encode(self) -> bytes:
        """``OK:END:J``."""
        return f"OK:END:{self.job}".encode("ascii")


@dataclass(frozen=True)
class LostNotice:
    """The rendezvous: a message that this task has sent is wanted again, and gone."""

    job: str
    task: int

    def encode(self) -> bytes:
        """``LOST:J:TASK``."""
        return f"LOST:{self.job}:{self.task}".encode("ascii")


@dataclass(frozen=True)
class ResentNotice:
    """The rendezvous: all that this task had sent by links, and was gone, is there again."""

    job: str
    task: int

    def encode(self) -> bytes:
        """``RESENT:J:TASK``."""
        return f"RESENT:{self.job}:{self.task}".encode("ascii")


Notice = JobNotice | JobTaken | EndNotice | EndTaken | LostNotice | ResentNotice


def parse_notice(message: bytes) -> Notice:
    """Read a notice between coordinator and rendezvous.

    :raises PeerError: it is none of these.
    """
    kind, _, rest = message.removeprefix(b"OK:").partition(b":")
    job, colon, value = rest.partition(b":")
    taken = message.startswith(b"OK:")
    if _JOB.fullmatch(job):
        name = job.decode("ascii")
        if kind == b"JOB" and not taken and colon:
            return JobNotice(name, _limits(value))
        if kind == b"JOB" and taken and _JOB.fullmatch(value):
            return JobTaken(name, value.decode("ascii"))
        if kind == b"END" and not colon:
            return EndTaken(name) if taken else EndNotice(name)
        if kind == b"LOST" and not taken and _NUMBER.fullmatch(value):
            return LostNotice(name, int(value))
        if kind == b"RESENT" and not taken and _NUMBER.fullmatch(value):
            return ResentNotice(name, int(value))
    raise PeerError(f"expected JOB:J:LIMITS, END:J, LOST:J:TASK or RESENT:J:TASK, got {message[:80]!r}")


def _limits(text: bytes) -> dict[str, int]:
    try:
        body: Json = json.loads(text) if len(text) <= _MAX_LIMITS else None
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict) or not all(type(value) is int and value >= 0 for value in body.values()):
        raise PeerError(f"the limits of a job are a JSON object of whole numbers, got {text[:80]!r}")
    return body

"""Pipes are the frames by which a program of one task writes into a program of another, on connections for links.

Only workers that use pipes, and the rendezvous, load this module. PEER is the task at the other end, as in links. Both
parties announce :data:`PIPES` in their greetings; there is no such frame between parties of which one has not.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from mu_twisted.wire._errors import PeerError
from mu_twisted.wire._fields import check_bare, read_number

PIPES = "pipes"
"""What a worker announces in its greetings, to the coordinator and to the rendezvous, that has pipes; and what the
rendezvous announces that carries them."""
PREFIX = b"PIPE_"
"""What each frame begins with."""
MAX_PIPE_NAME = 64
"""Characters of a pipe's name."""
MAX_PIPE_PART = 64 << 10
"""Bytes of a pipe that one frame carries."""
MAX_CREDIT = 1 << 20
"""Bytes for which a reader may have given credit beyond those that it has."""
MAX_PIPES = 64
"""Ends of pipes that one task has."""
MAX_CUT_REASON = 300
"""Bytes of the reason of a ``PIPE_CUT``."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def check_pipe_name(name: str) -> bytes:
    """A pipe's name as it travels, and as it stands in commands.

    :raises ValueError: it is none.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"a pipe's name has 1 to {MAX_PIPE_NAME} letters, digits, '.', '_' and '-', got {name!r:.80}")
    return name.encode("ascii")


@dataclass(frozen=True, slots=True)
class OpenPipe:
    """This task has one end of a pipe.

    :param peer: the task at the other end.
    :param attempt: of the peer: bytes come from, and go to, no other.
    :param name: the pipe's, which the task has once.
    :param writes: whether this task writes, and the peer reads.
    """

    peer: int
    attempt: int
    name: bytes
    writes: bool

    def encode(self) -> bytes:
        """``PIPE_OPEN:PEER:ATTEMPT:to:NAME``, or ``from``."""
        return b"PIPE_OPEN:%d:%d:%b:%b" % (self.peer, self.attempt, b"to" if self.writes else b"from", self.name)


@dataclass(frozen=True, slots=True)
class PipeCredit:
    """The reader can take so many bytes more.

    :param size: bytes.
    """

    peer: int
    size: int
    name: bytes

    def encode(self) -> bytes:
        """``PIPE_CREDIT:PEER:BYTES:NAME``."""
        return b"PIPE_CREDIT:%d:%d:%b" % (self.peer, self.size, self.name)


@dataclass(frozen=True, slots=True)
class PipeData:
    """Bytes of a pipe, no more than there is credit for."""

    peer: int
    name: bytes
    part: bytes

    def encode(self) -> bytes:
        """``PIPE_DATA:PEER:NAME``, NUL, bytes."""
        return b"PIPE_DATA:%d:%b\0%b" % (self.peer, self.name, self.part)


@dataclass(frozen=True, slots=True)
class EndPipe:
    """The writer's command has ended with 0, and these were all its bytes."""

    peer: int
    name: bytes

    def encode(self) -> bytes:
        """``PIPE_END:PEER:NAME``."""
        return b"PIPE_END:%d:%b" % (self.peer, self.name)


@dataclass(frozen=True, slots=True)
class ClosePipe:
    """The reader reads no more, be it as it has all or before that."""

    peer: int
    name: bytes

    def encode(self) -> bytes:
        """``PIPE_CLOSE:PEER:NAME``."""
        return b"PIPE_CLOSE:%d:%b" % (self.peer, self.name)


@dataclass(frozen=True, slots=True)
class CutPipe:
    """The pipe is broken: what has come of it is not all, and who is at the other end of it fails.

    :param reason: one line.
    """

    peer: int
    name: bytes
    reason: bytes

    def encode(self) -> bytes:
        """``PIPE_CUT:PEER:NAME``, NUL, the reason."""
        return b"PIPE_CUT:%d:%b\0%b" % (self.peer, self.name, b" ".join(self.reason.split())[:MAX_CUT_REASON])


@dataclass(frozen=True, slots=True)
class MovePipe:
    """From this byte on the pipe comes on this direct path, and not by the rendezvous.

    :param offset: of the byte.
    """

    peer: int
    offset: int
    name: bytes

    def encode(self) -> bytes:
        """``PIPE_MOVE:PEER:OFFSET:NAME``."""
        return b"PIPE_MOVE:%d:%d:%b" % (self.peer, self.offset, self.name)


PipeFrame = OpenPipe | PipeCredit | PipeData | EndPipe | ClosePipe | CutPipe | MovePipe


def parse_pipe_frame(message: bytes) -> PipeFrame:
    """Read a frame of a pipe.

    :raises PeerError: it is none, or breaks a limit.
    """
    header, nul, body = message.partition(b"\0")
    kind, _, rest = header.partition(b":")
    try:
        return _PARSERS[kind](rest, body if nul else None)
    except (KeyError, ValueError):
        raise PeerError(f"expected a frame of a pipe, got {message[:80]!r}") from None


# -- inside ------------------------------------------------------------------------------------------------------------


def _open(rest: bytes, body: bytes | None) -> OpenPipe:
    peer, attempt, way, name = check_bare(rest, body).split(b":", 3)
    if way not in (b"to", b"from"):
        raise ValueError
    return OpenPipe(read_number(peer), read_number(attempt), _name(name), way == b"to")


def _credit(rest: bytes, body: bytes | None) -> PipeCredit:
    peer, size, name = check_bare(rest, body).split(b":", 2)
    if not 0 < read_number(size) <= MAX_CREDIT:
        raise ValueError
    return PipeCredit(read_number(peer), read_number(size), _name(name))


def _data(rest: bytes, body: bytes | None) -> PipeData:
    if not body or len(body) > MAX_PIPE_PART:
        raise ValueError
    return PipeData(*_address(rest), body)


def _end(rest: bytes, body: bytes | None) -> EndPipe:
    return EndPipe(*_address(check_bare(rest, body)))


def _close(rest: bytes, body: bytes | None) -> ClosePipe:
    return ClosePipe(*_address(check_bare(rest, body)))


def _move(rest: bytes, body: bytes | None) -> MovePipe:
    peer, offset, name = check_bare(rest, body).split(b":", 2)
    return MovePipe(read_number(peer), read_number(offset), _name(name))


def _cut(rest: bytes, body: bytes | None) -> CutPipe:
    if body is None or len(body) > MAX_CUT_REASON:
        raise ValueError
    return CutPipe(*_address(rest), b" ".join(body.split()))


_PARSERS: dict[bytes, Callable[[bytes, bytes | None], PipeFrame]] = {
    b"PIPE_OPEN": _open,
    b"PIPE_CREDIT": _credit,
    b"PIPE_DATA": _data,
    b"PIPE_END": _end,
    b"PIPE_CLOSE": _close,
    b"PIPE_CUT": _cut,
    b"PIPE_MOVE": _move,
}


def _address(text: bytes) -> tuple[int, bytes]:
    peer, name = text.split(b":", 1)
    return read_number(peer), _name(name)


def _name(raw: bytes) -> bytes:
    return check_pipe_name(raw.decode("ascii"))

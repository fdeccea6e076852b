"""This module reads and writes the pieces of programs' output that a worker streams while they run.

Loaded when a coordinator first asks for them: most workers never do.
"""

from __future__ import annotations

from mu_twisted.wire._errors import CommandError, PeerError
from mu_twisted.wire._messages import TEE, parse_integer

__all__ = ["COST", "MAX_GRANT", "MAX_PIECE", "OUT", "RESERVE", "TEE", "OutputPiece", "parse_grant", "parse_piece"]

MAX_PIECE = 16 << 10
"""Bytes of output in one piece."""
COST = 256
"""Bytes of credit that each piece takes beside its own, so that small ones are no way round the limit."""
RESERVE = 16 * COST
"""Bytes of credit that a worker keeps for the ends of runs."""
MAX_GRANT = 1 << 20
"""Bytes of one grant."""
OUT = b"OUT:"
_MAX_DIGITS = 15


class OutputPiece:
    """Some of what a run has printed.

    :param run: its number among those of the task, from 0, in the order of their commands.
    :param offset: bytes that the run has printed before these.
    :param data: up to :data:`MAX_PIECE` bytes; none: the run has ended, its output has ``offset`` bytes, and its reply
        comes next.
    """

    __slots__ = ("data", "offset", "run")

    def __init__(self, run: int, offset: int, data: bytes) -> None:
        self.run = run
        self.offset = offset
        self.data = data

    @property
    def cost(self) -> int:
        """Bytes of credit that it takes."""
        return COST + len(self.data)

    def encode(self) -> bytes:
        """``OUT:RUN:OFFSET:BYTES``."""
        return b"%b%d:%d:%b" % (OUT, self.run, self.offset, self.data)


def parse_piece(message: bytes) -> OutputPiece:
    """Read one.

    :raises PeerError: it is none, or too long.
    """
    parts = message.removeprefix(OUT).split(b":", 2) if message.startswith(OUT) else []
    if len(parts) != 3 or not all(part.isdigit() and len(part) <= _MAX_DIGITS for part in parts[:2]):
        raise PeerError(f"expected OUT:RUN:OFFSET:BYTES, got {message[:80]!r}")
    if len(parts[2]) > MAX_PIECE:
        raise PeerError(f"a piece of output has {len(parts[2])} bytes; at most {MAX_PIECE} are allowed")
    return OutputPiece(int(parts[0]), int(parts[1]), parts[2])


def parse_grant(argument: bytes) -> int:
    """Bytes of credit that a ``tee:N`` grants.

    :param argument: what stands behind the colon.
    :raises CommandError: it is no number from 1 to :data:`MAX_GRANT`.
    """
    count = parse_integer(argument[:20])
    if not 0 < count <= MAX_GRANT:
        raise CommandError(f"tee: expected a number of bytes from 1 to {MAX_GRANT}")
    return count

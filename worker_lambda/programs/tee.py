"""The tee streams what programs print while they run, in pieces that yield to everything else on the connection.

Knows programs and credit, no connection. What there is no credit or no time for is passed over: the coordinator sees it
by the next piece's offset, and has the end of each run's output with its reply.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from mu_twisted.wire.tee import COST, MAX_GRANT, MAX_PIECE, RESERVE, OutputPiece, parse_grant

TYPE_CHECKING = False
if TYPE_CHECKING:
    from worker_lambda.programs.program import Program

PAUSE = 0.1
"""Seconds for which less than a full piece is waited for: else each line would be a frame."""
_MAX_CREDIT = 16 * MAX_GRANT
_LEAST = 1 << 10
"""Bytes of credit below which no piece is begun that has more to say."""


class Tee:
    """Of one task.

    :param send: takes one piece.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self._send = send
        self._credit = 0
        self._turn = 0
        self._next = 0.0

    def grant(self, argument: bytes) -> None:
        """Take more credit.

        :param argument: of ``tee:``.
        :raises CommandError: it is no number of bytes.
        """
        self._credit = min(self._credit + parse_grant(argument), _MAX_CREDIT)

    def step(self, programs: Sequence[Program], *, idle: bool) -> float | None:
        """Send a piece, if it is time for one and there is nothing else to be sent.

        :param programs: that run.
        :param idle: whether all that was sent before has been taken.
        :returns: in how many seconds to call again; None: when something happens.
        """
        printing = [program for program in programs if program.tail.size > program.streamed]
        room = self._credit - RESERVE - COST
        if not printing or room <= 0:
            return None
        self._turn += 1
        program = printing[self._turn % len(printing)]
        waiting = program.tail.size - program.streamed
        if room < min(waiting, _LEAST):
            return None
        now = time.monotonic()
        if now < self._next and waiting < MAX_PIECE:
            return self._next - now
        if not idle:
            return None
        offset, data = program.tail.since(program.streamed, min(room, MAX_PIECE))
        program.streamed = offset + len(data)
        self._next = now + PAUSE / len(printing)
        self._say(OutputPiece(program.number, offset, data))
        return 0.0

    def ended(self, program: Program) -> None:
        """A run's reply is about to be sent: its last bytes are in it."""
        if self._credit >= COST:
            self._say(OutputPiece(program.number, program.tail.size, b""))

    def _say(self, piece: OutputPiece) -> None:
        self._credit -= piece.cost
        self._send(piece.encode())

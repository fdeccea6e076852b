"""The tee passes on what the programs of one job print, while they run, to the callers that ask, within its limits.

Workers stream within credit that is granted here: as much as is printed faster than that, or than it is fetched, is
counted and not shown. Knows tasks, pieces and bytes, no connections; what programs printed is kept elsewhere.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred

from mu_twisted.coordinator.output._tee_values import TeeCursor, TeePage, TeePiece
from mu_twisted.fsm import FSMError, parse_run
from mu_twisted.jobs import TokenBucket
from mu_twisted.transport import ReactorTime
from mu_twisted.wire import PeerError
from mu_twisted.wire.tee import OUT, RESERVE, parse_piece

FIRST = RESERVE + (8 << 10)
"""Bytes of credit with which each attempt begins, at once; more comes as it is used."""
WINDOW = 32 << 10
"""Bytes of credit that an attempt has at most."""
RATE = 1 << 20
"""Bytes of credit a second that all attempts of a job have together, beside their first."""
BUFFER = 1 << 20
"""Bytes that wait to be fetched; the oldest go."""
MAX_PIECES = 4096
"""Pieces that wait, at most, and are on one page."""
MAX_RUNS = 256
"""Runs of one attempt that print at once; a worker runs no more programs."""
LINGER = 30.0
"""Seconds without a request after which no more credit is granted."""
DELAY = 0.1
"""Seconds for which pieces are collected before a request that waits is answered."""
_RUN_ENDED = b"OK:RETVAL("
_WORKER_KEEPS = 64 << 10
"""Bytes of a run's output that its reply has at most."""


class JobTee:
    """Of one job.

    :param clock: the time.
    """

    def __init__(self, clock: ReactorTime) -> None:
        self._clock = clock
        self._bucket = TokenBucket(RATE, RATE, clock.seconds())
        self._pieces: deque[TeePiece] = deque()
        self._first = self._next = TeeCursor()
        self._unable = 0
        self._watched_until = clock.seconds() + LINGER
        self._attempts: set[AttemptTee] = set()
        self._short: deque[AttemptTee] = deque()
        """Attempts that wait for credit."""
        self._refilling: DelayedCall | None = None
        self._answering: DelayedCall | None = None
        self._waiting: list[Deferred[None]] = []
        self._closed = False

    def attempt(self, task: int, attempt: int, grant: Callable[[int], None]) -> "AttemptTee":
        """Have an attempt stream.

        :param grant: sends its worker so many bytes of credit.
        """
        one = AttemptTee(self, task, attempt, grant)
        self._attempts.add(one)
        if self.watched:
            one.fill(FIRST)
        return one

    def forget(self, attempt: "AttemptTee") -> None:
        """An attempt is over."""
        self._attempts.discard(attempt)

    def cannot(self) -> None:
        """The worker of an attempt is of an earlier version."""
        self._unable += 1
        self._answer_later()

    @property
    def watched(self) -> bool:
        """Whether pages are being asked for."""
        return not self._closed and self._clock.seconds() < self._watched_until

    def known(self, after: TeeCursor | None) -> TeeCursor | None:
        """The cursor, if it is one of this tee's; None for one of before the coordinator's restart or the job's retry,
        which all that is there comes after.
        """
        if after is None or after.pieces < self._first.pieces:
            return after
        kept = islice(self._pieces, after.pieces - self._first.pieces)
        place = TeeCursor(min(after.pieces, self._next.pieces), self._first.bytes + sum(len(one.data) for one in kept))
        return after if place == after else None

    def page(self, after: TeeCursor | None) -> TeePage:
        """What is there.

        :param after: the ``next`` of the page before; None: from the first that is left on.
        """
        first = after if after is not None and after.pieces > self._first.pieces else self._first
        skipped = max(0, self._first.bytes - after.bytes) if first is not after and after is not None else 0
        pieces = list(self._pieces)[first.pieces - self._first.pieces :]
        return TeePage(pieces, str(self._next), skipped, self._unable, over=self._closed)

    def changed(self, after: TeeCursor | None) -> Deferred[None]:
        """Fires when there is something to be fetched, or nothing will come. Until a while after this is called workers
        are granted credit. Cancelling gives up waiting only.
        """
        was_watched, self._watched_until = self.watched, self._clock.seconds() + LINGER
        if not was_watched and not self._closed:
            for attempt in self._attempts:
                attempt.begin_again()
        self._refill()
        one: Deferred[None] = Deferred(lambda cancelled: self._waiting.remove(cancelled))
        if self._closed or (after or TeeCursor()).pieces < self._next.pieces:
            one.callback(None)
        else:
            self._waiting.append(one)
        return one

    def close(self) -> None:
        """The job is over, or its coordinator stops."""
        self._closed = True
        if self._refilling is not None and self._refilling.active():
            self._refilling.cancel()
        self._refilling = None
        self._short.clear()
        self._answer()

    # -- what attempts ask ------------------------------------------------------------------------------------------

    def show(self, piece: TeePiece) -> None:
        """Pass on what a run has printed."""
        if self._closed:
            return
        self._pieces.append(piece)
        self._next = _behind(self._next, piece)
        while len(self._pieces) > MAX_PIECES or self._next.bytes - self._first.bytes > BUFFER:
            self._first = _behind(self._first, self._pieces.popleft())
        self._answer_later()

    def allow(self, wanted: int) -> int:
        """How many of so many bytes that have come with a reply may be passed on."""
        self._bucket.fill(self._clock.seconds())
        allowed = self._bucket.available(wanted)
        self._bucket.spend(allowed)
        return allowed

    def short_of_credit(self, attempt: "AttemptTee") -> bool:
        """Grant an attempt more as soon as there is some.

        :returns: whether that will be; not while no pages are asked for.
        """
        if self.watched:
            self._short.append(attempt)
            self._refill()
        return self.watched

    # -- inside -----------------------------------------------------------------------------------------------------

    def _refill(self) -> None:
        if self._refilling is not None or not self.watched:
            return
        now = self._clock.seconds()
        self._bucket.fill(now)
        while self._short:
            wanted = self._short[0].wanted
            if wanted and self._bucket.available(wanted) < wanted:
                wait = max(0.01, self._bucket.when(wanted) - now)
                self._refilling = self._clock.callLater(wait, self._refill_again)
                return
            self._bucket.spend(wanted)
            self._short.popleft().fill(wanted)

    def _refill_again(self) -> None:
        self._refilling = None
        self._refill()

    def _answer_later(self) -> None:
        if self._waiting and self._answering is None:
            self._answering = self._clock.callLater(DELAY, self._answer)

    def _answer(self) -> None:
        if self._answering is not None and self._answering.active():
            self._answering.cancel()
        self._answering = None
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)


class AttemptTee:
    """What the runs of one attempt print.

    :param tee: of the job.
    :param grant: sends its worker so many bytes of credit.
    """

    __slots__ = ("_attempt", "_credit", "_ended", "_grant", "_reached", "_short", "_task", "_tee")

    def __init__(self, tee: JobTee, task: int, attempt: int, grant: Callable[[int], None]) -> None:
        self._tee = tee
        self._task = task
        self._attempt = attempt
        self._grant: Callable[[int], None] | None = grant
        self._credit = 0
        self._short = False
        self._reached: dict[int, int] = {}
        self._ended: tuple[int, int, int] | None = None
        """Of a run whose reply comes next: its number, the bytes of its output, and how many of them were passed on."""

    @property
    def wanted(self) -> int:
        """Bytes of credit that it lacks."""
        return max(0, WINDOW - self._credit) if self._grant is not None else 0

    def fill(self, count: int) -> None:
        """Grant more."""
        self._short = False
        if count and self._grant is not None:
            self._credit += count
            self._grant(count)

    def begin_again(self) -> None:
        """Pages are asked for once more."""
        if not self._short and self._credit < FIRST // 2:
            self.fill(FIRST)

    def received(self, payloads: list[bytes]) -> list[bytes]:
        """Take the pieces out of what a worker has sent, and the ends of its runs' outputs from their replies.

        :returns: the rest.
        :raises PeerError: the worker sends more than it may, or what makes no sense.
        """
        rest = []
        for payload in payloads:
            if payload.startswith(OUT):
                self._take(payload)
            else:
                rest.append(payload)
                if self._ended is not None and payload.startswith(_RUN_ENDED):
                    self._show_rest(payload)
        if not self._short and self._credit < FIRST // 2:
            self._short = True
            self._short = self._tee.short_of_credit(self) and self._credit < FIRST // 2
        return rest

    def close(self) -> None:
        """The attempt is over, and the worker ready for another one, or gone."""
        self._end_without_reply()
        for run in self._reached:
            self._show(run, ended=True)
        self._reached.clear()
        self._grant = None
        self._tee.forget(self)

    # -- inside -----------------------------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> None:
        piece = parse_piece(payload)
        if piece.cost > self._credit:
            raise PeerError("it streams more of what its programs print than it was allowed to")
        self._credit -= piece.cost
        reached = self._reached.get(piece.run, 0)
        if piece.offset < reached:
            raise PeerError("it streams what it has streamed before")
        if not piece.data:
            self._end_without_reply()
            self._ended = piece.run, piece.offset, self._reached.pop(piece.run, 0)
            return
        if piece.run not in self._reached and len(self._reached) >= MAX_RUNS:
            raise PeerError(f"it streams the output of more than {MAX_RUNS} programs at once")
        self._reached[piece.run] = piece.offset + len(piece.data)
        self._show(piece.run, piece.data, piece.offset - reached)

    def _show_rest(self, reply: bytes) -> None:
        assert self._ended is not None
        run, size, reached = self._ended
        self._ended = None
        try:
            output = parse_run(reply.decode("utf-8", "surrogateescape")).raw[-_WORKER_KEEPS:]
        except FSMError:  # the attempt fails of it
            output = b""
        rest = output[-(size - reached) :] if size > reached else b""
        rest = rest[len(rest) - self._tee.allow(len(rest)) :]
        if size:
            self._show(run, rest, max(0, size - reached - len(rest)), ended=True)

    def _end_without_reply(self) -> None:
        if self._ended is not None:
            run, size, reached = self._ended
            self._ended = None
            self._show(run, skipped=size - reached, ended=True)

    def _show(self, run: int, data: bytes = b"", skipped: int = 0, *, ended: bool = False) -> None:
        self._tee.show(TeePiece(self._task, self._attempt, run, data, skipped, ended))


def _behind(cursor: TeeCursor, piece: TeePiece) -> TeeCursor:
    return TeeCursor(cursor.pieces + 1, cursor.bytes + len(piece.data))

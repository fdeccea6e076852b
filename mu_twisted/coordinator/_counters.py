"""Counters are plain numbers that a coordinator keeps as it works, and that are read when its metrics are asked for."""

from collections import Counter

import msgspec


class ConnectionCounters:
    """What workers' connections have come to, since the coordinator's start.

    :ivar handshakes: connections whose handshake was done.
    :ivar failed_handshakes: those that were not done, by reason.
    :ivar messages: that workers have sent.
    """

    __slots__ = ("failed_handshakes", "handshakes", "messages")

    def __init__(self) -> None:
        self.handshakes = 0
        self.failed_handshakes: Counter[str] = Counter()
        self.messages = 0


class JobCounters:
    """What jobs have come to, since the coordinator's start.

    :ivar launches: those that are settled, by outcome: ``accepted``, ``failed``, ``cancelled``.
    :ivar attempts: those that have ended, by outcome, as the records spell it.
    :ivar bytes: that tasks have moved, by kind.
    """

    __slots__ = ("attempts", "bytes", "launches")

    def __init__(self) -> None:
        self.launches: Counter[str] = Counter()
        self.attempts: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()


class CoordinatorCounts(msgspec.Struct, frozen=True):
    """All of it at one time.

    :param launches: settled since the start, by outcome; ``attempts`` the same.
    :param handshakes: of workers since the start; ``messages`` those that they have sent.
    :param workers: of the jobs that run, by what they are doing.
    :param journal_waiting: records that are not on disk yet; ``journal_lag``: seconds since the first of them was made.
    :param bytes: that tasks have moved since the start, by kind.
    :param failed_handshakes: since the start, by reason.
    :param launches_queued: that jobs have asked for and that wait for their turn.
    :param spans: of traces since the start, by what became of them: ``sent``, ``refused``; None: no traces are sent.
    """

    launches: dict[str, int] = {}
    attempts: dict[str, int] = {}
    handshakes: int = 0
    messages: int = 0
    workers: dict[str, int] = {}
    journal_waiting: int = 0
    journal_lag: float = 0.0
    bytes: dict[str, int] = {}
    failed_handshakes: dict[str, int] = {}
    launches_queued: int = 0
    spans: dict[str, int] | None = None

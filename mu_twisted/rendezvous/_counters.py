"""Counters are plain numbers that a relay keeps as it works, and what it holds, for its metrics."""

from collections.abc import Mapping
from dataclasses import dataclass


class RelayCounters:
    """What connections have brought since the relay's start.

    :ivar mailbox_bytes: of messages between mailboxes, with their headers; ``link_bytes`` of links' frames and pipes.
    :ivar mailbox_bytes_sent: the same, to their receivers; what was stored is sent again to each that asks for it.
    :ivar handshakes: connections whose handshake was done.
    """

    __slots__ = ("handshakes", "link_bytes", "link_bytes_sent", "mailbox_bytes", "mailbox_bytes_sent")

    def __init__(self) -> None:
        self.mailbox_bytes = 0
        self.link_bytes = 0
        self.mailbox_bytes_sent = 0
        self.link_bytes_sent = 0
        self.handshakes = 0


@dataclass(frozen=True)
class RelayCounts:
    """All of it at one time.

    :param jobs: that coordinators have mentioned, and runs of original workers.
    :param waiting_memory: connections whose message waits for memory.
    :param memory: bytes of messages in memory, and how many there may be; ``stored``: of those that were not delivered
        and of named ones, in memory and on disk; ``pipes``: of windows of pipes.
    :param named: named messages that are kept or remembered.
    :param punches: what punches have come to since the start, by outcome.
    :param handshakes: that were done since the start; ``failed_handshakes``: those that were not, by kind.
    """

    connections: int
    jobs: int
    mailboxes: int
    waiting_memory: int
    mailbox_bytes: int
    link_bytes: int
    memory: tuple[int, int]
    stored: tuple[int, int]
    pipes: tuple[int, int]
    named: tuple[int, int]
    punches: Mapping[str, int]
    mailbox_bytes_sent: int
    link_bytes_sent: int
    handshakes: int
    failed_handshakes: Mapping[str, int]

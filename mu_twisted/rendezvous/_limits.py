"""The relay's limits say how much it keeps, of what, and for how long."""

from dataclasses import dataclass

from mu_twisted.wire import MAX_PEER_MESSAGE

OVERHEAD = 256
"""Bytes that a message costs beside its own, so that many small ones are bounded as well."""


@dataclass(frozen=True)
class RelayLimits:
    """All are bytes but the last five.

    :param memory: of messages in memory: those that are coming in, undelivered and retained ones.
    :param window: of undelivered messages of one mailbox in memory; what is beyond pushes back on its senders for
        ``reader_timeout``, and goes to disk after it.
    :param retain: of delivered messages that a job keeps, to send them again. The oldest are removed.
    :param spill: of undelivered messages of one run or job, in memory and on disk.
    :param links: of named messages of one job, taken ones that are kept included; the oldest of these are removed.
    :param pipes: of windows of pipes, which are in memory beside messages: 256 KiB for each pipe, or 32 KiB where half
        of this is given away; more pipes are refused.
    :param disk: of undelivered and of named messages of all runs and jobs together.
    :param message: of one message.
    :param runs: number of runs and jobs.
    :param mailboxes: number of mailboxes of all of them together.
    :param named: number of named messages, of streams of them, and of removed ones that are remembered, of all jobs.
    :param retention: seconds from its arrival that an undelivered message of a run is kept, and from its last mention
        that a job is.
    :param reader_timeout: seconds that a reader may take nothing before what waits for it goes to disk.
    """

    memory: int = 12 << 20
    window: int = 1 << 20
    retain: int = 8 << 20
    spill: int = 1 << 30
    links: int = 4 << 30
    pipes: int = 64 << 20
    disk: int = 4 << 30
    message: int = MAX_PEER_MESSAGE
    runs: int = 1000
    mailboxes: int = 100_000
    named: int = 100_000
    retention: float = 600.0
    reader_timeout: float = 0.5

    @property
    def large(self) -> int:
        """Messages from this size on never wait in memory. While they are received, they have memory beside it:
        ``message`` bytes, of all together.
        """
        return self.memory // 2

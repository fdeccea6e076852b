"""Metrics of a rendezvous are read for Prometheus when they are asked for. Knows what a relay counts, and no HTTP."""

from collections.abc import Iterator

from prometheus_client.metrics_core import Metric

from mu_twisted.rendezvous import RelayCounts
from mu_twisted.transport import HANDSHAKE_FAULTS
from mu_twisted.web.metrics import counter, counters, exposition, gauge, gauges


def relay_metrics(counts: RelayCounts, loop_lag: float | None) -> bytes:
    """All metrics, as text.

    :param counts: of the relay.
    :param loop_lag: seconds that the reactor was late of late; None: it is not known.
    """
    return exposition(_RelayCollector(counts, loop_lag))


class _RelayCollector:
    def __init__(self, counts: RelayCounts, loop_lag: float | None) -> None:
        self._counts = counts
        self._loop_lag = loop_lag

    def collect(self) -> Iterator[Metric]:
        counts = self._counts
        yield gauge("mu_rendezvous_connections", "Connections of workers and coordinators.", counts.connections)
        yield gauge("mu_rendezvous_jobs", "Jobs, and runs of original workers.", counts.jobs)
        yield gauge("mu_rendezvous_mailboxes", "Mailboxes of all jobs and runs.", counts.mailboxes)
        relayed = {"mailbox": counts.mailbox_bytes, "link": counts.link_bytes}
        yield counters("mu_rendezvous_received_bytes", "Bytes of messages that workers have sent.", "kind", relayed)
        sent = {"mailbox": counts.mailbox_bytes_sent, "link": counts.link_bytes_sent}
        yield counters("mu_rendezvous_sent_bytes", "Bytes of messages that workers were sent.", "kind", sent)
        yield counter("mu_rendezvous_handshakes", "Connections whose handshake was done.", counts.handshakes)
        failed = {reason: counts.failed_handshakes.get(reason, 0) for reason in HANDSHAKE_FAULTS}
        yield counters("mu_rendezvous_failed_handshakes", "Handshakes that have failed.", "reason", failed)
        yield gauge(
            "mu_rendezvous_waiting_senders", "Connections whose message waits for memory.", counts.waiting_memory
        )
        rooms = {"memory": counts.memory, "stored": counts.stored, "pipes": counts.pipes}
        used = {room: used for room, (used, _) in rooms.items()}
        yield gauges("mu_rendezvous_queue_bytes", "Bytes of messages that are held.", "room", used)
        limits = {room: limit for room, (_, limit) in rooms.items()}
        yield gauges("mu_rendezvous_queue_limit_bytes", "Bytes that may be held.", "room", limits)
        yield gauge("mu_rendezvous_named_messages", "Named messages that are kept or remembered.", counts.named[0])
        yield gauge("mu_rendezvous_named_messages_limit", "Named messages that there may be.", counts.named[1])
        yield counters("mu_rendezvous_punches", "What workers' punches came to.", "outcome", dict(counts.punches))
        if self._loop_lag is not None:
            yield gauge(
                "mu_rendezvous_event_loop_lag_seconds",
                "The latest that a timer came in the last 15 seconds.",
                self._loop_lag,
            )

"""What a worker knows of where it runs: how much time and memory it has, and for how long it waits for others."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """What a worker waits for, in seconds.

    :param silence: without ``job``, nothing at all for so long ends a worker that does nothing (the original's rule).
    :param margin: so long before the function's deadline a worker ends by itself.
    :param settled: a connection that lasted so long counts as found, even if the coordinator had nothing to say.
    :param redial: bound of the random pause before the first redial; it doubles up to ``redial_max``.
    :param flush: for the last replies to be taken, at most.
    :param transfers: for cancelled transfers to end, at most.
    :param confirm: for progress while the rendezvous takes the last messages and confirms that it has them.
    :param stall: for the rendezvous to take something of what it is sent.
    """

    silence: float = 300.0
    margin: float = 0.5
    settled: float = 10.0
    redial: float = 0.5
    redial_max: float = 4.0
    flush: float = 2.0
    transfers: float = 1.0
    confirm: float = 10.0
    stall: float = 60.0


class Surroundings:
    """What Lambda's context says about this invocation.

    :param context: None outside Lambda; then nothing is known.
    """

    def __init__(self, context: object = None) -> None:
        self._remaining = getattr(context, "get_remaining_time_in_millis", None)
        memory = getattr(context, "memory_limit_in_mb", None)
        self.memory_mb = int(memory) if memory is not None and str(memory).isdigit() else 0

    def remaining_ms(self) -> int | None:
        """Milliseconds left of the function's time, None if it is unknown."""
        return max(0, int(self._remaining())) if self._remaining is not None else None

"""The worker's time, memory and waiting times are held here: what Lambda grants, and what the worker waits for."""

import os
import time
from collections.abc import Mapping
from pathlib import Path


class Timing:
    """A worker's waiting times, in seconds.

    :param background: with ``job``, after the exit of a run's shell, for processes that still hold the run's output.
    :param silence: without ``job``, nothing at all for so long ends a worker that does nothing (the original's rule).
    :param margin: so long before the function's deadline a worker ends by itself.
    :param settled: a connection that lasted so long counts as found, even if the coordinator had nothing to say.
    :param redial: bound of the random pause before the first redial; it doubles up to ``redial_max``.
    :param flush: for the last replies to be taken, at most.
    :param transfers: for cancelled transfers to end, at most.
    :param confirm: for progress while the rendezvous takes the last messages and confirms that it has them.
    :param wait_report: a task that does nothing but wait for messages says so after that time.
    :param link_redial: bound of the random pause before the connection for links is first dialled again; it doubles up
        to ``redial_max``.
    :param link_timeout: a link that cannot be had for so long fails all that waits for it.
    :param link_welcome: for the rendezvous to answer the greeting on that connection.
    :param rendezvous_silence: for which nothing may be heard on that connection while something waits; longer than it
        may let a sender wait for room.
    :param link_silence: for which nothing may be heard on a direct path while something is expected of it.
    :param stall: for the rendezvous to take something of what it is sent.
    """

    background: float = 2.0
    silence: float = 300.0
    margin: float = 0.5
    settled: float = 10.0
    redial: float = 0.5
    redial_max: float = 4.0
    flush: float = 2.0
    transfers: float = 1.0
    confirm: float = 10.0
    wait_report: float = 0.5
    link_redial: float = 0.2
    link_timeout: float = 20.0
    link_welcome: float = 20.0
    rendezvous_silence: float = 90.0
    link_silence: float = 5.0
    stall: float = 60.0

    def __init__(self, **changed: float) -> None:
        for name, seconds in changed.items():
            if not hasattr(type(self), name):
                raise TypeError(f"a worker has no waiting time {name}")
            setattr(self, name, seconds)


class LambdaContext:
    """What Lambda's context says about this invocation.

    :param context: None outside Lambda; then nothing is known.
    :param init_ms: milliseconds of the process before its first invocation; 0 in all later ones.
    """

    def __init__(self, context: object = None, init_ms: int = 0) -> None:
        self.init_ms = init_ms
        self._remaining = getattr(context, "get_remaining_time_in_millis", None)
        memory = getattr(context, "memory_limit_in_mb", None)
        self.memory_mb = int(memory) if memory is not None and str(memory).isdigit() else 0

    def remaining_ms(self) -> int | None:
        """Milliseconds left of the function's time, None if it is unknown."""
        return max(0, int(self._remaining())) if self._remaining is not None else None


class InitTime:
    """How long this process had run when the function was ready, reported once: what AWS bills as INIT.

    To be made when the function's module has been imported. Where Lambda has begun the process ahead of need, it may
    wait for long before its first invocation, which is not INIT; so that moment does not count.

    :param environ: a start that is paid for by other rules (provisioned concurrency, SnapStart) counts nothing.
    :param process: what Linux says of this process.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ, process: Path = Path("/proc/self/stat")) -> None:
        on_demand = environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "on-demand"
        self._unreported = process_age_ms(process) if on_demand else 0

    def take(self) -> int:
        """Milliseconds; 0 from the second time on, or if they are not known."""
        milliseconds, self._unreported = self._unreported, 0
        return milliseconds


def process_age_ms(process: Path = Path("/proc/self/stat")) -> int:
    """Milliseconds since a process was started; 0 where the system does not report it.

    :param process: its ``stat`` file, see proc(5).
    """
    try:
        # The second field is the program's name in brackets, which may hold anything.
        started = int(process.read_bytes().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0, round(1000 * (time.clock_gettime(time.CLOCK_BOOTTIME) - started)))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0

"""Limits of the kernel, which a burst of workers runs into, are raised or checked here."""

import resource
from dataclasses import dataclass
from pathlib import Path

from mu_twisted.base import MuError

SPARE_DESCRIPTORS = 128
"""Descriptors that the process needs beside its workers' connections."""


MAX_CALLERS = 256
"""Requests to one listener of the control API at once, where there are descriptors for so many."""
MIN_CALLERS = 12
"""Where there are few: both listeners together hold half of those that are spare then."""


class LimitError(MuError):
    """The machine's limits do not allow what was asked for."""


def raise_descriptor_limit() -> int:
    """Raise RLIMIT_NOFILE to its hard limit.

    :returns: the limit now in force, in descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 30


@dataclass(frozen=True)
class ControlLimits:
    """What each of the control API's two listeners may hold.

    :param connections: of peers that may connect; so many again are answered with 503.
    :param unadmitted: of peers that are not known yet.
    """

    connections: int
    unadmitted: int

    @property
    def reserve(self) -> int:
        """Descriptors that both listeners may take beyond their half of the spare ones."""
        return max(0, 2 * (2 * self.connections + self.unadmitted) - SPARE_DESCRIPTORS // 2)


def control_limits(limit: int) -> ControlLimits:
    """How many connections the control API may hold, so that the journal and S3 have descriptors all the same.

    :param limit: descriptors that the process may have.
    """
    connections = max(MIN_CALLERS, min(MAX_CALLERS, limit // 128))
    return ControlLimits(connections, max(8, connections // 4))


def worker_limit(wanted: int | None, limit: int) -> int:
    """How many workers may be there at once, over all jobs: as many as there are descriptors for, or fewer.

    :param wanted: ``--worker-limit``, if it was given.
    :param limit: descriptors that the process may have.
    :raises LimitError: there are not so many.
    """
    check_workers_fit(wanted or 1, limit)
    return wanted or limit - SPARE_DESCRIPTORS


def check_workers_fit(workers: int, limit: int) -> None:
    """Refuse workers before they are launched if their connections cannot fit.

    :raises LimitError: they do not.
    """
    if workers + SPARE_DESCRIPTORS > limit:
        raise LimitError(
            f"{workers} workers need {workers + SPARE_DESCRIPTORS} file descriptors and the hard limit is {limit}: "
            "ask for fewer workers, or raise the limit (ulimit -Hn, LimitNOFILE= under systemd)"
        )


def backlog_limit() -> int | None:
    """The kernel's own limit of a listen backlog; None where it cannot be read."""
    try:
        return int(Path("/proc/sys/net/core/somaxconn").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None

"""The kernel's limits that a burst of workers runs into."""

import resource
from pathlib import Path

from mu_twisted.base import MuError

SPARE_DESCRIPTORS = 128
"""Descriptors that the process needs beside its workers' connections."""


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


def worker_limit(asked: int | None, limit: int) -> int:
    """How many workers may be there at once, over all jobs: as many as there are descriptors for, or fewer.

    :param asked: ``--worker-limit``, if it was given.
    :param limit: descriptors that the process may have.
    :raises LimitError: there are not so many.
    """
    check_workers_fit(asked or 1, limit)
    return asked or limit - SPARE_DESCRIPTORS


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

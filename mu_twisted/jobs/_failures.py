"""Failures are the kinds of ends an attempt may come to badly, and say which of them are worth another attempt."""

import signal
from enum import Enum

from mu_twisted.jobs._policy import JobPolicy


class Failure(Enum):
    """What ended an attempt."""

    LOST = "worker lost"
    HEARTBEAT = "no sign of life"
    DEADLINE = "deadline"
    REPLY = "reply"
    EXIT = "exit status"
    CHANNEL = "peer channel"
    MACHINE = "machine"
    DIFFERS = "not deterministic"
    HOPELESS = "hopeless"


_NEVER = frozenset({Failure.MACHINE, Failure.DIFFERS, Failure.HOPELESS})
"""A wrong pipeline and a program that is not deterministic fail the same way each time, or worse: another way."""
_HOPELESS = frozenset(
    (
        "BadCommand",
        "EmptyKey",
        "InvalidBucketName",
        "KeyTooLong",
        "KeyTooLongError",
        "NoSuchBucket",
        "NoSuchFile",
        "NoSuchKey",
        "NotAFile",
    )
)
"""Codes of failures that come again each time, on whatever worker: what is wrong is the order, or what it is about is
not there. Those of S3 are its own ("Error responses", S3 API Reference)."""


def is_hopeless(code: str) -> bool:
    """Whether a worker's failure of this code would come again with each attempt; an empty code says nothing."""
    return code in _HOPELESS


def shell_status(status: int) -> int:
    """The exit status as a shell reports it: a signal's number with 128 added."""
    return 128 - status if status < 0 else status


def is_out_of_memory(status: int) -> bool:
    """Whether a run that ended so was killed as the kernel kills where memory runs out.

    :param status: of a run; negative for a signal, or a shell's 128 and more.
    """
    return shell_status(status) == 128 + signal.SIGKILL


def explain_exit(status: int) -> str:
    """What an exit status means, for a user: ``exit status 3``, or the signal, or that memory ran out.

    :param status: of a run; negative for a signal, or a shell's 128 and more.
    """
    if is_out_of_memory(status):
        return "killed by SIGKILL: probably out of memory (give the function more, or the task less)"
    try:
        name = signal.Signals(shell_status(status) - 128).name
    except ValueError:
        return f"exit status {status}"
    return f"killed by {name}" if status < 0 else f"exit status {status} ({name})"


def is_retried(policy: JobPolicy, kind: Failure, status: int | None) -> bool:
    """Whether an attempt that ended so is worth another, if the task has one left.

    :param status: the exit status that a failure of kind :attr:`Failure.EXIT` is about.
    """
    if kind is not Failure.EXIT:
        return kind not in _NEVER
    if policy.retry_exit is None:
        return True
    return status is not None and shell_status(status) in {shell_status(one) for one in policy.retry_exit}

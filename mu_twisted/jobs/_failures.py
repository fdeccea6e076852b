"""Failures are the kinds of ends an attempt may come to badly, and say which of them are worth another attempt."""

from enum import Enum

from mu_twisted.jobs._policy import JobPolicy
from mu_twisted.wording import shell_status


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


def is_retried(policy: JobPolicy, kind: Failure, status: int | None) -> bool:
    """Whether an attempt that ended so is worth another, if the task has one left.

    :param status: the exit status that a failure of kind :attr:`Failure.EXIT` is about.
    """
    if kind is not Failure.EXIT:
        return kind not in _NEVER
    if policy.retry_exit is None:
        return True
    return status is not None and shell_status(status) in {shell_status(one) for one in policy.retry_exit}

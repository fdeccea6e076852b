"""A job error says what is wrong with a job before it begins, or with what is left of one."""

from mu_twisted.base import MuError


class JobError(MuError):
    """A job cannot be made as it was asked for."""


class RecordError(JobError):
    """A record is malformed, or cannot have come after the ones before it: the journal is corrupt."""

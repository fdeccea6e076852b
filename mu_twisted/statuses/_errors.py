"""The errors of the coordinator's services say why what was asked for cannot be done."""

from mu_twisted.base import MuError


class ServiceError(MuError):
    """What was asked for cannot be done now: one line that says why."""


class NotYet(ServiceError):
    """The coordinator stops, or has just started: the same can be done soon."""


class UnknownJob(ServiceError):
    """There is no such job, or no such task in it."""

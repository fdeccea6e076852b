"""The errors of making a connection."""

from mu_twisted.base import MuError


class TransportError(MuError):
    """A connection could not be made; one line that says with whom and why."""

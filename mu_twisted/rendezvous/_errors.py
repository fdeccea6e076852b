"""The errors of the rendezvous say why a greeting or a message is not accepted."""

from mu_twisted.base import MuError


class RendezvousError(MuError):
    """Root of the rendezvous's errors."""


class PeerRefused(RendezvousError):
    """A greeting is not accepted; the text is the reason inside ``FAIL(...)``."""


class Full(RendezvousError):
    """A message is not stored: its run has as many undelivered messages as it may."""

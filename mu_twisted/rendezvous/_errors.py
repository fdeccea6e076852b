"""Why a message or a greeting is not taken."""

from mu_twisted.base import MuError


class RendezvousError(MuError):
    """Root of the rendezvous's errors."""


class PeerRefused(RendezvousError):
    """A greeting is not accepted; the text is the reason inside ``FAIL(...)``."""


class Full(RendezvousError):
    """A message finds no room: its run's undelivered messages are as many as may be."""

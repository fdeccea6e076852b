"""The errors of keys, certificates and identities."""

from mu_twisted.base import MuError


class TLSError(MuError):
    """A key or certificate cannot be used, or a peer is not who it should be; one line that says what to do."""

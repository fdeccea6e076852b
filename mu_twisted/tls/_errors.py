"""The errors of keys, certificates and identities."""

from mu_twisted.base import MuError


class TLSError(MuError):
    """A key or certificate cannot be used, or a peer is another party than expected; one line that says what to do."""

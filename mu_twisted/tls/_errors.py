"""A TLS error says what is wrong with a key, a certificate or an identity."""

from mu_twisted.base import MuError


class TLSError(MuError):
    """A key or certificate cannot be used, or a peer is another party than expected; one line that says what to do."""

"""The wire's errors have two branches: what the peer has sent that it must not, and what the caller may not send."""

from mu_twisted.base import MuError


class WireError(MuError):
    """Bytes and the protocol do not agree; :class:`PeerError` and :class:`CallerError` say on whose account."""


class CallerError(WireError):
    """The caller wants to send what the protocol cannot carry; the connection is as it was."""


class PeerError(WireError):
    """What came from the other side is not what the protocol says."""


class FrameError(PeerError):
    """A header is malformed or announces too much. The connection cannot be read any further.

    :ivar completed: payloads that the failing call had completed before, in order.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.completed: list[bytes] = []


class CommandError(PeerError):
    """One message is malformed; the connection goes on. The text is the reason inside ``FAIL(...)``.

    :cvar code: the failure's, see :func:`~mu_twisted.wire.fail`.
    """

    code = "BadCommand"

"""The root of the project's errors, and the wire's branch. It lives here because the wire is what every part has."""

from mu_twisted.base import MuError


class WireError(MuError):
    """What came over the wire is not what the protocol says."""


class FrameError(WireError):
    """A header is malformed or announces too much. The connection cannot be read any further.

    :ivar completed: payloads that the failing call had completed before, in order.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.completed: list[bytes] = []


class CommandError(WireError):
    """One message is malformed; the connection goes on. The text is the reason inside ``FAIL(...)``.

    :cvar code: the failure's, see :func:`~mu_twisted.wire.fail`.
    """

    code = "BadCommand"

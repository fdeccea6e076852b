"""These are the errors of the worker's S3 client. Each text is one line for the job's user."""

from mu_twisted.base import MuError


class S3Error(MuError):
    """A transfer failed for good; the text is one line: what, which object, the server's or the system's reason.

    :ivar code: the failure's, see :func:`mu_twisted.wire.fail`: S3's own where it has refused, else
        empty where another attempt may do better.
    """

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class S3Cancelled(S3Error):
    """A transfer ended because its caller cancelled it."""

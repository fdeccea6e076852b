"""What goes into the launcher and what comes out."""

from dataclasses import dataclass, field

from mu_twisted.wire import MuError

LONGEST_ID = 256
LONGEST_FUNCTION = 256
LARGEST_PAYLOAD = 1024 * 1024
"""Bytes that Lambda takes with an event."""


class LaunchError(MuError):
    """A launch cannot be sent as it is; one line."""


@dataclass(frozen=True)
class Credentials:
    """What requests are signed with.

    :param token: the session token of temporary credentials.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Launch:
    """One invocation asked for, as an event.

    :param launch_id: 1 to 256 printable ASCII characters, without quotes and backslashes.
    :param function: a name, or an ARN.
    :param payload: JSON; ``##ID##`` in it stands for the launch's identifier.
    :raises LaunchError: one of them can never be sent.
    """

    launch_id: str
    region: str
    function: str
    payload: bytes = field(repr=False)

    def __post_init__(self) -> None:
        name = self.launch_id
        if not 1 <= len(name) <= LONGEST_ID or not name.isascii() or not name.isprintable() or set(name) & {'"', "\\"}:
            raise LaunchError(
                f"a launch's identifier is 1 to {LONGEST_ID} printable ASCII characters, no quotes, no backslashes"
            )
        function = self.function.encode("utf-8", "replace")
        if not 1 <= len(function) <= LONGEST_FUNCTION or b"\0" in function:
            raise LaunchError(f"a function's name is 1 to {LONGEST_FUNCTION} bytes, got {self.function[:80]!r}")
        if len(self.payload) > LARGEST_PAYLOAD:
            raise LaunchError(f"an event has at most {LARGEST_PAYLOAD} bytes, got {len(self.payload)}")


@dataclass(frozen=True)
class LaunchOutcome:
    """What came of a launch; each has exactly one.

    :param accepted: whether Lambda has taken the event.
    :param status: HTTP status of the last answer; 0 where none came.
    :param reason: one line: AWS's name of the error and its message; empty where it was accepted.
    """

    launch_id: str
    accepted: bool
    status: int
    reason: str

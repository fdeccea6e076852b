"""A launch is what a launcher takes, checked where it is made."""

import re

from msgspec import Struct

from mu_twisted.base import MuError

LONGEST_ID = 256
_ID = re.compile(rf"[ !#-\[\]-~]{{1,{LONGEST_ID}}}")
"""Printable ASCII without quotes and backslashes."""
LONGEST_FUNCTION = 256
LARGEST_PAYLOAD = 1024 * 1024
"""Bytes that Lambda takes as an event."""


class LaunchError(MuError):
    """Launching cannot begin, as an argument cannot be used. One line."""


class Launch(Struct, frozen=True):
    """One invocation to ask for, as an event: Lambda answers at once and runs it later.

    :param launch_id: printable ASCII without quotes and backslashes, unique among a launcher's launches in progress.
    :param region: AWS region.
    :param function: name, name and alias, or ARN.
    :param payload: the event as JSON, in which ``##ID##`` stands for the launch's identifier. The same bytes object
        may serve many launches, which then share its memory.
    :param tries: how often it is sent at most; None: as often as the policy allows.
    :raises LaunchError: one of them can never be sent.
    """

    launch_id: str
    region: str
    function: str
    payload: bytes
    tries: int | None = None

    def __post_init__(self) -> None:
        if _ID.fullmatch(self.launch_id) is None:
            raise LaunchError(
                f"a launch's identifier is 1 to {LONGEST_ID} printable ASCII characters, no quotes, no backslashes"
            )
        size = len(self.function if self.function.isascii() else self.function.encode("utf-8", "replace"))
        if not 1 <= size <= LONGEST_FUNCTION or "\0" in self.function:
            raise LaunchError(f"a function's name is 1 to {LONGEST_FUNCTION} bytes, got {self.function[:80]!r}")
        if len(self.payload) > LARGEST_PAYLOAD:
            raise LaunchError(f"an event has at most {LARGEST_PAYLOAD} bytes, got {len(self.payload)}")

    def __repr__(self) -> str:
        return f"Launch({self.launch_id!r}, {self.region!r}, {self.function!r})"  # no payload: it holds keys

"""The other end of a connection, and what stands above this one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from mu_twisted.tls import Identity

if TYPE_CHECKING:
    from mu_twisted.transport._protocol import FrameProtocol


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end.

    :param host: its address, empty if the transport has none.
    :param port: its port, 0 if the transport has none.
    :param identity: whom its certificate speaks for; None without TLS, or if it names nobody.
    """

    host: str
    port: int
    identity: Identity | None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Receiver(Protocol):
    """What stands above one connection. Its calls come in this order: connected, any number of frames, disconnected.

    It may have ``frame_begun(size: int)`` too: called after each read that leaves a frame's body incomplete, with the
    size that its header announces, so that reading can be paused until there is room for it.
    """

    def connected(self, connection: "FrameProtocol") -> None:
        """The peer is verified and known; sending may begin."""

    def frames_received(self, payloads: list[bytes]) -> None:
        """All that one read completed, in order; never empty, and none after ``close`` or ``abort``."""

    def disconnected(self, reason: str) -> None:
        """The connection is gone. Once; the reason is one line."""

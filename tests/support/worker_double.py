"""A worker at the other end of a session, in memory: what it was sent, and what it says."""

from collections.abc import Callable

from mu_twisted.coordinator import Session
from mu_twisted.tls import Identity, LaunchIdentity
from mu_twisted.transport import Peer
from mu_twisted.wire import Greeting


class WorkerDouble:
    """Stands for the connection below a session and for the worker beyond it.

    :param turn: ends a turn of the reactor.
    """

    def __init__(self, session: Session, identity: Identity | None, turn: Callable[[], object]) -> None:
        self.session = session
        self.turn = turn
        self.peer = Peer("192.0.2.1", 4000, identity)
        self.max_frame = 0
        self.sent: list[bytes] = []
        self.closed = False
        session.connected(self)  # type: ignore[arg-type]

    def greeted(self) -> None:
        pass

    def send(self, *payloads: bytes) -> None:
        self.sent += payloads

    def close(self, farewell: bytes | None = None) -> None:
        if farewell is not None:
            self.sent.append(farewell)
        self.abort()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            self.session.disconnected("closed here")

    def says(self, *payloads: bytes) -> None:
        """What one read brings; then the reactor's turn ends."""
        self.session.frames_received(list(payloads))
        self.turn()

    def drop(self, reason: str) -> None:
        self.abort()

    def takes(self) -> list[bytes]:
        """What has been sent to it since it last looked."""
        sent, self.sent = self.sent, []
        return sent


def ours(launch_id: str, version: int = 1) -> bytes:
    """The greeting of a worker of ours."""
    return Greeting(version, launch_id, 1000, 128).encode()


def launch_identity(job: str = "j") -> LaunchIdentity:
    return LaunchIdentity(job)

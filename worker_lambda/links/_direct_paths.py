"""Direct paths lead from one task to its peers: here is known which there are, which are being made, and why not.

Knows how links are punched; what travels on a path is its owner's affair. Where anything here goes wrong there is no
path, and the rendezvous carries what there is to carry.
"""

import selectors
import socket
import ssl
import time
from collections.abc import Callable, Container, Iterable
from math import inf

from mu_twisted.wire.links import MAX_PATHS_REPORTED
from mu_twisted.wire.punching import PunchRefusal
from worker_lambda.links._paths import DirectPath, PathFrame
from worker_lambda.punching import Link, LinkIdentity, LocalPort, Puncher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from mu_twisted.wire.punch_report import PunchReport

MAX_PATHS = 256
"""Direct paths of a task at once."""
MAX_PEERS = 4096
"""Peers of which it is known how they are reached."""
PAUSE = 5.1
"""Seconds after which a path that was lost, or whose peer was absent, may be wanted again."""
DIRECT = "direct"
UNREACHABLE = "unreachable"
"""Of a peer that the rendezvous could not be asked for: it cannot be reached."""
_AGAIN = (PunchRefusal.ABSENT, PunchRefusal.LIMIT, "lost", UNREACHABLE)


class DirectPaths:
    """Makes and keeps paths.

    :param selector: the loop's.
    :param job: the job's name.
    :param task: our own.
    :param attempt: of that.
    :param contexts: of TLS as client and as server.
    :param silence: see :class:`DirectPath`.
    :param up: called with each new path.
    :param lost: called with each that is gone.
    :param received: called with each frame.
    :param held: says whether nothing is to be read now.
    :param piped: called with each frame of a pipe.
    :ivar outcomes: by the peer's task, ``direct``, or why there is no path.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        job: str,
        task: int,
        attempt: int,
        contexts: tuple[ssl.SSLContext, ssl.SSLContext],
        *,
        silence: float,
        up: Callable[[DirectPath], None],
        lost: Callable[[DirectPath], None],
        received: Callable[[DirectPath, PathFrame], None],
        held: Callable[[], bool],
        piped: Callable[[DirectPath, bytes], None],
    ) -> None:
        self.outcomes: dict[int, str] = {}
        self._news: dict[int, str] = {}
        self._selector = selector
        self._identity = LinkIdentity(job, task, attempt, *contexts)
        self._silence = silence
        self._up = up
        self._lost = lost
        self._received = received
        self._held = held
        self._piped = piped
        self._port = LocalPort()
        self._puncher: Puncher | None = None
        self._refusal: PunchRefusal | None = None
        self._paths: dict[int, DirectPath] = {}
        self._wanted: dict[int, float] = {}  # and when each may be wanted again

    def prepare(self, sock: socket.socket) -> None:
        """Bind the connection to the rendezvous to the port that the paths are made from.

        :raises OSError: it cannot be bound.
        """
        self._port.prepare(sock)

    def new_port(self) -> None:
        """Take another port, as the rendezvous is dialled again: the system may not give the same connection twice."""
        self._port = LocalPort()

    def begin(self, control: socket.socket, send: Callable[[bytes], None]) -> None:
        """The rendezvous can be asked for paths now.

        :param control: the connection to it.
        :param send: takes a message to it.
        """
        self.end()
        try:
            self._puncher = Puncher(
                self._selector,
                self._identity,
                self._port,
                control,
                send,
                connected=self._connected,
                failed=self._failed,
            )
        except OSError:  # there is no descriptor, or no port to listen on
            self.refuse(PunchRefusal.LIMIT)
            return
        for task in self._unsettled():
            self._want(task)

    def refuse(self, reason: PunchRefusal) -> None:
        """There are no paths to be had by the connection to the rendezvous that is there now."""
        self._refusal = reason
        for task in self._unsettled():
            self._settle(task, reason)

    def unreachable(self) -> None:
        """The rendezvous cannot be reached: this is said of what waits for it, and asked for when it is there."""
        for task in self._unsettled():
            self._note(task, UNREACHABLE)

    def end(self) -> None:
        """The rendezvous cannot be asked any more. The paths that are there stay."""
        self._refusal = None
        puncher, self._puncher = self._puncher, None
        if puncher is not None:
            puncher.close()

    def want(self, tasks: Iterable[int]) -> None:
        """Have a path to each of these, if there can be one."""
        now = time.monotonic()
        for task in tasks:
            due = self._wanted.get(task)
            known = due is not None and (now < due or task in self._paths)
            if not known and task != self._identity.task and (due is not None or len(self._wanted) < MAX_PEERS):
                self._wanted[task] = inf
                self._want(task)

    @property
    def waiting(self) -> bool:
        """Whether the rendezvous is still to be asked for any, or to answer."""
        return bool(self._unsettled())

    @property
    def there(self) -> list[DirectPath]:
        """The paths that there are."""
        return list(self._paths.values())

    @property
    def report(self) -> "PunchReport | None":
        """What is known of the NATs and of the last punches; None while the rendezvous is not connected."""
        return None if self._puncher is None else self._puncher.report

    def take(self, message: bytes) -> None:
        """Take what the rendezvous says of punching.

        :raises PeerError: it is malformed.
        """
        if self._puncher is not None:
            self._puncher.receive(message)

    def step(self, feed: Callable[[DirectPath], bool], used: Container[DirectPath]) -> float | None:
        """To be called in each pass of the loop. Paths on which nothing happens cost next to nothing.

        :param feed: puts frames on a path while there is room; returns whether there may be more.
        :param used: the paths whose peer is to send or acknowledge something, or is sent something.
        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        waits = [None if self._puncher is None else self._puncher.step()]
        for path in list(self._paths.values()):
            if not (path in used or path.due):
                continue
            more = path in used and feed(path)
            waits.append(path.step(expected=path in used))
            if path.lost is not None:
                self._drop(path)
                waits.append(0.0)
            elif (more and path.has_room) or path.took:
                waits.append(0.0)
        return min((wait for wait in waits if wait is not None), default=None)

    @property
    def due(self) -> bool:
        """Whether there is something new to be sent: then :meth:`step` is due."""
        return any(path.said for path in self._paths.values())

    def take_news(self) -> dict[int, str]:
        """Of :attr:`outcomes` what is new since the last time, as much as one report holds."""
        return dict(self._news.popitem() for _ in range(min(len(self._news), MAX_PATHS_REPORTED)))

    def close(self) -> None:
        """Close everything, and call nothing back."""
        self.end()
        for path in self._paths.values():
            path.close()
        self._paths.clear()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _unsettled(self) -> list[int]:
        """The tasks that are wanted, and of which the rendezvous has not said what is to become of that."""
        return [task for task, due in self._wanted.items() if due == inf and self.outcomes.get(task) in (None, *_AGAIN)]

    def _want(self, task: int) -> None:
        if self._puncher is not None:
            self._puncher.want(task)
        elif self._refusal is not None:
            self._settle(task, self._refusal)

    def _connected(self, link: Link) -> None:
        task = link.peer.task
        former = self._paths.get(task)
        if former is not None:
            self._drop(former)
        if len(self._paths) >= MAX_PATHS or (task not in self._wanted and len(self._wanted) >= MAX_PEERS):
            link.stream.close()
            self._settle(task, PunchRefusal.LIMIT)
            return
        path = self._paths[task] = DirectPath(
            self._selector,
            task,
            link.peer.attempt,
            me=self._identity.task,
            stream=link.stream,
            silence=self._silence,
            received=self._received,
            held=self._held,
            piped=self._piped,
        )
        self._settle(task, DIRECT)
        self._up(path)

    def _failed(self, task: int, reason: str) -> None:
        self._settle(task, reason)

    def _drop(self, path: DirectPath) -> None:
        if self._paths.get(path.task) is path:
            del self._paths[path.task]
            self._settle(path.task, "lost")
        path.close()
        self._lost(path)

    def _note(self, task: int, outcome: str) -> None:
        if task in self.outcomes or len(self.outcomes) < MAX_PEERS:
            if self.outcomes.get(task) != outcome:
                self._news[task] = outcome
            self.outcomes[task] = outcome

    def _settle(self, task: int, outcome: str) -> None:
        self._note(task, outcome)
        if task in self._wanted or len(self._wanted) < MAX_PEERS:
            self._wanted[task] = time.monotonic() + PAUSE if outcome in _AGAIN else inf

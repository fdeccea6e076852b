"""A path is a direct connection to the worker of one other task, on which both speak the frames of links.

Knows the peer, and whether it is still there; not what messages are sent and received.
"""

import selectors
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from mu_twisted.wire import PeerError
from mu_twisted.wire.links import (
    MAX_LINK_FRAME,
    Ack,
    Begin,
    Cut,
    End,
    LinkFrame,
    LinkPing,
    Part,
    Unwant,
    Want,
    parse_link_frame,
)
from worker_lambda._errors import CommandFailure
from worker_lambda.connection import FrameConnection, Partner, Stream
from worker_lambda.links._liveness import Liveness

MAX_PEER_WANTS = 4096
"""Messages that the peer may want ahead of their being sent; of more, the rendezvous gets the wants."""
UNSENT = 512 << 10
"""Bytes that wait to be taken by a connection beyond which no more frames are made for it."""

PathFrame = Begin | Part | End | Cut | Ack | Want | Unwant


class DirectPath:
    """One connection, from the peer's greeting to its end.

    :param selector: the loop's.
    :param task: the peer's.
    :param attempt: of that.
    :param me: our own task.
    :param stream: the connection, on which the peer's frames follow.
    :param silence: seconds for which nothing may be heard of the peer while something is expected of it.
    :param received: called with each frame, whose ``peer`` is the peer's task.
    :param held: says whether nothing is to be read now.
    :param piped: called with each frame of a pipe, as it came; raises what is raised for one that is out of place.
    :ivar lost: why it is over; None while it is not. To be checked after each pass of the loop.
    :ivar said: whether there is something new to be sent: then :meth:`step` is due at once.
    :ivar took: whether the last step has taken frames, of which something may follow.
    :ivar wants: the numbers and names of messages that the peer waits for.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        task: int,
        attempt: int,
        *,
        me: int,
        stream: Stream,
        silence: float,
        received: Callable[["DirectPath", PathFrame], None],
        held: Callable[[], bool],
        piped: Callable[["DirectPath", bytes], None],
    ) -> None:
        self.task = task
        self.attempt = attempt
        self.lost: str | None = None
        self.wants: dict[tuple[int, bytes], None] = {}
        self._me = me
        self._silence = silence
        self._take = received
        self._held = held
        self._piped = piped
        self._liveness = Liveness(silence, lambda: self.say(LinkPing().encode()))
        self.said = self.took = self._expected = False
        self._connection = FrameConnection(
            selector,
            [],
            None,
            Partner(f"worker of task {task}", None, MAX_LINK_FRAME, silence),
            received=self._received,
            held=held,
            stream=stream,
        )

    @property
    def has_room(self) -> bool:
        """Whether more frames may be made for it."""
        return self.lost is None and self._connection.unsent < UNSENT

    @property
    def due(self) -> bool:
        """Whether :meth:`step` has something to do, beside what is expected from now on."""
        return self._expected or self._connection.due

    def say(self, frame: bytes) -> None:
        """Send a frame."""
        self.said = True
        self._connection.send(frame)

    def want(self, number: int, name: bytes) -> bool:
        """Note that the peer waits for a message which is not being sent.

        :returns: whether there was room for it.
        """
        if len(self.wants) < MAX_PEER_WANTS:
            self.wants[number, name] = None
        return (number, name) in self.wants

    def step(self, *, expected: bool) -> float | None:
        """To be called in each pass of the loop.

        :param expected: whether the peer is to send something, or to acknowledge it.
        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        self.said = self.took = False
        self._expected = expected
        waits = [self._connection.step()]
        if self._connection.lost is not None and self.lost is None:
            self.lost = str(self._connection.lost)
        if self.lost is None:
            waits.append(self._look(expected=expected))
        return min((wait for wait in waits if wait is not None), default=None)

    def close(self) -> None:
        """Close it as it is."""
        self.lost = self.lost or "closed"
        with suppress(OSError):
            self._connection.close(flush=0.0)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _look(self, *, expected: bool) -> float | None:
        wait = self._liveness.check(expected=expected, held=self._held())
        if self._liveness.over:
            self.lost = f"nothing was heard of the worker of task {self.task} for {self._silence:g} s"
        return wait

    def _received(self, payload: bytes) -> None:
        self.took = True
        self._liveness.heard()
        if self.lost is not None:
            return
        try:
            if payload.startswith(b"PIPE_"):
                self._piped(self, payload)
                return
            frame = parse_link_frame(payload)
            if isinstance(frame, LinkPing):
                if not frame.answer and self.has_room:
                    self.say(LinkPing(answer=True).encode())
                return
            self._take(self, self._turned(frame))
        except (PeerError, CommandFailure) as error:
            self.lost = f"protocol error: {error}"

    def _turned(self, frame: LinkFrame) -> PathFrame:
        if not isinstance(frame, PathFrame) or frame.peer != self._me:
            raise PeerError(f"a worker does not send {frame.encode()[:80]!r} to that of task {self._me}")
        return replace(frame, peer=self.task)

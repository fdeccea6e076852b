"""The peer channel is the connection to the rendezvous, through which workers of a job reach one another.

Knows the commands that open and close it, and what the rendezvous itself may say; the states that travel are
passed on. With ``job`` in the event the rendezvous is ours: it must show its role, it confirms on closing that it has
everything, and to lose it or to be refused is a failure. Without ``job`` it behaves as the original's.
"""

import selectors
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from mu_twisted.wire import FULL, MAX_PEER_MESSAGE, CommandError, fail, parse_integer
from worker_lambda._errors import DialError, EventError
from worker_lambda._event import LaunchEvent
from worker_lambda._lambda_context import Timing
from worker_lambda._traffic import Traffic
from worker_lambda.connection import (
    RENDEZVOUS,
    FrameConnection,
    Partner,
    Target,
    client_context,
    is_loopback,
    link_contexts,
    resolve,
)
from worker_lambda.peers._inbox import Inbox
from worker_lambda.programs import CommandRuns

MAX_DEPARTING = 4
"""Connections that are closed already for the coordinator, and still send."""
_MAX_HOST = 255
_MAX_DIGITS = 20
_MAX_REFUSAL = 500


class _Line:
    """One ``connect:``, from the command to the end of the connection.

    :ivar connecting: whether its reply is still due; ``closing``: whether that of a ``close_connect:`` is.
    """

    def __init__(self, argument: bytes, host: str, port: int, text: bytes) -> None:
        self.argument = argument
        self.host = host
        self.port = port
        self.text = text
        self.connecting = True
        self.closing = False
        self.refusal: bytes | None = None
        self.connection: FrameConnection | None = None

    @property
    def where(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class PeerChannel:
    """The channel of one worker. :meth:`begin` is to be called before anything else.

    :param selector: the loop's.
    :param event: see :class:`LaunchEvent`.
    :param runs: starts what takes time, beside the loop.
    :param send: takes one message to the coordinator.
    :param clear: says whether such messages are being taken; nothing is read from peers while they are not.
    :param log: takes one line.
    :param timing: see :class:`Timing`.
    :param traffic: counts the bytes of messages.
    :ivar context: for TLS where there is no identity, None for plain TCP.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        event: LaunchEvent,
        runs: CommandRuns,
        send: Callable[[bytes], None],
        clear: Callable[[], bool],
        log: Callable[[str], None],
        timing: Timing,
        traffic: Traffic | None = None,
    ) -> None:
        self.context: ssl.SSLContext | None = None
        self._selector = selector
        self._event = event
        self._runs = runs
        self._send = send
        self._clear = clear
        self._log = log
        self._traffic = traffic or Traffic()
        role = RENDEZVOUS if event.job is not None and event.tls else None
        self._partner = Partner("rendezvous", role, MAX_PEER_MESSAGE, timing.stall)
        self._confirm = timing.confirm
        self._identity: ssl.SSLContext | None = None
        self._pair: dict[str, str] | None = None
        self._line: _Line | None = None
        self._departing: list[FrameConnection] = []

    @property
    def busy(self) -> bool:
        """Whether a command's reply is due; the next command waits for it."""
        return self._line is not None and (self._line.connecting or self._line.closing)

    @property
    def open(self) -> bool:
        """Whether what is sent will be sent."""
        return self._line is not None and not self.busy

    @property
    def has_room(self) -> bool:
        """Whether the last messages have been taken; also where no connection is there to take any."""
        line = self._line
        return line is None or line.connection is None or not line.connection.clogged

    @property
    def shown(self) -> ssl.SSLContext | None:
        """What is shown to a rendezvous: the identity that was given, else what the event has."""
        return self._identity or self.context

    def link_contexts(self) -> tuple[ssl.SSLContext, ssl.SSLContext] | None:
        """What is shown to other workers, as client and as server; None where no identity was given.

        :raises EventError: it cannot be used.
        """
        return None if self._pair is None else link_contexts(self._pair, self._directory)

    def begin(self, directory: Path) -> None:
        """Drop the state of the last task: a new one begins.

        :param directory: its private one, where states go.
        """
        self._directory = directory
        self._identity = self._pair = None
        self._inbox = Inbox(self._runs, directory, keep_first=self._event.job is not None, report=self._send)
        self.close(flush=0.0)

    def close(self, *, flush: float) -> None:
        """Close it, and say nothing to the coordinator.

        :param flush: for how many seconds at most to write what is queued.
        """
        line, self._line = self._line, None
        departing, self._departing = self._departing, []
        deadline = time.monotonic() + flush
        for connection in [*departing, *([line.connection] if line is not None and line.connection else [])]:
            connection.close(flush=deadline - time.monotonic() if flush else 0.0)

    def kill(self) -> None:
        """Give up what a reply is due for, and say so."""
        if self.busy:
            self.close(flush=0.0)
            self._send(fail("it was killed"))

    def send(self, message: bytes) -> None:
        """Queue one message; it waits until the rendezvous takes it."""
        if self._line is not None and self._line.connection is not None:
            self._traffic.add(sent=len(message))
            self._line.connection.send(message)

    # -- commands --------------------------------------------------------------------------------------------------

    def connect(self, argument: bytes) -> None:
        """``connect:HOST:PORT:TEXT``.

        :raises CommandError: the argument cannot be read, or the channel is open.
        """
        host, port, text = parse_address(argument)
        if self._line is not None:
            raise CommandError(f"already connected to {self._line.where}: close_connect: comes first")
        line = self._line = _Line(argument, host, port, text)
        found: list[Target] = []
        self._runs.chore(lambda _: found.extend(resolve(host, port)), lambda error: self._resolved(line, found, error))

    def close_connect(self) -> None:
        """``close_connect:``; a channel that is not open is closed."""
        line = self._line
        if line is not None and line.connection is not None:
            line.connection.finish(self._confirm)
            if self._event.job is not None:
                line.closing = True
                return
            self._departing = [*self._departing, line.connection]
            while len(self._departing) > MAX_DEPARTING:
                self._departing.pop(0).close(flush=0.0)
            self._line = None
        self._send(b"OK:CLOSE_CONNECT")

    def identity(self, argument: bytes) -> None:
        """``identity:CERT KEY``: what is shown from now on.

        :raises CommandError: it cannot be used.
        """
        parts = argument.decode("ascii", "replace").split()
        if len(parts) < 2:
            raise CommandError("expected the base64 bodies of a certificate, or of a chain, and of its key")
        if "cacert" not in self._event.tls:
            raise CommandError("the event has no cacert: without TLS no certificate can be shown")
        pair = {"cacert": self._event.tls["cacert"], "srvcrt": " ".join(parts[:-1]), "srvkey": parts[-1]}
        try:
            self._identity = client_context(pair, self._directory, "identity")
        except EventError as error:
            raise CommandError(str(error)) from None
        self._pair = pair
        self._send(b"OK:IDENTITY")

    # -- from the loop ---------------------------------------------------------------------------------------------

    def step(self) -> float | None:
        """To be called in each pass of the loop.

        :returns: in how many seconds to call again at the latest; None: when something happens.
        """
        waits = [connection.step() for connection in self._departing]
        self._departing = [each for each in self._departing if not each.finished and each.lost is None]
        line = self._line
        if line is not None and line.connection is not None:
            waits.append(line.connection.step())
            self._check(line, line.connection)
        return min((wait for wait in waits if wait is not None), default=None)

    def _check(self, line: _Line, connection: FrameConnection) -> None:
        if line.connecting and connection.answered:
            line.connecting = False
            self._send(b"OK:CONNECT(" + line.argument + b")")
        if line.refusal is not None:
            self.close(flush=0.0)
            self._send(fail(b"rendezvous: " + line.refusal))
        elif connection.finished and self._inbox.idle:  # what came is handled before the answer, also if it fails
            self._line = None
            self._send(b"OK:CLOSE_CONNECT")
        elif connection.lost is not None:
            self._line = None
            self._lost(line, connection.lost)

    def _lost(self, line: _Line, error: DialError) -> None:
        if line.connecting:
            self._send(fail(f"could not connect to {line.where}: {error}"))
        elif self._event.job is not None:
            self._send(fail(f"the peer channel to {line.where} was lost: {error}"))
        else:
            self._log(f"the peer channel to {line.where} was lost: {error}")

    def _resolved(self, line: _Line, targets: list[Target], error: str | None) -> None:
        if line is not self._line:
            return
        context = self.shown
        if error is None and context is None and not all(map(is_loopback, targets)):
            error = "the event has no cacert, and without TLS only loopback can be dialled"
        if error is not None:
            self._line = None
            self._lost(line, DialError(error))
            return
        line.connection = FrameConnection(
            self._selector,
            targets,
            context,
            self._partner,
            came_up=lambda: None,
            received=lambda message: self._received(line, message),
            held=lambda: self._inbox.full or not self._clear(),
        )
        if line.text:
            line.connection.send(line.text)

    def _received(self, line: _Line, message: bytes) -> None:
        if line is not self._line or line.refusal is not None:
            return
        if self._event.job is not None and (message == FULL or message.startswith(b"FAIL(")):
            text = message if message == FULL else message[len(b"FAIL(") :].removesuffix(b")")
            line.refusal = b" ".join(text.split())[:_MAX_REFUSAL]
        else:
            self._traffic.add(received=len(message))
            self._inbox.add(message)


def parse_address(argument: bytes) -> tuple[str, int, bytes]:
    """Host without brackets, port and text of ``HOST:PORT:TEXT``.

    :raises CommandError: it is none.
    """
    if argument.startswith(b"["):
        host, found, rest = argument[1:].partition(b"]:")
    else:
        host, found, rest = argument.partition(b":")
    digits, colon, text = rest.partition(b":")
    if not host or not found or not colon or len(host) > _MAX_HOST:
        raise CommandError("expected HOST:PORT:TEXT, an IPv6 address in brackets")
    port = parse_integer(digits[:_MAX_DIGITS])
    if not 0 < port < 1 << 16 or len(digits) > _MAX_DIGITS:
        raise CommandError(f"the port is {digits[:_MAX_DIGITS].decode('ascii', 'replace')}, expected 1 to 65535")
    return host.decode("utf-8", "surrogateescape"), port, text

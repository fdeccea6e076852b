"""A channel carries one request over one connection: how much may come, and how long that may take.

Knows not what is asked for.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from io import BytesIO
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.iweb import INonQueuedRequestFactory
from zope.interface import implementer, provider

from mu_twisted.coordinator import EventSink
from mu_twisted.tls import describe_failure
from mu_twisted.transport import ReactorTime
from mu_twisted.web._calls import Call, CallRefusal, Reply, refusal_reply

LOOKED_AT = ("host", "origin", "authorization", "last-event-id", "sec-fetch-site")
"""Headers that a call has."""
READ_TIME = 30.0
"""Seconds from the connection to the end of the request, a TLS handshake included."""
WRITE_TIME = 300.0
"""Seconds that a peer has to take the answer."""
LINGER_TIME = 5.0
LINGER_BYTES = 16 << 20
"""For how long, and how much, is read and thrown away of a request that was refused before its end: a connection that
is closed upon unread bytes takes the refusal with it."""

FAULT = CallRefusal(HTTPStatus.INTERNAL_SERVER_ERROR, "a fault of the coordinator itself; its log says more")


class ChannelOwner(Protocol):
    """What a channel asks of the factory that has made it, and what it reports to that.

    :ivar clock: for the time limits.
    :ivar max_connections: of peers that may connect.
    :ivar max_body: bytes of a request's body.
    """

    clock: ReactorTime
    max_connections: int
    max_body: int

    @property
    def full(self) -> bool:
        """Whether there are too many connections of peers that may connect."""

    def answer(self, call: Call) -> Awaitable[Reply]:
        """Answer a request; cancelled when the caller has gone."""

    def admit(self, transport: Any) -> str:
        """Name the peer; raises CallRefusal for one that may not connect."""

    def opened(self, channel: "HttpChannel") -> None:
        """A connection has been made."""

    def admitted(self, channel: "HttpChannel") -> None:
        """Its peer is known, and may connect."""

    def closed(self, channel: "HttpChannel") -> None:
        """It has ended."""

    def dropped(self, channel: "HttpChannel", reason: str) -> None:
        """It is refused, or its request is.

        :param reason: one line.
        """


class _HttpRequest(http.Request):
    """Gathers a body that is not too long, has it answered, and writes the answer."""

    log = Logger()
    channel: "HttpChannel"
    content: Any

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length is not None and length > self.channel.factory.max_body:
            self._too_long()

    def handleContentChunk(self, data: bytes) -> None:
        if self.channel.refused:
            return
        if self.content.tell() + len(data) > self.channel.factory.max_body:
            self._too_long()
            return
        self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        # In place of Twisted's, which takes forms apart.
        self.method, self.uri, self.clientproto = command, path, version
        self.args = {}
        if self.channel.refused:
            return
        self.channel.request_complete()
        self.process()

    def process(self) -> None:
        if self.channel.factory.full:
            text = f"more than {self.channel.factory.max_connections} requests are open; try again later"
            self._reply(refusal_reply(CallRefusal(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "5"})))
            return
        try:
            call = self._call()
        except ValueError:
            self._reply(
                refusal_reply(CallRefusal(HTTPStatus.BAD_REQUEST, "a path or query that is not UTF-8 in ASCII"))
            )
            return
        answering = Deferred.fromCoroutine(_awaited(self.channel.factory.answer(call)))
        gone = self.notifyFinish()
        gone.addErrback(lambda _: answering.cancel())
        answering.addCallbacks(self._reply, self._fault)

    def _call(self) -> Call:
        path, _, query = self.uri.decode("ascii").partition("?")
        return Call(
            method=self.method.decode("ascii"),
            path=tuple(unquote(segment, errors="strict") for segment in path.strip("/").split("/")),
            query=dict(parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=20)),
            body=self.content.getvalue(),
            caller=self.channel.caller,
            headers={
                name: values[-1]
                for name in LOOKED_AT
                if (values := self.requestHeaders.getRawHeaders(name)) is not None
            },
        )

    def _reply(self, reply: Reply) -> None:
        if self._disconnected:
            return
        self.setResponseCode(reply.status, reply.status.phrase.encode("ascii"))
        for name, value in _headers(reply):
            self.responseHeaders.addRawHeader(name, value)
        if reply.stream is not None:
            self._stream(reply.stream)
            return
        self.write(reply.body)  # type: ignore[no-untyped-call]
        self.finish()  # type: ignore[no-untyped-call]

    def _stream(self, begin: Callable[[EventSink], Callable[[], None]]) -> None:
        """Send events until the caller has gone, or takes none for too long."""
        sink = _EventStream(self)
        self.channel.streams = True
        self.channel.factory.admitted(self.channel)
        self.write(b": events\n\n")  # type: ignore[no-untyped-call]
        self.registerProducer(sink, True)  # type: ignore[no-untyped-call]
        try:
            stop = begin(sink)
        except BaseException:
            self.channel.transport.abortConnection()
            raise
        self.notifyFinish().addBoth(lambda _: stop())

    def _fault(self, failure: Failure) -> None:
        if self._disconnected:
            return  # the caller is gone, and the call was cancelled
        self.log.failure(
            "a request to the control API failed: {method} {uri}", failure, method=self.method, uri=self.uri
        )
        self._reply(refusal_reply(FAULT))

    def _too_long(self) -> None:
        self.requestHeaders.removeHeader("Expect")
        limit = self.channel.factory.max_body
        self.channel.refuse(CallRefusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body is at most {limit} bytes long"))


@implementer(IPushProducer)
class _EventStream:
    """Writes events as browsers read them: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

    def __init__(self, request: _HttpRequest) -> None:
        self._request = request
        self._paused = False

    @property
    def ready(self) -> bool:
        """Whether the caller has taken what was sent before."""
        return not self._paused and not self._request._disconnected

    def send(self, kind: str, data: bytes, number: int | None = None) -> None:
        """Send an event; its data are JSON, and so on one line."""
        if not self._request._disconnected:
            head = f"event: {kind}\n" if number is None else f"event: {kind}\nid: {number}\n"
            self._request.write(head.encode("ascii") + b"data: " + data + b"\n\n")  # type: ignore[no-untyped-call]

    def pauseProducing(self) -> None:
        self._paused = True
        self._request.channel.expect_taken()

    def resumeProducing(self) -> None:
        self._paused = False
        self._request.channel.request_complete()

    def stopProducing(self) -> None:
        self._paused = True


async def _awaited(answer: Awaitable[Reply]) -> Reply:
    return await answer


def _headers(reply: Reply) -> list[tuple[str, str]]:
    more = [("Content-Type", reply.kind)] if reply.body or reply.stream is not None else []
    more += [("Content-Length", str(len(reply.body)))] if reply.body else []
    return [*more, ("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"), *reply.headers.items()]


@provider(INonQueuedRequestFactory)  # type: ignore[untyped-decorator]
def _make_request(channel: Any) -> _HttpRequest:
    return _HttpRequest(channel)


class HttpChannel(http.HTTPChannel):
    """One connection: one request, within its time."""

    maxHeaders = 64
    requestFactory = staticmethod(_make_request)  # type: ignore[assignment]
    transport: Any
    factory: ChannelOwner
    refused = False
    streams = False
    """Whether it sends events, to a caller that may have them."""
    caller = ""
    _deadline: DelayedCall | None = None
    _discarded = 0

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self._expect_within(READ_TIME)
        self.factory.opened(self)

    def dataReceived(self, data: bytes) -> None:
        if not self.caller and not self.refused:
            try:
                self.caller = self.factory.admit(self.transport)
                self.factory.admitted(self)
            except CallRefusal as refusal:
                self.refuse(refusal)
        if self.refused:
            self._discarded += len(data)
            if self._discarded > LINGER_BYTES:
                self.transport.abortConnection()
            return
        super().dataReceived(data)  # type: ignore[no-untyped-call]

    def checkPersistence(self, request: http.Request, version: bytes) -> bool:
        # One request a connection: the limits are simple, and a refusal cannot be taken for another request's answer.
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def request_complete(self) -> None:
        """The request is there; the answer takes the time that it takes."""
        self._expect_within(None)

    def expect_taken(self) -> None:
        """The caller is to take what it was sent."""
        self._expect_within(WRITE_TIME)

    def requestDone(self, request: http.Request) -> None:
        self.expect_taken()
        super().requestDone(request)  # type: ignore[no-untyped-call]

    def refuse(self, refusal: CallRefusal) -> None:
        """Answer before the request is complete, and read no more of it."""
        if self.refused:
            return
        self.refused = True
        reply = refusal_reply(refusal)
        head = "".join(f"{name}: {value}\r\n" for name, value in [*_headers(reply), ("Connection", "close")])
        line = f"HTTP/1.1 {reply.status.value} {reply.status.phrase}\r\n"
        self.transport.write(f"{line}{head}\r\n".encode("ascii") + reply.body)
        self.factory.dropped(self, str(refusal))
        # The parser may be amid a buffer; it goes on with these to the buffer's end.
        self.lineReceived = self.rawDataReceived = lambda _: None  # type: ignore[method-assign, assignment]
        self._expect_within(LINGER_TIME)

    def close(self) -> None:
        """End the connection; an answer that was given is still sent."""
        if not self.transport.disconnecting:
            self.loseConnection()  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:
        self._respondToBadRequestAndDisconnect()

    def _respondToBadRequestAndDisconnect(self) -> None:
        # Twisted's own says nothing but the status. It is private there: if it goes, that is what remains.
        self.refuse(CallRefusal(HTTPStatus.BAD_REQUEST, "this is not an HTTP request that can be understood"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._expect_within(None)
        if not self.caller and not self.refused and not isinstance(reason.value, ConnectionDone):
            self.factory.dropped(self, describe_failure(reason.value or ConnectionLost()))
        self.factory.closed(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _expect_within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.factory.clock.callLater(seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        if not self.refused:
            self.factory.dropped(self, "it was too slow")
        self.transport.abortConnection()

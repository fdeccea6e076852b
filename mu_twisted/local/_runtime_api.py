"""Lambda's Runtime API, as AWS's runtime client speaks it: next, response, error, init error.

One site serves every environment; which one asks is told by the port that it asks at. Anybody on this machine can reach
a loopback port, so the peer must belong to our own user.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from mu_twisted.local._environment import Environment
from mu_twisted.local._invocation import LARGEST_RESPONSE, Invocation
from mu_twisted.local._peer import ours

_ANSWER = re.compile(rb"/2018-06-01/runtime/invocation/([0-9a-f-]{1,64})/(response|error)")
_NEXT = b"/2018-06-01/runtime/invocation/next"
_INIT_ERROR = b"/2018-06-01/runtime/init/error"
_MOST_BODY = LARGEST_RESPONSE + (1 << 20)


class HeldPoll:
    """A request for the next invocation that waits for one."""

    def __init__(self, request: Any) -> None:
        self._request = request

    def deliver(self, invocation: Invocation, deadline_ms: int) -> None:
        trace = invocation.request_id.replace("-", "")[:24]
        # The client crashes where there is no Content-Type.
        headers = {
            "Content-Type": "application/json",
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline_ms),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": f"Root=1-{deadline_ms // 1000:08x}-{trace}",
        }
        if invocation.client_context is not None:
            headers["Lambda-Runtime-Client-Context"] = invocation.client_context
        for name, value in headers.items():
            self._request.setHeader(name, value)
        self._request.write(invocation.payload)
        self._request.finish()


class RuntimeResource(Resource):
    """All of the API, for whichever environment asks."""

    isLeaf = True
    _log = Logger()

    def __init__(self, find: Callable[[int], Environment | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._find = find

    def render(self, request: Any) -> Any:
        environment = self._find(request.getHost().port)
        if environment is None or not self._ours(request):
            return self._answer(request, 403, b'{"errorType":"Forbidden"}')
        path: bytes = request.path
        if request.method == b"GET" and path == _NEXT:
            poll = HeldPoll(request)
            request.notifyFinish().addErrback(lambda _: environment.poll_lost(poll))
            environment.polled(poll)
            return NOT_DONE_YET
        found = _ANSWER.fullmatch(path)
        if request.method == b"POST" and found is not None:
            body = request.content.read()
            error = None if found[2] == b"response" else "Unhandled"
            if environment.responded(found[1].decode(), body, error):
                return self._answer(request, 202, b'{"status":"OK"}')
            return self._answer(request, 400, b'{"errorType":"InvalidRequestID"}')
        if request.method == b"POST" and path == _INIT_ERROR:
            environment.init_failed(request.content.read())
            return self._answer(request, 202, b'{"status":"OK"}')
        return self._answer(request, 404, b'{"errorType":"NotFound"}')

    @staticmethod
    def _answer(request: Any, status: int, body: bytes) -> bytes:
        request.setResponseCode(status)
        request.setHeader("Content-Type", "application/json")
        return body

    @staticmethod
    def _ours(request: Any) -> bool:
        """Looked up once per connection."""
        channel = request.channel
        known = getattr(channel, "mu_ours", None)
        if known is None:
            host, peer = request.getHost(), request.getClientAddress()
            known = ours((host.host, host.port), (peer.host, peer.port))
            channel.mu_ours = known
        return bool(known)


class LimitedRequest(Request):
    """A request whose body has a limit, told from its length before any of it is kept."""

    channel: Any
    content: Any
    most = _MOST_BODY

    def gotLength(self, length: int | None) -> None:
        if length is not None and length > self.most:
            self.mu_too_large = True
            self.channel.transport.write(self._refusal())
            self.channel.loseConnection()
            length = 0
        super().gotLength(length)  # type: ignore[no-untyped-call]

    def handleContentChunk(self, data: bytes) -> None:
        if self.content.tell() + len(data) > self.most:
            self.channel.loseConnection()
            return
        super().handleContentChunk(data)  # type: ignore[no-untyped-call]

    def process(self) -> None:
        if not getattr(self, "mu_too_large", False):
            super().process()  # type: ignore[no-untyped-call]

    def _refusal(self) -> bytes:
        body = b'{"Type":"User","message":"Request must be smaller than %d bytes"}' % self.most
        return (
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Type: application/json\r\nConnection: close\r\n"
            b"x-amzn-ErrorType: RequestTooLargeException\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        )


class QuietSite(Site):
    """A site without an access log, as requests are not news."""

    noisy = False

    def __init__(self, resource: Resource, request: type[Request], reactor: Any, timeout: float | None) -> None:
        super().__init__(resource, requestFactory=request, timeout=timeout, reactor=reactor)  # type: ignore[no-untyped-call]

    def log(self, request: Any) -> None:
        return


def runtime_site(reactor: Any, find: Callable[[int], Environment | None]) -> Site:
    """The site that every environment's port serves."""
    return QuietSite(RuntimeResource(find), LimitedRequest, reactor, None)


__all__ = ["HeldPoll", "LimitedRequest", "QuietSite", "RuntimeResource", "runtime_site"]

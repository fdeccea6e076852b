"""The Runtime API is served here as AWS's runtime client speaks it: next, response, error, init error.

One site serves every environment, which is known by the port that the request came to. Peers have been checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from mu_twisted.local._sites import BoundedSite, LimitedRequest
from mu_twisted.local.environments._environment import Environment
from mu_twisted.local.environments.invocation import LARGEST_RESPONSE, Invocation

_ANSWER = re.compile(rb"/2018-06-01/runtime/invocation/([0-9a-f-]{1,64})/(response|error)")
_NEXT = b"/2018-06-01/runtime/invocation/next"
_INIT_ERROR = b"/2018-06-01/runtime/init/error"
_MAX_BODY = LARGEST_RESPONSE + (1 << 20)


class RuntimeRequest(LimitedRequest):
    """A request that may bring a response."""

    max_body = _MAX_BODY


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
    """All of the API, for every environment."""

    isLeaf = True
    _log = Logger()

    def __init__(self, find: Callable[[int], Environment | None]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._find = find

    def render(self, request: Any) -> Any:
        environment = self._find(request.getHost().port)
        if environment is None:
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


def runtime_site(reactor: Any, find: Callable[[int], Environment | None]) -> Site:
    """The site that every environment's port serves."""
    return BoundedSite(RuntimeResource(find), RuntimeRequest, reactor, None)


__all__ = ["HeldPoll", "RuntimeRequest", "RuntimeResource", "runtime_site"]

"""The endpoint serves Lambda's HTTP API: it checks each request's size and signature, and answers in AWS's shapes.

Knows neither what an operation does, nor what a function is and how it runs.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mu_twisted.local._errors import ApiError, LocalError
from mu_twisted.local._sites import LimitedRequest
from mu_twisted.local.lambda_api._calls import ApiReply, Backend
from mu_twisted.local.lambda_api._model import ApiModel
from mu_twisted.local.lambda_api._operations import Operations
from mu_twisted.local.lambda_api._signature import SignedRequest, verify

LARGEST_REQUEST = 70_167_211
"""Bytes of a request, as at AWS: a package of 50 MB in base64."""


class ApiRequest(LimitedRequest):
    """A request that may bring a deployment package."""

    max_body = LARGEST_REQUEST
    too_large = "RequestEntityTooLargeException"


class LambdaApi(Resource):
    """The endpoint.

    :param backend: what it stands on.
    :param secrets: secret key by access key.
    :param now: seconds since the epoch.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, backend: Backend, secrets: Mapping[str, str], now: Callable[[], float]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._operations = Operations(backend, next(iter(secrets.values())))
        self._model = ApiModel()
        self._secrets = secrets
        self._now = now

    def render(self, request: Any) -> Any:
        done = Deferred.fromCoroutine(self._answer(request))
        done.addErrback(lambda failure: self._log.failure("a request could not be answered", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        disconnected: list[object] = []
        request.notifyFinish().addErrback(disconnected.append)
        try:
            reply = await self._handle(request)
        except ApiError as error:
            reply = _refusal(error)
        except LocalError as error:
            self._log.error("a request failed: {error}", error=str(error))
            reply = _refusal(ApiError(500, "ServiceException", str(error)))
        except Exception:  # noqa: BLE001 - the caller gets AWS's answer, and the log the rest
            self._log.failure("a request failed")
            reply = _refusal(ApiError(500, "ServiceException", "The local stack failed; its log says why."))
        if disconnected:
            return
        request.setResponseCode(reply.status)
        request.setHeader("x-amzn-RequestId", str(uuid.uuid4()))
        request.setHeader("Content-Type", "application/json")
        for name, value in reply.headers.items():
            request.setHeader(name, value)
        if isinstance(reply.body, bytes):
            request.write(reply.body)
        elif reply.body is not None:
            request.write(json.dumps(reply.body).encode())
        request.finish()

    async def _handle(self, request: Any) -> ApiReply:
        target = request.uri.decode("latin-1")
        path, _, query = target.partition("?")
        if path.startswith("/_code/"):
            return self._operations.download(path)
        headers = {
            name.decode("latin-1").lower(): ",".join(value.decode("latin-1") for value in values)
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read()
        region = verify(
            SignedRequest(request.method.decode("latin-1"), target, headers, body), self._secrets, "lambda", self._now()
        )
        arguments = [(unquote(k), unquote(v)) for k, _, v in (pair.partition("=") for pair in query.split("&") if pair)]
        routed = self._model.route(request.method.decode("latin-1"), path)
        parameters = self._model.parameters(routed, arguments, headers, body)
        return await self._operations.carry_out(routed.operation, parameters, region, headers.get("host", ""))


def _refusal(error: ApiError) -> ApiReply:
    body = {"Type": "User" if error.status < 500 else "Service", "message": error.message, **error.details}
    headers = {"x-amzn-ErrorType": error.code}
    if error.status == 429:
        headers["Retry-After"] = "1"
    return ApiReply(error.status, body, headers)

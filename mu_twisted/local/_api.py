"""The part of Lambda's HTTP API that boto3 and our launcher use: checked, routed, answered in AWS's shapes.

Every request must be signed. What a function is and how it runs are others' business.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from mu_twisted.local._errors import ApiError, invalid
from mu_twisted.local._functions import ACCOUNT, VERSION, Function, FunctionStore, function_name
from mu_twisted.local._invocation import Invocation, Result
from mu_twisted.local._runtime_api import LimitedRequest
from mu_twisted.local._signature import SignedRequest, verify

LARGEST_SYNC = 6 * 1024 * 1024
LARGEST_ASYNC = 1024 * 1024
LARGEST_REQUEST = 128 << 20
_LARGEST_CONTEXT = 3583


class ApiRequest(LimitedRequest):
    """A request that may bring a deployment package."""

    most = LARGEST_REQUEST


@dataclass(frozen=True)
class Call:
    """One checked request.

    :param name: the function's, from the path; empty where there is none.
    :param region: the signature's.
    """

    name: str
    region: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    host: str

    def json(self) -> dict[str, Any]:
        """The body as an object.

        :raises ApiError: 400 where it is none.
        """
        try:
            found = json.loads(self.body) if self.body else {}
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise ApiError(400, "SerializationException", "The body must be a JSON object.")
        return found


@dataclass(frozen=True)
class Reply:
    """What goes back: an object as JSON, or bytes as they are."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Call], Awaitable[Reply]]


@dataclass(frozen=True)
class Backend:
    """What the API stands on.

    :param functions: those that exist.
    :param invoke: runs one invocation; refuses with an :class:`ApiError`.
    :param enqueue: takes an event to run later; False where there are too many.
    :param prepare: unpacks a function's code.
    :param changed: told when a function has changed or, with None, has gone.
    :param fetch: reads a package from S3 by bucket, key and version.
    """

    functions: FunctionStore
    invoke: Callable[[Function, Invocation], Deferred[Result]]
    enqueue: Callable[[Function, str, bytes], bool]
    prepare: Callable[[Function], Deferred[None]]
    changed: Callable[[str, Function | None], None]
    fetch: Callable[[str, str, str | None], Deferred[bytes]]
    concurrency: int


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
        self._backend = backend
        self._functions = backend.functions
        self._secrets = secrets
        self._now = now
        one = r"/functions/([^/]+)"
        table: list[tuple[str, str, Handler]] = [
            ("POST", r"/2015-03-31/functions/?", self._create),
            ("GET", r"/2015-03-31/functions/?", self._list),
            ("GET", rf"/2015-03-31{one}", self._get),
            ("DELETE", rf"/2015-03-31{one}", self._delete),
            ("GET", rf"/2015-03-31{one}/configuration", self._get_configuration),
            ("PUT", rf"/2015-03-31{one}/configuration", self._update_configuration),
            ("PUT", rf"/2015-03-31{one}/code", self._update_code),
            ("POST", rf"/2015-03-31{one}/invocations", self._invoke),
            ("PUT", rf"/2017-10-31{one}/concurrency", self._put_concurrency),
            ("DELETE", rf"/2017-10-31{one}/concurrency", self._delete_concurrency),
            ("GET", rf"/2019-09-30{one}/concurrency", self._get_concurrency),
            ("PUT", rf"/2019-09-25{one}/event-invoke-config", self._put_event_config),
            ("POST", rf"/2019-09-25{one}/event-invoke-config", self._update_event_config),
            ("GET", rf"/2019-09-25{one}/event-invoke-config", self._get_event_config),
            ("DELETE", rf"/2019-09-25{one}/event-invoke-config", self._delete_event_config),
            ("GET", r"/2016-08-19/account-settings/?", self._account),
        ]
        self._table = [(method, re.compile(path), handler) for method, path, handler in table]

    def render(self, request: Any) -> Any:
        done = Deferred.fromCoroutine(self._answer(request))
        done.addErrback(lambda failure: self._log.failure("a request could not be answered", failure))
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        gone: list[object] = []
        request.notifyFinish().addErrback(gone.append)
        try:
            reply = await self._handle(request)
        except ApiError as error:
            reply = _refusal(error)
        except Exception:  # noqa: BLE001 - whatever went wrong, the caller gets AWS's answer and the log the rest
            self._log.failure("a request failed")
            reply = _refusal(ApiError(500, "ServiceException", "The local stack failed; its log says why."))
        if gone:
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

    async def _handle(self, request: Any) -> Reply:
        target = request.uri.decode("latin-1")
        path, _, query = target.partition("?")
        if path.startswith("/_code/"):
            return self._download(path)
        headers = {
            name.decode("latin-1").lower(): ",".join(value.decode("latin-1") for value in values)
            for name, values in request.requestHeaders.getAllRawHeaders()
        }
        body = request.content.read()
        region = verify(
            SignedRequest(request.method.decode("latin-1"), target, headers, body), self._secrets, "lambda", self._now()
        )
        arguments = {unquote(k): unquote(v) for k, _, v in (pair.partition("=") for pair in query.split("&") if pair)}
        host = headers.get("host", "")
        for method, pattern, handler in self._table:
            found = pattern.fullmatch(path)
            if found is not None and method.encode() == request.method:
                name = ""
                if pattern.groups:
                    name = function_name(unquote(found[1]), arguments.get("Qualifier"))
                return await handler(Call(name, region, arguments, headers, body, host))
        raise ApiError(404, "UnknownOperationException", f"{path[:200]} is no operation that is served here.")

    def _of(self, call: Call) -> Function:
        return self._functions.get(call.name, call.region)

    async def _package(self, request: Mapping[str, Any]) -> bytes:
        if request.get("ZipFile") is not None:
            try:
                return base64.b64decode(request["ZipFile"], validate=True)
            except (binascii.Error, ValueError, TypeError):
                raise invalid("ZipFile must be base64.") from None
        bucket, key = request.get("S3Bucket"), request.get("S3Key")
        if not isinstance(bucket, str) or not isinstance(key, str):
            raise invalid("Please provide a source for function code.")
        return await self._backend.fetch(bucket, key, request.get("S3ObjectVersion"))

    async def _create(self, call: Call) -> Reply:
        request = call.json()
        code = request.get("Code")
        if not isinstance(code, dict):
            raise invalid("Code must be given.")
        function = self._functions.create(request, await self._package(code))
        await self._backend.prepare(function)
        self._backend.changed(function.name, function)
        return Reply(201, function.configuration(call.region))

    async def _list(self, call: Call) -> Reply:
        text = call.query.get("MaxItems", "50")
        if not text.isdecimal() or not 1 <= int(text) <= 10000:
            raise invalid("MaxItems must be a number from 1 to 10000.")
        most = min(50, int(text))
        after = call.query.get("Marker", "")
        found = [function for function in self._functions if function.name > after]
        shown: dict[str, Any] = {"Functions": [function.configuration(call.region) for function in found[:most]]}
        if len(found) > most:
            shown["NextMarker"] = found[most - 1].name
        return Reply(200, shown)

    async def _get(self, call: Call) -> Reply:
        function = self._of(call)
        location = f"http://{call.host}/_code/{function.code}/{self._token(function.code)}"
        shown: dict[str, Any] = {
            "Configuration": function.configuration(call.region),
            "Code": {"RepositoryType": "S3", "Location": location},
            "Tags": {},
        }
        if function.reserved is not None:
            shown["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return Reply(200, shown)

    def _token(self, code: str) -> str:
        secret = next(iter(self._secrets.values()))
        return hmac.new(secret.encode(), code.encode(), hashlib.sha256).hexdigest()

    def _download(self, path: str) -> Reply:
        found = re.fullmatch(r"/_code/([0-9a-f]{64})/([0-9a-f]{64})", path)
        if found is None or not hmac.compare_digest(found[2], self._token(found[1])):
            raise ApiError(403, "AccessDeniedException", "That is no address of a function's code.")
        try:
            return Reply(200, self._functions.zip_path(found[1]).read_bytes(), {"Content-Type": "application/zip"})
        except OSError:
            raise ApiError(404, "ResourceNotFoundException", "That code is gone.") from None

    async def _get_configuration(self, call: Call) -> Reply:
        return Reply(200, self._of(call).configuration(call.region))

    def _check_revision(self, call: Call, function: Function) -> dict[str, Any]:
        request = call.json()
        if request.get("RevisionId") not in (None, function.revision):
            raise ApiError(
                412, "PreconditionFailedException", "The RevisionId provided does not match the latest RevisionId."
            )
        return request

    async def _update_configuration(self, call: Call) -> Reply:
        function = self._of(call)
        request = self._check_revision(call, function)
        function = self._functions.update_configuration(function, request)
        self._backend.changed(function.name, function)
        return Reply(200, function.configuration(call.region))

    async def _update_code(self, call: Call) -> Reply:
        request = self._check_revision(call, self._of(call))
        code = await self._package(request)
        function = self._of(call)
        if request.get("DryRun"):
            return Reply(200, function.configuration(call.region))
        function = self._functions.update_code(function, code)
        await self._backend.prepare(function)
        self._backend.changed(function.name, function)
        return Reply(200, function.configuration(call.region))

    async def _delete(self, call: Call) -> Reply:
        function = self._of(call)
        self._functions.delete(function)
        self._backend.changed(function.name, None)
        return Reply(204)

    async def _invoke(self, call: Call) -> Reply:
        kind = call.headers.get("x-amz-invocation-type", "RequestResponse")
        if kind not in ("RequestResponse", "Event", "DryRun"):
            raise invalid("InvocationType must be one of RequestResponse, Event, DryRun.")
        limit = LARGEST_ASYNC if kind == "Event" else LARGEST_SYNC
        if len(call.body) > limit:
            raise ApiError(
                413,
                "RequestTooLargeException",
                f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
            )
        function = self._of(call)
        payload = call.body or b"{}"
        try:
            json.loads(payload)
        except (ValueError, RecursionError) as error:
            raise ApiError(
                400, "InvalidRequestContentException", f"Could not parse request body into json: {error}"
            ) from None
        context = _client_context(call.headers.get("x-amz-client-context"))
        if kind == "DryRun":
            return Reply(204, None, {"X-Amz-Executed-Version": VERSION})
        request_id = str(uuid.uuid4())
        if kind == "Event":
            if not self._backend.enqueue(function, request_id, payload):
                raise ApiError(
                    429,
                    "TooManyRequestsException",
                    "Rate Exceeded.",
                    {"Reason": "FunctionInvocationRateLimitExceeded"},
                )
            return Reply(202, b"", {"x-amzn-RequestId": request_id})
        invocation = Invocation(request_id, payload, function.arn(call.region), context)
        result = await self._backend.invoke(function, invocation)
        headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": VERSION}
        if result.error is not None:
            headers["X-Amz-Function-Error"] = result.error
        if call.headers.get("x-amz-log-type", "None") == "Tail":
            headers["X-Amz-Log-Result"] = base64.b64encode(result.log).decode()
        return Reply(200, result.payload, headers)

    async def _put_concurrency(self, call: Call) -> Reply:
        function = self._of(call)
        request = call.json()
        if "ReservedConcurrentExecutions" not in request:
            raise invalid("ReservedConcurrentExecutions must be given.")
        wanted = request["ReservedConcurrentExecutions"]
        others = sum(f.reserved or 0 for f in self._functions if f.name != function.name)
        if isinstance(wanted, int) and wanted + others > self._backend.concurrency:
            raise invalid("Specified ReservedConcurrentExecutions for function exceeds the account's concurrency.")
        function = self._functions.reserve(function, request)
        self._backend.changed(function.name, function)
        return Reply(200, {"ReservedConcurrentExecutions": function.reserved})

    async def _get_concurrency(self, call: Call) -> Reply:
        reserved = self._of(call).reserved
        return Reply(200, {} if reserved is None else {"ReservedConcurrentExecutions": reserved})

    async def _delete_concurrency(self, call: Call) -> Reply:
        function = self._functions.reserve(self._of(call), {})
        self._backend.changed(function.name, function)
        return Reply(204)

    async def _put_event_config(self, call: Call) -> Reply:
        function = self._functions.set_event_policy(self._of(call), call.json(), keep=False)
        return Reply(200, function.event_configuration(call.region))

    async def _update_event_config(self, call: Call) -> Reply:
        function = self._functions.set_event_policy(self._with_event_config(call), call.json(), keep=True)
        return Reply(200, function.event_configuration(call.region))

    async def _get_event_config(self, call: Call) -> Reply:
        return Reply(200, self._with_event_config(call).event_configuration(call.region))

    async def _delete_event_config(self, call: Call) -> Reply:
        self._functions.clear_event_policy(self._with_event_config(call))
        return Reply(204)

    def _with_event_config(self, call: Call) -> Function:
        function = self._of(call)
        if not function.event_modified:
            arn = f"{function.arn(call.region)}:{VERSION}"
            raise ApiError(404, "ResourceNotFoundException", f"The function {arn} doesn't have an EventInvokeConfig")
        return function

    async def _account(self, call: Call) -> Reply:
        functions = list(self._functions)
        limit = self._backend.concurrency
        return Reply(
            200,
            {
                "AccountLimit": {
                    "TotalCodeSize": 80530636800,
                    "CodeSizeUnzipped": 262144000,
                    "CodeSizeZipped": 52428800,
                    "ConcurrentExecutions": limit,
                    "UnreservedConcurrentExecutions": limit - sum(f.reserved or 0 for f in functions),
                },
                "AccountUsage": {"TotalCodeSize": sum(f.code_size for f in functions), "FunctionCount": len(functions)},
            },
        )


def _client_context(header: str | None) -> str | None:
    if header is None:
        return None
    try:
        if len(header) > _LARGEST_CONTEXT:
            raise ValueError
        return json.dumps(json.loads(base64.b64decode(header, validate=True)))
    except (ValueError, RecursionError):
        raise ApiError(400, "InvalidRequestContentException", "Client context must be base64 of JSON.") from None


def _refusal(error: ApiError) -> Reply:
    body = {"Type": "User" if error.status < 500 else "Service", "message": error.message, **error.details}
    headers = {"x-amzn-ErrorType": error.code}
    if error.status == 429:
        headers["Retry-After"] = "1"
    return Reply(error.status, body, headers)


__all__ = ["ACCOUNT", "ApiRequest", "Backend", "Call", "LambdaApi", "Reply"]

"""The operation ``Invoke`` is carried out here: checks in AWS's order, its three types, and its answer's headers."""

from __future__ import annotations

import base64
import json
import uuid

from mu_twisted.local._errors import ApiError
from mu_twisted.local._function_requests import VERSION
from mu_twisted.local._functions import Function
from mu_twisted.local.environments.invocation import Invocation
from mu_twisted.local.lambda_api._calls import ApiCall, ApiReply, Backend

LARGEST_SYNC = 6 * 1024 * 1024
LARGEST_ASYNC = 1024 * 1024
_LARGEST_CONTEXT = 3583


async def invoke(backend: Backend, call: ApiCall) -> ApiReply:
    """Run a function once and wait, or take an event in, or only check.

    :raises ApiError: 413 for a payload over the type's limit, 404, 400 for one that is no JSON, 429.
    """
    kind = call.parameters.get("InvocationType", "RequestResponse")
    limit = LARGEST_ASYNC if kind == "Event" else LARGEST_SYNC
    body: bytes = call.parameters["Payload"]
    if len(body) > limit:
        raise ApiError(
            413,
            "RequestTooLargeException",
            f"Request must be smaller than {limit} bytes for the InvokeFunction operation",
        )
    function = backend.functions.get(call.name, call.region)
    payload = body or b"{}"
    try:
        json.loads(payload.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise ApiError(
            400, "InvalidRequestContentException", f"Could not parse request body into json: {error}"
        ) from None
    context = _client_context(call.parameters.get("ClientContext"))
    if kind == "DryRun":
        return ApiReply(204, None, {"X-Amz-Executed-Version": VERSION})
    request_id = str(uuid.uuid4())
    if kind == "Event":
        return _queued(backend, function, request_id, payload)
    invocation = Invocation(request_id, payload, function.arn(call.region), context)
    result = await backend.invoke(function, invocation)
    headers = {"x-amzn-RequestId": request_id, "X-Amz-Executed-Version": VERSION}
    if result.error is not None:
        headers["X-Amz-Function-Error"] = result.error
    if call.parameters.get("LogType") == "Tail":
        headers["X-Amz-Log-Result"] = base64.b64encode(result.log).decode()
    return ApiReply(200, result.payload, headers)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no value of JSON")


def _queued(backend: Backend, function: Function, request_id: str, payload: bytes) -> ApiReply:
    if not backend.enqueue(function, request_id, payload):
        reason = {"Reason": "FunctionInvocationRateLimitExceeded"}
        raise ApiError(429, "TooManyRequestsException", "Rate Exceeded.", reason)
    return ApiReply(202, b"", {"x-amzn-RequestId": request_id})


def _client_context(header: str | None) -> str | None:
    if header is None:
        return None
    try:
        if len(header) > _LARGEST_CONTEXT:
            raise ValueError
        return json.dumps(json.loads(base64.b64decode(header, validate=True)))
    except (ValueError, RecursionError):
        raise ApiError(400, "InvalidRequestContentException", "Client context must be base64 of JSON.") from None

"""Each operation of Lambda's API is carried out here for a checked call. Of HTTP it knows only paths and statuses."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from mu_twisted.local._errors import ApiError, invalid
from mu_twisted.local._function_requests import VERSION
from mu_twisted.local._functions import IMAGES, Function
from mu_twisted.local.lambda_api._calls import ApiCall, ApiReply, Backend, Handler
from mu_twisted.local.lambda_api._invoke import invoke


class Operations:
    """The operations, by method and path.

    :param backend: what they stand on.
    :param secret: signs the addresses of functions' code.
    """

    def __init__(self, backend: Backend, secret: str) -> None:
        self._backend = backend
        self._functions = backend.functions
        self._secret = secret
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

    def find(self, method: str, path: str) -> tuple[Handler, str | None]:
        """The operation, and the function's reference in its path, still quoted; None where it has none.

        :raises ApiError: 404 where there is no such operation.
        """
        for verb, pattern, handler in self._table:
            found = pattern.fullmatch(path)
            if found is not None and verb == method:
                return handler, found[1] if pattern.groups else None
        raise ApiError(404, "UnknownOperationException", f"{path[:200]} is no operation that is served here.")

    def _of(self, call: ApiCall) -> Function:
        return self._functions.get(call.name, call.region)

    async def _package(self, request: Mapping[str, Any]) -> bytes:
        if request.get("ImageUri") is not None:
            raise invalid(IMAGES)
        if request.get("ZipFile") is not None:
            try:
                return base64.b64decode(request["ZipFile"], validate=True)
            except (binascii.Error, ValueError, TypeError):
                raise invalid("ZipFile must be base64.") from None
        bucket, key = request.get("S3Bucket"), request.get("S3Key")
        if not isinstance(bucket, str) or not isinstance(key, str):
            raise invalid("Please provide a source for function code.")
        return await self._backend.fetch(bucket, key, request.get("S3ObjectVersion"))

    async def _create(self, call: ApiCall) -> ApiReply:
        request = call.json()
        code = request.get("Code")
        if not isinstance(code, dict):
            raise invalid("Code must be given.")
        self._functions.check_new(request)
        package = await self._package(code)
        # A bad package is refused before anything of it is kept.
        await self._backend.unpack(package)
        try:
            function = self._functions.create(request, package)
        except Exception:
            self._backend.tidy()  # another call has taken the name meanwhile, or the disk is full
            raise
        self._backend.changed(function.name, function)
        return ApiReply(201, function.configuration(call.region))

    async def _list(self, call: ApiCall) -> ApiReply:
        text = call.query.get("MaxItems", "50")
        if not text.isdecimal() or not 1 <= int(text) <= 10000:
            raise invalid("MaxItems must be a number from 1 to 10000.")
        limit = min(50, int(text))
        after = call.query.get("Marker", "")
        functions = [function for function in self._functions if function.name > after]
        shown: dict[str, Any] = {"Functions": [function.configuration(call.region) for function in functions[:limit]]}
        if len(functions) > limit:
            shown["NextMarker"] = functions[limit - 1].name
        return ApiReply(200, shown)

    async def _get(self, call: ApiCall) -> ApiReply:
        function = self._of(call)
        location = f"http://{call.host}/_code/{function.code}/{self._token(function.code)}"
        shown: dict[str, Any] = {
            "Configuration": function.configuration(call.region),
            "Code": {"RepositoryType": "S3", "Location": location},
            "Tags": {},
        }
        if function.reserved is not None:
            shown["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return ApiReply(200, shown)

    def _token(self, code: str) -> str:
        return hmac.new(self._secret.encode(), code.encode(), hashlib.sha256).hexdigest()

    def download(self, path: str) -> ApiReply:
        found = re.fullmatch(r"/_code/([0-9a-f]{64})/([0-9a-f]{64})", path)
        if found is None or not hmac.compare_digest(found[2], self._token(found[1])):
            raise ApiError(403, "AccessDeniedException", "That is no address of a function's code.")
        try:
            return ApiReply(200, self._functions.zip_path(found[1]).read_bytes(), {"Content-Type": "application/zip"})
        except OSError:
            raise ApiError(404, "ResourceNotFoundException", "That code is gone.") from None

    async def _get_configuration(self, call: ApiCall) -> ApiReply:
        return ApiReply(200, self._of(call).configuration(call.region))

    def _check_revision(self, call: ApiCall, function: Function) -> dict[str, Any]:
        request = call.json()
        if request.get("RevisionId") not in (None, function.revision):
            raise ApiError(
                412, "PreconditionFailedException", "The RevisionId provided does not match the latest RevisionId."
            )
        return request

    async def _update_configuration(self, call: ApiCall) -> ApiReply:
        function = self._of(call)
        request = self._check_revision(call, function)
        function = self._functions.update_configuration(function, request)
        self._backend.changed(function.name, function)
        return ApiReply(200, function.configuration(call.region))

    async def _update_code(self, call: ApiCall) -> ApiReply:
        request = self._check_revision(call, self._of(call))
        package = await self._package(request)
        await self._backend.unpack(package)
        try:
            # Other calls have been served meanwhile.
            function = self._of(call)
            self._check_revision(call, function)
            if request.get("DryRun"):
                self._backend.tidy()
                return ApiReply(200, function.configuration(call.region))
            function = self._functions.update_code(function, package)
        except Exception:
            self._backend.tidy()
            raise
        self._backend.changed(function.name, function)
        return ApiReply(200, function.configuration(call.region))

    async def _delete(self, call: ApiCall) -> ApiReply:
        function = self._of(call)
        self._functions.delete(function)
        self._backend.changed(function.name, None)
        return ApiReply(204)

    async def _invoke(self, call: ApiCall) -> ApiReply:
        return await invoke(self._backend, call)

    async def _put_concurrency(self, call: ApiCall) -> ApiReply:
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
        return ApiReply(200, {"ReservedConcurrentExecutions": function.reserved})

    async def _get_concurrency(self, call: ApiCall) -> ApiReply:
        reserved = self._of(call).reserved
        return ApiReply(200, {} if reserved is None else {"ReservedConcurrentExecutions": reserved})

    async def _delete_concurrency(self, call: ApiCall) -> ApiReply:
        function = self._functions.reserve(self._of(call), {})
        self._backend.changed(function.name, function)
        return ApiReply(204)

    async def _put_event_config(self, call: ApiCall) -> ApiReply:
        function = self._functions.set_event_policy(self._of(call), call.json(), keep=False)
        return ApiReply(200, function.event_configuration(call.region))

    async def _update_event_config(self, call: ApiCall) -> ApiReply:
        function = self._functions.set_event_policy(self._with_event_config(call), call.json(), keep=True)
        return ApiReply(200, function.event_configuration(call.region))

    async def _get_event_config(self, call: ApiCall) -> ApiReply:
        return ApiReply(200, self._with_event_config(call).event_configuration(call.region))

    async def _delete_event_config(self, call: ApiCall) -> ApiReply:
        self._functions.clear_event_policy(self._with_event_config(call))
        return ApiReply(204)

    def _with_event_config(self, call: ApiCall) -> Function:
        function = self._of(call)
        if not function.event_modified:
            arn = f"{function.arn(call.region)}:{VERSION}"
            raise ApiError(404, "ResourceNotFoundException", f"The function {arn} doesn't have an EventInvokeConfig")
        return function

    async def _account(self, call: ApiCall) -> ApiReply:
        functions = list(self._functions)
        limit = self._backend.concurrency
        return ApiReply(
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

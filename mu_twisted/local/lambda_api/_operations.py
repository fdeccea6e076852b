"""Each operation of Lambda's API is carried out here for a checked call. Of HTTP it knows only statuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Any

from mu_twisted.local._errors import ApiError, invalid
from mu_twisted.local._function_requests import VERSION, function_name
from mu_twisted.local._functions import Function
from mu_twisted.local.lambda_api._calls import ApiCall, ApiReply, Backend, Operation
from mu_twisted.local.lambda_api._invoke import invoke

LARGEST_PACKAGE = 50 << 20
"""Bytes of a package that comes with its request, as at AWS."""
UNRESERVED = 10
"""The part of all concurrency that no function may reserve is one in so many: of AWS's 1,000 its 100."""


class Operations:
    """The operations, by AWS's names of them.

    :param backend: what they stand on.
    :param secret: signs the addresses of functions' code.
    """

    def __init__(self, backend: Backend, secret: str) -> None:
        self._backend = backend
        self._functions = backend.functions
        self._secret = secret
        self._handlers: dict[str, Operation] = {
            "CreateFunction": self._create,
            "DeleteFunction": self._delete,
            "DeleteFunctionConcurrency": self._delete_concurrency,
            "DeleteFunctionEventInvokeConfig": self._delete_event_config,
            "GetAccountSettings": self._account,
            "GetFunction": self._get,
            "GetFunctionConcurrency": self._get_concurrency,
            "GetFunctionConfiguration": self._get_configuration,
            "GetFunctionEventInvokeConfig": self._get_event_config,
            "Invoke": self._invoke,
            "ListFunctionEventInvokeConfigs": self._list_event_configs,
            "ListFunctions": self._list,
            "ListTags": self._list_tags,
            "ListVersionsByFunction": self._list_versions,
            "PutFunctionConcurrency": self._put_concurrency,
            "PutFunctionEventInvokeConfig": self._put_event_config,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "UpdateFunctionEventInvokeConfig": self._update_event_config,
        }

    async def carry_out(self, operation: str, parameters: Mapping[str, Any], region: str, host: str) -> ApiReply:
        """Carry out a checked request.

        :param operation: one that :data:`~mu_twisted.local.lambda_api._model.SERVED` names.
        :param parameters: its members.
        :raises ApiError: what AWS would refuse it with.
        """
        reference = parameters.get("FunctionName", parameters.get("Resource"))
        name, qualified = "", False
        if reference is not None:
            name, qualified = function_name(reference, region, parameters.get("Qualifier"))
        return await self._handlers[operation](ApiCall(name, region, parameters, host, qualified))

    def _of(self, call: ApiCall) -> Function:
        return self._functions.get(call.name, call.region)

    async def _package(self, operation: str, request: Mapping[str, Any]) -> bytes:
        if request.get("ZipFile") is not None:
            package = base64.b64decode(request["ZipFile"])
            if len(package) > LARGEST_PACKAGE:
                raise ApiError(
                    413,
                    "RequestEntityTooLargeException",
                    f"Zipped size must be smaller than {LARGEST_PACKAGE} bytes for the {operation} operation; "
                    "larger packages come through S3",
                )
            return package
        bucket, key = request.get("S3Bucket"), request.get("S3Key")
        if bucket is None or key is None:
            raise invalid("Please provide a source for function code.")
        return await self._backend.fetch(bucket, key, request.get("S3ObjectVersion"))

    async def _create(self, call: ApiCall) -> ApiReply:
        request = call.parameters
        self._functions.check_new(request, call.region)
        package = await self._package("CreateFunction", request["Code"])
        # A bad package is refused before anything of it is kept.
        await self._backend.unpack(package)
        try:
            function = self._functions.create(request, call.region, package)
        except Exception:
            self._backend.tidy()  # another call has taken the name meanwhile, or the disk is full
            raise
        self._backend.changed(function.name, function)
        return ApiReply(201, function.configuration(call.region))

    async def _list(self, call: ApiCall) -> ApiReply:
        limit = min(50, call.parameters.get("MaxItems", 50))
        after = call.parameters.get("Marker", "")
        functions = [function for function in self._functions if function.name > after]
        shown: dict[str, Any] = {"Functions": [function.configuration(call.region) for function in functions[:limit]]}
        if len(functions) > limit:
            shown["NextMarker"] = functions[limit - 1].name
        return ApiReply(200, shown)

    async def _get(self, call: ApiCall) -> ApiReply:
        function = self._of(call)
        location = f"http://{call.host}/_code/{function.code}/{self._token(function.code)}"
        shown: dict[str, Any] = {
            "Configuration": function.configuration(call.region, qualified=call.qualified),
            "Code": {"RepositoryType": "S3", "Location": location},
            "Tags": dict(function.tags),
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
        return ApiReply(200, self._of(call).configuration(call.region, qualified=call.qualified))

    async def _list_versions(self, call: ApiCall) -> ApiReply:
        return ApiReply(200, {"Versions": [self._of(call).configuration(call.region, qualified=True)]})

    async def _list_tags(self, call: ApiCall) -> ApiReply:
        return ApiReply(200, {"Tags": dict(self._of(call).tags)})

    async def _tag(self, call: ApiCall) -> ApiReply:
        self._functions.tag(self._of(call), call.parameters["Tags"])
        return ApiReply(204)

    async def _untag(self, call: ApiCall) -> ApiReply:
        self._functions.untag(self._of(call), call.parameters["TagKeys"])
        return ApiReply(204)

    def _check_revision(self, call: ApiCall, function: Function) -> Mapping[str, Any]:
        request = call.parameters
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
        package = await self._package("UpdateFunctionCode", request)
        await self._backend.unpack(package)
        try:
            # Other calls have been served meanwhile.
            function = self._of(call)
            self._check_revision(call, function)
            if request.get("DryRun"):
                self._backend.tidy()
                return ApiReply(200, function.configuration(call.region))
            function = self._functions.update_code(function, request, package)
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
        if call.qualified:
            raise invalid("This operation is permitted only on the function itself, without a qualifier.")
        wanted = call.parameters["ReservedConcurrentExecutions"]
        others = sum(f.reserved or 0 for f in self._functions if f.name != function.name)
        kept = self._backend.concurrency // UNRESERVED
        if wanted + others > self._backend.concurrency - kept:
            raise invalid(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{kept}]."
            )
        function = self._functions.reserve(function, wanted)
        self._backend.changed(function.name, function)
        return ApiReply(200, {"ReservedConcurrentExecutions": function.reserved})

    async def _get_concurrency(self, call: ApiCall) -> ApiReply:
        reserved = self._of(call).reserved
        return ApiReply(200, {} if reserved is None else {"ReservedConcurrentExecutions": reserved})

    async def _delete_concurrency(self, call: ApiCall) -> ApiReply:
        function = self._functions.reserve(self._of(call), None)
        self._backend.changed(function.name, function)
        return ApiReply(204)

    async def _put_event_config(self, call: ApiCall) -> ApiReply:
        function = self._functions.set_event_policy(self._of(call), call.parameters, keep=False)
        return ApiReply(200, function.event_configuration(call.region))

    async def _update_event_config(self, call: ApiCall) -> ApiReply:
        function = self._functions.set_event_policy(self._with_event_config(call), call.parameters, keep=True)
        return ApiReply(200, function.event_configuration(call.region))

    async def _get_event_config(self, call: ApiCall) -> ApiReply:
        return ApiReply(200, self._with_event_config(call).event_configuration(call.region))

    async def _list_event_configs(self, call: ApiCall) -> ApiReply:
        function = self._of(call)
        configured = [function.event_configuration(call.region)] if function.event_modified else []
        return ApiReply(200, {"FunctionEventInvokeConfigs": configured})

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

"""A request's function and settings are read here, beyond what the API's model says. Knows no function that exists."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from mu_twisted.local._errors import ApiError, invalid

VERSION = "$LATEST"
ACCOUNT = "000000000000"
LARGEST_ENVIRONMENT = 4096
"""Bytes of a function's variables as compact JSON, which AWS counts."""

_REFERENCE = re.compile(
    r"(?:(?:arn:[a-z-]+:lambda:(?P<region>[a-z0-9-]+):)?(?P<account>\d{12}):)?(?:function:)?"
    r"(?P<name>[A-Za-z0-9_-]{1,64})(?::(?P<version>[A-Za-z0-9$_-]{1,128}))?"
)
_RUNTIME = re.compile(r"python3\.\d{1,2}")
_RESERVED_VARIABLES = frozenset(
    (
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE",
        "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_FUNCTION_VERSION",
        "AWS_LAMBDA_INITIALIZATION_TYPE",
        "AWS_LAMBDA_LOG_GROUP_NAME",
        "AWS_LAMBDA_LOG_STREAM_NAME",
        "AWS_LAMBDA_RUNTIME_API",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    )
)


def function_name(reference: str, region: str, qualifier: str | None = None) -> tuple[str, bool]:
    """The name inside a name, a partial ARN or an ARN, and whether a version is named.

    :param region: of the request.
    :raises ApiError: 400 for no name at all, 404 for another region's or account's function, and for a version or alias
        other than ``$LATEST``.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ApiError(400, "ValidationException", f"'{reference[:200]}' is no function's name and no ARN of one.")
    if found["region"] not in (None, region):
        where = f"Functions from '{found['region']}' are not reachable in this region ('{region}')"
        raise ApiError(404, "ResourceNotFoundException", where)
    version = qualifier or found["version"]
    if found["account"] not in (None, ACCOUNT):
        raise ApiError(404, "ResourceNotFoundException", f"Function not found: {reference}: account {ACCOUNT} is here.")
    if version not in (None, VERSION):
        raise ApiError(404, "ResourceNotFoundException", f"Function not found: {reference}: only {VERSION} exists.")
    return found["name"], version is not None


def _variables(request: Mapping[str, Any]) -> dict[str, str] | None:
    environment = request.get("Environment")
    if environment is None:
        return None
    variables: dict[str, str] = environment.get("Variables") or {}
    reserved = sorted(_RESERVED_VARIABLES.intersection(variables))
    if reserved:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided contains reserved keys that are currently not supported for modification: {', '.join(reserved)}"
        )
    if len(json.dumps(variables, separators=(",", ":"), ensure_ascii=False).encode()) > LARGEST_ENVIRONMENT:
        raise invalid(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided exceeded the 4KB limit."
        )
    return dict(variables)


def settings_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a function that a checked request sets.

    :raises ApiError: 400 for a runtime that cannot run here, and for variables that AWS refuses.
    """
    runtime = request.get("Runtime")
    if runtime is not None and _RUNTIME.fullmatch(runtime) is None:
        raise invalid(f"Runtime {runtime} cannot run here: this Lambda's functions are Python's.")
    architectures = request.get("Architectures")
    found = {
        "handler": request.get("Handler"),
        "runtime": runtime,
        "role": request.get("Role"),
        "description": request.get("Description"),
        "timeout": request.get("Timeout"),
        "memory": request.get("MemorySize"),
        "storage": (request.get("EphemeralStorage") or {}).get("Size"),
        "architectures": None if architectures is None else tuple(architectures),
        "variables": _variables(request),
    }
    return {key: value for key, value in found.items() if value is not None}

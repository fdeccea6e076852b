"""A request's settings of a function are checked here as AWS checks them. Knows no function that exists."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mu_twisted.local._errors import ApiError, invalid

VERSION = "$LATEST"

_REFERENCE = re.compile(
    r"(?:(?:arn:[a-z-]+:lambda:[a-z0-9-]+:)?\d{12}:(?:function:)?|arn:[a-z-]+:lambda:[a-z0-9-]+:\d{12}:function:)?"
    r"([A-Za-z0-9_-]{1,64})(?::([A-Za-z0-9$_-]{1,128}))?"
)
_ROLE = re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[A-Za-z0-9+=,.@_/-]+")
_HANDLER = re.compile(r"\S{1,128}")
_VARIABLE = re.compile(r"[A-Za-z][A-Za-z0-9_]+")
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


def function_name(reference: str, qualifier: str | None = None) -> str:
    """The name inside a name, a partial ARN or an ARN.

    :raises ApiError: 400 for no name at all, 404 for a version or alias other than ``$LATEST``.
    """
    found = _REFERENCE.fullmatch(reference)
    if found is None:
        raise ApiError(400, "ValidationException", f"'{reference[:200]}' is no function's name and no ARN of one.")
    version = qualifier or found[2]
    if version not in (None, VERSION):
        raise ApiError(404, "ResourceNotFoundException", f"Function not found: {reference}: only {VERSION} exists.")
    return found[1]


def integer(request: Mapping[str, Any], key: str, low: int, high: int) -> int | None:
    """A number of a request, None where it is not named.

    :raises ApiError: 400 where it is no number from ``low`` to ``high``.
    """
    value = request.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise invalid(f"{key} must be a number from {low} to {high}, not {str(value)[:80]!r}.")
    return value


def _text(request: Mapping[str, Any], key: str, pattern: re.Pattern[str]) -> str | None:
    value = request.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise invalid(f"1 validation error detected: {key} {str(value)[:200]!r} must match {pattern.pattern}.")
    return value


def _variables(request: Mapping[str, Any]) -> dict[str, str] | None:
    environment = request.get("Environment")
    if environment is None:
        return None
    variables = environment.get("Variables", {}) if isinstance(environment, dict) else None
    if not isinstance(variables, dict) or not all(isinstance(v, str) for v in variables.values()):
        raise invalid("Environment.Variables must map names to texts.")
    for name in variables:
        if _VARIABLE.fullmatch(name) is None:
            raise invalid(f"Environment.Variables: {name[:80]!r} is no name of a variable.")
        if name in _RESERVED_VARIABLES:
            raise invalid(f"Lambda was unable to configure your environment variables: {name} is reserved.")
    if sum(len(k.encode()) + len(v.encode()) for k, v in variables.items()) > 4096:
        raise invalid("Lambda was unable to configure your environment variables: they exceed the 4KB limit.")
    return dict(variables)


def settings_of(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a request sets, checked."""
    storage = request.get("EphemeralStorage")
    if storage is not None and not isinstance(storage, dict):
        raise invalid("EphemeralStorage must be an object with Size.")
    found = {
        "handler": _text(request, "Handler", _HANDLER),
        "runtime": _text(request, "Runtime", re.compile(r"python3\.\d{1,2}")),
        "role": _text(request, "Role", _ROLE),
        "description": _text(request, "Description", re.compile(r"(?s).{0,256}")),
        "timeout": integer(request, "Timeout", 1, 900),
        "memory": integer(request, "MemorySize", 128, 10240),
        "storage": integer(storage or {}, "Size", 512, 10240),
        "variables": _variables(request),
    }
    return {key: value for key, value in found.items() if value is not None}

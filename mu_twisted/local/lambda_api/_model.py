"""A request of Lambda's API is found, read and checked here by botocore's own model of it.

Knows shapes and what of them is served; of functions it knows nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, cast
from urllib.parse import unquote

from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StringShape, StructureShape

from mu_twisted.base.json_types import Json
from mu_twisted.local._errors import ApiError, invalid
from mu_twisted.local._functions import IMAGES

SERVED: Mapping[str, frozenset[str]] = {
    operation: frozenset(members.split())
    for operation, members in {
        "CreateFunction": "FunctionName Runtime Role Handler Code Code.ZipFile Code.S3Bucket Code.S3Key "
        "Code.S3ObjectVersion Description Timeout MemorySize Environment Tags Architectures EphemeralStorage",
        "DeleteFunction": "FunctionName Qualifier",
        "DeleteFunctionConcurrency": "FunctionName",
        "DeleteFunctionEventInvokeConfig": "FunctionName Qualifier",
        "GetAccountSettings": "",
        "GetFunction": "FunctionName Qualifier",
        "GetFunctionConcurrency": "FunctionName",
        "GetFunctionConfiguration": "FunctionName Qualifier",
        "GetFunctionEventInvokeConfig": "FunctionName Qualifier",
        "Invoke": "FunctionName InvocationType LogType ClientContext Payload Qualifier",
        "ListFunctionEventInvokeConfigs": "FunctionName Marker MaxItems",
        "ListFunctions": "FunctionVersion Marker MaxItems",
        "ListTags": "Resource",
        "ListVersionsByFunction": "FunctionName Marker MaxItems",
        "PutFunctionConcurrency": "FunctionName ReservedConcurrentExecutions",
        "PutFunctionEventInvokeConfig": "FunctionName Qualifier MaximumRetryAttempts MaximumEventAgeInSeconds",
        "TagResource": "Resource Tags",
        "UntagResource": "Resource TagKeys",
        "UpdateFunctionCode": "FunctionName ZipFile S3Bucket S3Key S3ObjectVersion Architectures DryRun RevisionId",
        "UpdateFunctionConfiguration": "FunctionName Role Handler Description Timeout MemorySize Environment Runtime "
        "RevisionId EphemeralStorage",
        "UpdateFunctionEventInvokeConfig": "FunctionName Qualifier MaximumRetryAttempts MaximumEventAgeInSeconds",
    }.items()
}
"""The operations, and the members of their requests, nested ones with a dot where not all are served."""

_DEFAULTS = {("PackageType", "Zip"), ("Mode", "PassThrough"), ("ApplyOn", "None"), ("LogFormat", "Text")}
"""Members that are not served, with the value that asks for nothing."""

_TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "string": (str, "a text"),
    "double": ((int, float), "a number"),
    "float": ((int, float), "a number"),
    "integer": (int, "a whole number"),
    "long": (int, "a whole number"),
    "boolean": (bool, "true or false"),
    "structure": (dict, "an object"),
    "map": (dict, "an object"),
    "list": (list, "a list"),
}
"""What a value of a shape's type is in JSON."""


@dataclass(frozen=True)
class RoutedRequest:
    """An operation that a request's method and path name.

    :param operation: AWS's name of it.
    :param labels: parts of the path by the member that they are.
    """

    operation: str
    labels: Mapping[str, str]


class ApiModel:
    """botocore's model of Lambda's API, as the installed release has it."""

    def __init__(self) -> None:
        model = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
        self._operations: dict[str, OperationModel] = {name: model.operation_model(name) for name in SERVED}
        self._routes = [(op.http["method"], _pattern_of(op.http["requestUri"]), op) for op in self._operations.values()]

    def route(self, method: str, path: str) -> RoutedRequest:
        """Find the operation of a request.

        :param path: as it came, quoted.
        :raises ApiError: 404 where none is served there.
        """
        for verb, pattern, operation in self._routes:
            found = pattern.fullmatch(path)
            if found is not None and verb == method:
                return RoutedRequest(operation.name, {name: unquote(text) for name, text in found.groupdict().items()})
        raise ApiError(404, "UnknownOperationException", f"{path[:200]} is no operation that is served here.")

    def parameters(
        self, routed: RoutedRequest, query: Iterable[tuple[str, str]], headers: Mapping[str, str], body: bytes
    ) -> dict[str, Any]:
        """Read the members of a request, and check them as AWS does.

        :param query: names and values, unquoted.
        :param headers: by lower-case name.
        :returns: what is given, by member; a payload as its bytes.
        :raises ApiError: 400 ``SerializationException`` for what cannot be read, ``ValidationException`` for what the
            model does not allow, ``InvalidParameterValueException`` for what is not served here.
        """
        operation = self._operations[routed.operation]
        shape = operation.input_shape
        if shape is None:
            return {}
        query = list(query)
        given: dict[str, Any] = {}
        payload = shape.serialization.get("payload")
        for name, member in shape.members.items():
            where = member.serialization.get("location")
            key = member.serialization.get("name", name)
            match where:
                case "uri":
                    found: Any = routed.labels[key]
                case "querystring":
                    found = _from_text(name, member, [value for each, value in query if each == key])
                case "header":
                    found = headers.get(key.lower())
                case _:
                    continue
            if found is not None:
                given[name] = found
        if payload is not None:
            given[payload] = body
        else:
            given |= _object(body, shape)
        faults: list[str] = []
        _check(shape, given, "", faults, skip=payload)
        if faults:
            count = f"{len(faults)} validation error{'' if len(faults) == 1 else 's'} detected"
            raise ApiError(400, "ValidationException", f"{count}: {'; '.join(faults)}")
        _refuse_unserved(given, SERVED[operation.name])
        return given


def _pattern_of(uri: str) -> re.Pattern[str]:
    """A path of the model, as a pattern; AWS takes a slash behind it, too."""
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", uri.rstrip("/")) + "/?")


def _from_text(name: str, shape: Shape, values: list[str]) -> object:
    if shape.type_name == "list":
        return values or None
    if not values:
        return None
    if shape.type_name == "integer":
        if re.fullmatch(r"-?[0-9]{1,10}", values[-1]) is None:
            raise ApiError(400, "SerializationException", f"{name} must be a whole number, not {values[-1][:80]!r}.")
        return int(values[-1])
    return values[-1]


def _object(body: bytes, shape: StructureShape) -> dict[str, Any]:
    """The members that a JSON body gives; null stands for none."""
    in_body = {name for name, member in shape.members.items() if "location" not in member.serialization}
    if not body:
        return {}
    try:
        value = json.loads(body.decode())
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ApiError(400, "SerializationException", "The body must be a JSON object.")
    # Clients give a path's labels once more.
    unknown = [name for name in value if name not in shape.members]
    if unknown:
        raise ApiError(400, "ValidationException", f"{unknown[0][:80]} is no member of {shape.name}.")
    return {name: each for name, each in value.items() if name in in_body and each is not None}


def _check(shape: Shape, value: Json, path: str, faults: list[str], skip: str | None = None) -> None:
    """Add to ``faults`` what the model does not allow.

    :raises ApiError: 400 ``SerializationException`` for another type of JSON.
    """
    if shape.type_name == "blob":
        _check_blob(value, path)
        return
    kind, words = _TYPES[shape.type_name]
    fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    if not fits:
        raise ApiError(400, "SerializationException", f"{path} must be {words}, not {str(value)[:80]!r}.")
    shown = "***" if shape.metadata.get("sensitive") else repr(str(value)[:200])
    for broken in _broken(shape, value):
        faults.append(f"Value {shown} at '{path}' failed to satisfy constraint: {broken}")
    match shape:
        case StructureShape():
            for name in shape.required_members:
                if name not in value:
                    here = f"{path}.{_camel(name)}".lstrip(".")
                    faults.append(f"Value null at '{here}' failed to satisfy constraint: Member must not be null")
            for name, each in value.items():
                member = shape.members.get(name)
                if member is None:
                    raise ApiError(400, "ValidationException", f"{name[:80]} is no member of {shape.name}.")
                if name != skip and each is not None:
                    _check(member, each, f"{path}.{_camel(name)}".lstrip("."), faults)
        case MapShape():
            for name, each in value.items():
                _check(shape.key, name, f"{path}.{name[:80]}", faults)
                _check(shape.value, each, f"{path}.{name[:80]}", faults)
        case ListShape():
            for index, each in enumerate(value, 1):
                _check(shape.member, each, f"{path}.{index}.member", faults)


def _check_blob(value: object, path: str) -> None:
    try:
        base64.b64decode(cast("str", value), validate=True)
    except (binascii.Error, ValueError, TypeError):
        raise ApiError(400, "SerializationException", f"{path} must be base64.") from None


def _broken(shape: Shape, value: Json) -> list[str]:
    """The constraints that a value does not keep, in AWS's words."""
    bounds = shape.metadata
    if isinstance(value, int | float):
        words, size = "Member must have value", value
    else:
        words, size = "Member must have length", len(value)
    found = []
    if "min" in bounds and size < bounds["min"]:
        found.append(f"{words} greater than or equal to {bounds['min']}")
    if "max" in bounds and size > bounds["max"]:
        found.append(f"{words} less than or equal to {bounds['max']}")
    if isinstance(shape, StringShape):
        if shape.enum and value not in shape.enum:
            found.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
        if "pattern" in bounds and _compiled(bounds["pattern"]).fullmatch(value) is None:
            found.append(f"Member must satisfy regular expression pattern: {bounds['pattern']}")
    return found


_CLASSES = {
    r"\p{L}": r"\w",
    r"\p{N}": r"\d",
    r"\p{Z}": r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000",
}
"""Unicode's classes, which the model's patterns have and Python's do not."""


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    for theirs, ours in _CLASSES.items():
        pattern = pattern.replace(theirs, ours)
    return re.compile(pattern)


def _camel(name: str) -> str:
    return name[:1].lower() + name[1:]


def _refuse_unserved(given: Mapping[str, Any], served: frozenset[str]) -> None:
    """Nothing that is asked for is dropped without a word.

    :raises ApiError: 400 for a member that is not served and asks for something.
    """
    for name, value in given.items():
        if name not in served:
            _refuse(name, value)
        elif isinstance(value, dict) and any(each.startswith(f"{name}.") for each in served):
            for inner, each in value.items():
                if f"{name}.{inner}" not in served:
                    _refuse(inner, each)


def _refuse(name: str, value: object) -> None:
    if _asks_nothing(name, value):
        return
    if name in ("PackageType", "ImageUri", "ImageConfig"):
        raise invalid(IMAGES)
    raise invalid(f"{name} is not served by the embedded Lambda: leave it out.")


def _asks_nothing(name: str, value: object) -> bool:
    if isinstance(value, dict):
        return all(_asks_nothing(inner, each) for inner, each in value.items())
    return not value or (isinstance(value, str) and (name, value) in _DEFAULTS)

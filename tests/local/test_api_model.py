"""Requests of Lambda's API, against botocore's own model of it: what AWS refuses is refused, and nothing is dropped."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ServiceModel, Shape
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.local import ApiError
from mu_twisted.local.lambda_api._model import SERVED, ApiModel, RoutedRequest, _compiled

MODEL = ApiModel()
SERVICE = ServiceModel(Loader().load_service_model("lambda", "service-2"), "lambda")
ROLE = "arn:aws:iam::000000000000:role/any"
LEAST = {
    "FunctionName": "f",
    "Role": ROLE,
    "Code": {"ZipFile": "UEs="},
    "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f",
    "Tags": {"a": "b"},
    "TagKeys": ["a"],
    "ReservedConcurrentExecutions": 1,
}
"""What requests must have, if they have it."""


def members(operation: str) -> Mapping[str, Shape]:
    shape = SERVICE.operation_model(operation).input_shape
    return {} if shape is None else shape.members


def read(operation: str, **request: Any) -> dict[str, Any]:
    """Read a request, each member of it where the model has it."""
    labels, query, headers, body = {}, [], {}, {}
    least = {name: value for name, value in LEAST.items() if name in members(operation)}
    payload = b""
    for name, value in {**least, **request}.items():
        where = members(operation)[name].serialization if name in members(operation) else {}
        key = where.get("name", name)
        match where.get("location"):
            case "uri":
                labels[key] = str(value)
            case "querystring":
                query += [(key, str(each)) for each in (value if isinstance(value, list) else [value])]
            case "header":
                headers[key.lower()] = str(value)
            case _ if name == "Payload":
                payload = value
            case _:
                body[name] = value
    sent = payload or (json.dumps(body).encode() if body else b"")
    return MODEL.parameters(RoutedRequest(operation, labels), query, headers, sent)


def refusal(operation: str, **request: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        read(operation, **request)
    assert refused.value.status == 400
    return refused.value


@pytest.mark.parametrize("operation", SERVED)
def test_what_is_served_is_in_the_model(operation: str) -> None:
    known = members(operation)
    for path in SERVED[operation]:
        name, _, inner = path.partition(".")
        assert name in known
        assert not inner or inner in known[name].members  # type: ignore[attr-defined]


@pytest.mark.parametrize("operation", SERVED)
def test_an_operation_is_found_by_the_models_method_and_path(operation: str) -> None:
    http = SERVICE.operation_model(operation).http
    path = http["requestUri"].replace("{FunctionName}", "a%3Ab").replace("{Resource}", "arn%3Ax")
    for form in (path, path.rstrip("/"), f"{path.rstrip('/')}/"):
        routed = MODEL.route(http["method"], form)
        assert routed.operation == operation
        assert set(routed.labels.values()) <= {"a:b", "arn:x"}
    for other in ("HEAD", "PATCH"):
        with pytest.raises(ApiError) as refused:
            MODEL.route(other, path)
        assert (refused.value.status, refused.value.code) == (404, "UnknownOperationException")


@pytest.mark.parametrize(
    ("operation", "request_", "words"),
    [
        ("CreateFunction", {"Timeout": 0}, "Value '0' at 'timeout' .* greater than or equal to 1"),
        ("CreateFunction", {"MemorySize": 127}, "'memorySize' .* greater than or equal to 128"),
        ("CreateFunction", {"EphemeralStorage": {"Size": 511}}, "'ephemeralStorage.size' .* 512"),
        ("CreateFunction", {"EphemeralStorage": {}}, "null at 'ephemeralStorage.size' .* must not be null"),
        ("CreateFunction", {"Architectures": ["sparc"]}, r"'architectures.1.member' .* \[x86_64, arm64\]"),
        ("CreateFunction", {"Architectures": ["arm64", "x86_64"]}, "'architectures' .* length less than or equal to 1"),
        ("CreateFunction", {"Runtime": "python3.99"}, "'runtime' .* enum value set"),
        ("CreateFunction", {"Role": "any"}, "'role' .* regular expression pattern"),
        ("CreateFunction", {"Handler": "a b"}, "'handler' .* regular expression pattern"),
        ("CreateFunction", {"Handler": "a" * 129}, "'handler' .* length less than or equal to 128"),
        ("CreateFunction", {"Environment": {"Variables": {"1x": "y"}}}, "environment.variables.1x"),
        ("CreateFunction", {"FunctionName": "a b"}, "'functionName' .* regular expression pattern"),
        ("CreateFunction", {"Timeout": 0, "MemorySize": 1}, "2 validation errors detected"),
        ("PutFunctionConcurrency", {"ReservedConcurrentExecutions": -1}, "greater than or equal to 0"),
        ("PutFunctionConcurrency", {"ReservedConcurrentExecutions": None}, "must not be null"),
        ("PutFunctionEventInvokeConfig", {"MaximumRetryAttempts": 3}, "less than or equal to 2"),
        ("UpdateFunctionEventInvokeConfig", {"MaximumEventAgeInSeconds": 59}, "greater than or equal to 60"),
        ("ListFunctions", {"MaxItems": 0}, "'maxItems' .* greater than or equal to 1"),
        ("ListFunctions", {"FunctionVersion": "NONE"}, r"'functionVersion' .* \[ALL\]"),
        ("Invoke", {"InvocationType": "Later"}, "'invocationType' .* enum value set"),
        ("Invoke", {"LogType": "Head"}, "'logType' .* enum value set"),
        ("Invoke", {"Qualifier": "?"}, "'qualifier' .* pattern"),
        ("TagResource", {"Resource": "f"}, "'resource' .* pattern"),
        ("CreateFunction", {"Memory": 128}, "Memory is no member of CreateFunctionRequest"),
        ("CreateFunction", {"Environment": {"variables": {}}}, "variables is no member of Environment"),
        ("UpdateFunctionConfiguration", {"Code": {}}, "Code is no member of UpdateFunctionConfigurationRequest"),
    ],
)
def test_what_the_model_does_not_allow_is_a_validation_error(
    operation: str, request_: dict[str, Any], words: str
) -> None:
    error = refusal(operation, **request_)
    assert error.code == "ValidationException"
    with pytest.raises(ApiError, match=words):
        raise error


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("CreateFunction", {"Timeout": "5"}),
        ("CreateFunction", {"Timeout": True}),
        ("CreateFunction", {"Timeout": 1.5}),
        ("CreateFunction", {"Description": 5}),
        ("CreateFunction", {"Environment": []}),
        ("CreateFunction", {"Tags": {"a": 1}}),
        ("CreateFunction", {"Architectures": "arm64"}),
        ("CreateFunction", {"Code": {"ZipFile": "%"}}),
        ("CreateFunction", {"Code": {"ZipFile": 5}}),
        ("UpdateFunctionCode", {"ZipFile": "a"}),
        ("UpdateFunctionCode", {"DryRun": "yes"}),
        ("ListFunctions", {"MaxItems": "many"}),
        ("ListFunctions", {"MaxItems": "\u0665"}),
    ],
)
def test_what_is_of_another_type_cannot_be_read(operation: str, request_: dict[str, Any]) -> None:
    assert refusal(operation, **request_).code == "SerializationException"


@pytest.mark.parametrize("body", [b"{", b"[]", b"5", b'"\xff"', "{}".encode("utf-16"), b"[" * 100_000, b"null"])
def test_a_body_that_is_no_object_cannot_be_read(body: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        MODEL.parameters(RoutedRequest("PutFunctionConcurrency", {"FunctionName": "f"}), [], {}, body)
    assert (refused.value.status, refused.value.code) == (400, "SerializationException")


UNSERVED = [
    (operation, name) for operation, served in SERVED.items() for name in members(operation) if name not in served
]


def example(shape: Shape) -> Any:
    """A value that the model allows, and that asks for something."""
    match shape.type_name:
        case "structure":
            return {name: example(member) for name, member in shape.members.items()}  # type: ignore[attr-defined]
        case "list":
            return [example(shape.member)]  # type: ignore[attr-defined]
        case "map":
            return {example(shape.key): example(shape.value)}  # type: ignore[attr-defined]
        case "boolean":
            return True
        case "integer" | "long" | "double":
            return shape.metadata.get("max", 1)
        case "blob":
            return base64.b64encode(b"x").decode()
    choices = [value for value in getattr(shape, "enum", ()) if value not in ("Zip", "PassThrough", "None", "Text")]
    return choices[-1] if choices else EXAMPLES.get(shape.name, "x" * max(3, shape.metadata.get("min", 3)))


REGION = "us-east-1"
EXAMPLES = {
    "LayerVersionArn": f"arn:aws:lambda:{REGION}:000000000000:layer:one:1",
    "SubnetId": "subnet-0123",
    "SecurityGroupId": "sg-0123",
    "ResourceArn": f"arn:aws:sqs:{REGION}:000000000000:q",
    "KMSKeyArn": f"arn:aws:kms:{REGION}:000000000000:key/k",
    "FileSystemArn": f"arn:aws:elasticfilesystem:{REGION}:000000000000:access-point/fsap-{'0' * 17}",
    "LocalMountPath": "/mnt/one",
    "CodeSigningConfigArn": f"arn:aws:lambda:{REGION}:000000000000:code-signing-config:csc-{'0' * 17}",
    "RuntimeVersionArn": f"arn:aws:lambda:{REGION}::runtime:{'0' * 64}",
    "DestinationArn": f"arn:aws:sqs:{REGION}:000000000000:q",
    "MasterRegion": "ALL",
}


@pytest.mark.parametrize(("operation", "name"), UNSERVED)
def test_what_is_not_served_is_refused_and_not_dropped(operation: str, name: str) -> None:
    error = refusal(operation, **{name: example(members(operation)[name])})
    assert error.code in ("InvalidParameterValueException", "ValidationException")
    if error.code == "InvalidParameterValueException":
        assert "is not served by the embedded Lambda" in error.message or "Container images cannot run" in error.message


@pytest.mark.parametrize(
    "request_",
    [
        {"PackageType": "Zip"},
        {"Publish": False},
        {"Layers": []},
        {"VpcConfig": {"SubnetIds": [], "SecurityGroupIds": []}},
        {"TracingConfig": {"Mode": "PassThrough"}},
        {"SnapStart": {"ApplyOn": "None"}},
        {"LoggingConfig": {"LogFormat": "Text"}},
        {"DeadLetterConfig": {}},
        {"KMSKeyArn": ""},
        {"Layers": None},
    ],
)
def test_what_asks_for_nothing_is_taken(request_: dict[str, Any]) -> None:
    read("CreateFunction", **request_)


def test_what_the_model_allows_is_taken() -> None:
    known = members("CreateFunction")
    most = {name: known[name].metadata["max"] for name in ("Timeout", "MemorySize")}
    assert read("CreateFunction", **most)["Timeout"] == most["Timeout"]
    assert read("Invoke", Payload=b"\xff{")["Payload"] == b"\xff{"
    assert read("UntagResource", TagKeys=["a", "b"])["TagKeys"] == ["a", "b"]


@pytest.mark.parametrize("operation", SERVICE.operation_names)
def test_every_pattern_of_the_model_can_be_read(operation: str) -> None:
    """Also where its operation is served one day."""
    waiting: list[Shape] = [SERVICE.operation_model(operation).input_shape]
    seen: set[str] = set()
    while waiting:
        shape = waiting.pop()
        if shape is None or shape.name in seen:
            continue
        seen.add(shape.name)
        if "pattern" in shape.metadata:
            _compiled(shape.metadata["pattern"])
        waiting += getattr(shape, "members", {}).values()
        waiting += [inner for inner in (getattr(shape, name, None) for name in ("member", "key", "value")) if inner]


@pytest.mark.parametrize("tag", ["team", "a b", "\u00e9t\u00e9", "x=1+2@c:/_.-"])
def test_a_tag_has_letters_numbers_and_spaces_of_any_script(tag: str) -> None:
    assert read("TagResource", Tags={tag: tag})["Tags"] == {tag: tag}
    assert refusal("TagResource", Tags={f"{tag}!": "x"}).code == "ValidationException"
    assert refusal("TagResource", Tags={"x": "y" * 257}).code == "ValidationException"


def test_a_secret_value_is_not_repeated() -> None:
    error = refusal("CreateFunction", Code={"ZipFile": "UEs="}, Environment={"Variables": {"1": "hunter2"}})
    assert "hunter2" not in error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(sorted(SERVED)), st.data())
def test_any_request_is_read_or_refused(operation: str, data: st.DataObject) -> None:
    names = st.sampled_from(sorted(members(operation)) or ["X"]) | st.text(max_size=10)
    request = data.draw(st.dictionaries(names, JSON, max_size=4))
    body = data.draw(st.just(json.dumps(request).encode()) | st.binary(max_size=40))
    query = data.draw(st.lists(st.tuples(names, st.text(max_size=10)), max_size=3))
    labels = {name: data.draw(st.text(max_size=20)) for name in ("FunctionName", "Resource")}
    headers = {"x-amz-invocation-type": data.draw(st.text(max_size=10))}
    with suppress(ApiError):
        found = MODEL.parameters(RoutedRequest(operation, labels), query, headers, body)
        assert set(found) <= set(members(operation))

"""Functions are stored here: checked as AWS checks them, kept in the state directory, shown in AWS's shape.

Knows nothing of environments. Code is a zip, stored by its SHA-256 beside the functions that name it.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from botocore.exceptions import UnknownRegionError
from botocore.loaders import Loader
from botocore.regions import EndpointResolver

from mu_twisted.base.json_types import JsonObject
from mu_twisted.local._errors import ApiError, LocalError, invalid
from mu_twisted.local._events import DEFAULT_AGE, DEFAULT_RETRIES, EventPolicy
from mu_twisted.local._function_requests import ACCOUNT, VERSION, function_name, settings_of

IMAGES = "Container images cannot run here: make the function of a zip (PackageType Zip)."


MOST_TAGS = 50


def function_arn(name: str, region: str) -> str:
    """A function's ARN, in the partition of its region by botocore's data.

    :param name: of the function.
    """
    return f"arn:{_partition_of(region)}:lambda:{region}:{ACCOUNT}:function:{name}"


@lru_cache(maxsize=64)  # callers name the region
def _partition_of(region: str) -> str:
    try:
        return str(_endpoints().get_partition_for_region(region))
    except UnknownRegionError:
        return "aws"


@cache
def _endpoints() -> EndpointResolver:
    return EndpointResolver(Loader().load_data("endpoints"))


def tagged(tags: Mapping[str, str], more: Mapping[str, str]) -> dict[str, str]:
    """Tags with others added.

    :raises ApiError: 400 for more of them than AWS keeps, or a name of AWS's own.
    """
    own = [name for name in more if name.lower().startswith("aws:")]
    if own:
        raise invalid(f"Tag keys that begin with aws: are AWS's own: {own[0][:80]}")
    found = {**tags, **more}
    if len(found) > MOST_TAGS:
        raise invalid(f"A function has at most {MOST_TAGS} tags.")
    return found


@dataclass(frozen=True)
class Function:
    """One function as configured now. A change makes a new one with a new ``revision``.

    :param timeout: seconds.
    :param memory: MB.
    :param storage: MB of temporary files that the function asks for; not enforced here.
    :param code: SHA-256 of the zip, in hexadecimal.
    :param reserved: concurrency reserved for it, or None.
    """

    name: str
    handler: str
    runtime: str
    role: str
    code: str
    code_size: int
    description: str = ""
    timeout: int = 3
    memory: int = 128
    storage: int = 512
    variables: Mapping[str, str] = field(default_factory=dict)
    architectures: tuple[str, ...] = ("x86_64",)
    modified: str = ""
    revision: str = ""
    reserved: int | None = None
    retries: int | None = None
    age: int | None = None
    event_modified: float = 0.0
    tags: Mapping[str, str] = field(default_factory=dict)

    def policy(self) -> EventPolicy:
        """What its event-invoke configuration says, or AWS's defaults."""
        return EventPolicy(
            DEFAULT_RETRIES if self.retries is None else self.retries,
            DEFAULT_AGE if self.age is None else float(self.age),
        )

    def arn(self, region: str) -> str:
        return function_arn(self.name, region)

    def configuration(self, region: str, *, qualified: bool = False) -> JsonObject:
        """AWS's ``FunctionConfiguration``.

        :param qualified: whether its ARN names the version.
        """
        shown: JsonObject = {
            "FunctionName": self.name,
            "FunctionArn": f"{self.arn(region)}:{VERSION}" if qualified else self.arn(region),
            "Runtime": self.runtime,
            "Role": self.role,
            "Handler": self.handler,
            "CodeSize": self.code_size,
            "Description": self.description,
            "Timeout": self.timeout,
            "MemorySize": self.memory,
            "LastModified": self.modified,
            "CodeSha256": base64.b64encode(bytes.fromhex(self.code)).decode(),
            "Version": VERSION,
            "TracingConfig": {"Mode": "PassThrough"},
            "RevisionId": self.revision,
            "State": "Active",
            "LastUpdateStatus": "Successful",
            "PackageType": "Zip",
            "Architectures": list(self.architectures),
            "EphemeralStorage": {"Size": self.storage},
            "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{self.name}"},
        }
        if self.variables:
            shown["Environment"] = {"Variables": dict(self.variables)}
        return shown

    def event_configuration(self, region: str) -> JsonObject:
        """AWS's ``FunctionEventInvokeConfig``."""
        shown: JsonObject = {"FunctionArn": f"{self.arn(region)}:{VERSION}", "LastModified": self.event_modified}
        if self.retries is not None:
            shown["MaximumRetryAttempts"] = self.retries
        if self.age is not None:
            shown["MaximumEventAgeInSeconds"] = self.age
        return shown


class FunctionStore:
    """All functions, in memory and as one JSON file and one zip each.

    :param directory: where they are kept; made if it is not there.
    :raises LocalError: what is kept of a function is damaged. All is as it was then.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._functions: dict[str, Function] = {}
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        for path in directory.glob("*.json"):
            try:
                found = json.loads(path.read_bytes())
                found["architectures"] = tuple(found["architectures"])
                function = Function(**found)
            except (ValueError, TypeError, KeyError, RecursionError):
                raise LocalError(
                    f"{path} describes no function, it is damaged: bring back a copy, or delete it and make the "
                    "function again"
                ) from None
            if self.zip_path(function.code).exists():
                self._functions[function.name] = function
        self._sweep()

    def __iter__(self) -> Iterator[Function]:
        return iter(sorted(self._functions.values(), key=lambda function: function.name))

    def find(self, name: str) -> Function | None:
        return self._functions.get(name)

    def get(self, name: str, region: str) -> Function:
        """:raises ApiError: 404 where there is none."""
        function = self._functions.get(name)
        if function is None:
            raise ApiError(404, "ResourceNotFoundException", f"Function not found: {function_arn(name, region)}")
        return function

    def zip_path(self, code: str) -> Path:
        return self._directory / f"{code}.zip"

    def check_new(self, request: Mapping[str, Any], region: str) -> JsonObject:
        """What a checked ``CreateFunction`` request says of a function, all but its code.

        :raises ApiError: 400 for a parameter that will not do, 409 where the name is taken.
        """
        name, _ = function_name(request["FunctionName"], region)
        settings = {"tags": tagged({}, request.get("Tags") or {}), **settings_of(request)}
        for key, field_name in (("Role", "role"), ("Handler", "handler"), ("Runtime", "runtime")):
            if field_name not in settings:
                raise invalid(f"{key} must be given.")
        if name in self._functions:
            raise ApiError(409, "ResourceConflictException", f"Function already exist: {name}")
        return {"name": name, **settings}

    def create(self, request: Mapping[str, Any], region: str, code: bytes) -> Function:
        """Make a function of a ``CreateFunction`` request and its zip.

        :param code: the zip, which has been unpacked once: it is not checked again.
        :raises ApiError: as :meth:`check_new`.
        """
        settings = self.check_new(request, region)
        return self._put_code(lambda digest: Function(code=digest, code_size=len(code), **settings), code)

    def update_configuration(self, function: Function, request: Mapping[str, Any]) -> Function:
        """Apply ``UpdateFunctionConfiguration``."""
        return self._put(replace(function, **settings_of(request)), touch=True)

    def update_code(self, function: Function, request: Mapping[str, Any], code: bytes) -> Function:
        """Apply ``UpdateFunctionCode``.

        :param code: the zip, which has been unpacked once: it is not checked again.
        """
        settings = settings_of(request)
        return self._put_code(lambda digest: replace(function, code=digest, code_size=len(code), **settings), code)

    def reserve(self, function: Function, concurrency: int | None) -> Function:
        """Apply ``PutFunctionConcurrency``; None takes the reservation away."""
        return self._put(replace(function, reserved=concurrency))

    def tag(self, function: Function, tags: Mapping[str, str]) -> Function:
        """Apply ``TagResource``.

        :raises ApiError: 400 for more tags than AWS keeps, or a name of AWS's own.
        """
        return self._put(replace(function, tags=tagged(function.tags, tags)))

    def untag(self, function: Function, names: Sequence[str]) -> Function:
        """Apply ``UntagResource``."""
        return self._put(replace(function, tags={k: v for k, v in function.tags.items() if k not in names}))

    def set_event_policy(self, function: Function, request: Mapping[str, Any], *, keep: bool) -> Function:
        """Apply ``PutFunctionEventInvokeConfig``, or ``Update...`` where ``keep`` leaves what is not named."""
        retries, age = request.get("MaximumRetryAttempts"), request.get("MaximumEventAgeInSeconds")
        if keep:
            retries = function.retries if retries is None else retries
            age = function.age if age is None else age
        modified = datetime.now(UTC).timestamp()
        return self._put(replace(function, retries=retries, age=age, event_modified=modified))

    def clear_event_policy(self, function: Function) -> Function:
        """Apply ``DeleteFunctionEventInvokeConfig``."""
        return self._put(replace(function, retries=None, age=None, event_modified=0.0))

    def delete(self, function: Function) -> None:
        """Forget a function, and its code where no other has the same."""
        del self._functions[function.name]
        (self._directory / f"{function.name}.json").unlink(missing_ok=True)
        self._sweep()

    def _put(self, function: Function, *, touch: bool = False) -> Function:
        if touch:
            modified = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
            function = replace(function, modified=modified, revision=str(uuid.uuid4()))
        _write(self._directory / f"{function.name}.json", json.dumps(asdict(function)).encode())
        self._functions[function.name] = function
        if touch:
            self._sweep()
        return function

    def _put_code(self, make: Callable[[str], Function], code: bytes) -> Function:
        """A function with this code. Where it is refused, or the disk takes no more, no code is left over."""
        digest = hashlib.sha256(code).hexdigest()
        function = make(digest)
        path = self.zip_path(digest)
        try:
            if not path.exists():
                _write(path, code)
            return self._put(function, touch=True)
        except OSError:
            self._sweep()
            raise

    def _sweep(self) -> None:
        used = {function.code for function in self._functions.values()}
        for path in self._directory.glob("*.zip"):
            if path.stem not in used:
                path.unlink(missing_ok=True)


def _write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, readable by its owner only."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def execution_environment() -> str:
    """What ``AWS_EXECUTION_ENV`` says: the Python that runs the function, even where ``Runtime`` names another."""
    return f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}"

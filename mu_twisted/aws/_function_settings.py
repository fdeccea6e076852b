"""The settings of a function are described here as mu asks for them and as Lambda has them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types_boto3_lambda.literals import ArchitectureType, RuntimeType
    from types_boto3_lambda.type_defs import (
        FunctionConfigurationResponseTypeDef,
        FunctionConfigurationTypeDef,
        UpdateFunctionConfigurationRequestTypeDef,
    )

HANDLER = "worker_lambda.lambda_function.lambda_handler"
"""Entry of every function that is made of our package."""
ORIGINAL_HANDLER = "lambda_function.lambda_handler"
"""Entry of functions that the original's lambdaize.sh made."""
RUNTIME = "python3.13"
LOCAL_ROLE = "arn:aws:iam::000000000000:role/mu-local"
"""Role of functions on the embedded endpoint, which ignores it."""


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """The settings of a new function.

    :param name: its name.
    :param role: ARN of its execution role.
    :param memory_mb: memory in MB, 128 to 10,240.
    :param timeout: how long one invocation may run, at most 15 minutes.
    :param runtime: Lambda's identifier, as the user gives it; a function of an image has none.
    :param architecture: ``x86_64`` or ``arm64``.
    :param tmp_mb: MB of temporary files, 512 to 10,240.
    """

    name: str
    role: str = LOCAL_ROLE
    memory_mb: int = 1536
    timeout: timedelta = timedelta(seconds=180)
    runtime: str = RUNTIME
    architecture: str = "x86_64"
    tmp_mb: int = 512
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class FunctionChanges:
    """Changes to the settings of a function; None: a setting stays as it is. Units as in :class:`FunctionSpec`."""

    role: str | None = None
    memory_mb: int | None = None
    timeout: timedelta | None = None
    runtime: str | None = None
    architecture: str | None = None
    tmp_mb: int | None = None
    description: str | None = None

    def request(self, name: str) -> UpdateFunctionConfigurationRequestTypeDef | None:
        """The request that makes these changes; None if no setting changes that it can set.

        :param name: of the function.
        """
        request: UpdateFunctionConfigurationRequestTypeDef = {"FunctionName": name}
        if self.role is not None:
            request["Role"] = self.role
        if self.memory_mb is not None:
            request["MemorySize"] = self.memory_mb
        if self.timeout is not None:
            request["Timeout"] = int(self.timeout.total_seconds())
        if self.runtime is not None:
            request["Runtime"] = runtime_named(self.runtime)
        if self.tmp_mb is not None:
            request["EphemeralStorage"] = {"Size": self.tmp_mb}
        if self.description is not None:
            request["Description"] = self.description
        return request if len(request) > 1 else None


def entry_of(function: FunctionConfigurationTypeDef | FunctionConfigurationResponseTypeDef) -> str | None:
    """The handler of a function, also of an image whose command it is; None if it has none.

    :param function: what Lambda says of it.
    """
    command = function.get("ImageConfigResponse", {}).get("ImageConfig", {}).get("Command")
    return function.get("Handler") or (command[0] if command else None)


def is_image(function: FunctionConfigurationTypeDef) -> bool:
    """Whether a function is made of a container image."""
    return function.get("PackageType") == "Image"


def runtime_named(name: str) -> RuntimeType:
    # The stubs list the runtimes of their day; Lambda refuses what it does not know, by name.
    return cast("RuntimeType", name)


def architecture_named(name: str) -> ArchitectureType:
    return cast("ArchitectureType", name)

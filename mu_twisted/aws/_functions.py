"""Functions of our package: made so that a coordinator can work with them, given other code, listed and removed."""

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.metadata import version
from typing import Any

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._errors import AWSError, error_code, is_unsupported, one_line

HANDLER = "worker_lambda.lambda_function.lambda_handler"
ORIGINAL_HANDLER = "lambda_function.lambda_handler"
"""Of functions that the original's lambdaize.sh made."""
"""Entry of every function that is made of our package."""
RUNTIME = "python3.13"
LOCAL_ROLE = "arn:aws:iam::000000000000:role/mu-local"
"""Role of functions on the embedded endpoint, where nobody looks at it."""
MAX_DIRECT_UPLOAD = 50 << 20
"""Largest zip that Lambda takes in the request itself, bytes (AWS: "Lambda quotas")."""
TAG = "mu-twisted"
"""Every function that we make has this tag; its value is the version that made it."""
UPLOAD_PREFIX = "mu-twisted/"
"""Of the keys of packages that go to Lambda through S3."""
RETRIES, AGE = 0, 60
"""What Lambda may do with an event that it could not run: nothing, and for how many seconds it keeps one."""

_ROLE_PATIENCE = 30.0
"""Seconds that a role which was just made takes to be known everywhere."""
_ROLE_PAUSE = 3.0
_UPDATE_PATIENCE = 120.0
"""Seconds for which an update that is in progress is waited for."""
_UPDATE_PAUSE = 1.0


@dataclass(frozen=True, kw_only=True)
class FunctionSpec:
    """A function as it is to be.

    :param role: ARN of its execution role.
    :param memory_mb: memory in MB, 128 to 10,240.
    :param timeout: how long one invocation may run, at most 15 minutes.
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
    """What becomes of a function beside its code; None: that stays as it is. Units as in :class:`FunctionSpec`."""

    role: str | None = None
    memory_mb: int | None = None
    timeout: timedelta | None = None
    runtime: str | None = None
    architecture: str | None = None
    tmp_mb: int | None = None
    description: str | None = None

    def configuration(self) -> dict[str, Any]:
        """What ``UpdateFunctionConfiguration`` is to be given, but for the function's name."""
        wanted = {
            "Role": self.role,
            "MemorySize": self.memory_mb,
            "Timeout": None if self.timeout is None else int(self.timeout.total_seconds()),
            "Runtime": self.runtime,
            "EphemeralStorage": None if self.tmp_mb is None else {"Size": self.tmp_mb},
            "Description": self.description,
        }
        return {key: value for key, value in wanted.items() if value is not None}


class Functions:
    """Makes, updates, lists and removes functions in one region. Every method blocks; each raises :class:`AWSError`.

    :param direct: bytes of a zip up to which it goes in the request itself.
    :param sleep: waits for so many seconds.
    """

    def __init__(
        self, clients: Clients, *, direct: int = MAX_DIRECT_UPLOAD, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.region = clients.region
        self._where = clients.where
        self._clients = clients
        self._direct = direct
        self._sleep = sleep

    def create(self, spec: FunctionSpec, package: bytes, *, bucket: str | None = None) -> dict[str, Any]:
        """Make a function, never retried by Lambda, and wait until it can be invoked.

        :param package: the zip, as :func:`build_package` makes it.
        :param bucket: in this region, through which a zip goes that is too large for a request; it does not stay there.
        :returns: what Lambda says of it: FunctionName, FunctionArn, CodeSize, CodeSha256, ...
        :raises AWSError: it could not be made; then there is none.
        """
        self._check_size(package, bucket)
        with self._code(package, bucket) as code, one_line(f"create function {spec.name} in {self._where}"):
            made = self._made(spec, code)
        try:
            with one_line(f"set up function {spec.name} in {self._where}"):
                self._settle(spec.name)
        except AWSError:
            with contextlib.suppress(AWSError):
                self.remove(spec.name)
            raise
        made.pop("ResponseMetadata", None)
        return made

    def find(self, name: str) -> dict[str, Any] | None:
        """What Lambda says of a function of our package; None if there is none of this name.

        :raises AWSError: there is one, but it is another's.
        """
        with one_line(f"look up function {name} in {self._where}"):
            found = self._configuration(name)
        if found is not None and found.get("Handler") != HANDLER:
            raise AWSError(f"function {name} in {self._where} is not one that mu has made: choose another --name")
        return found

    def replace(
        self, name: str, package: bytes, changes: FunctionChanges, *, bucket: str | None = None
    ) -> dict[str, Any]:
        """Give a function that is there other code, and wait until it runs that. An update in progress is waited for.

        Where the code is refused all stays as it was.

        :param package: as for :meth:`create`, as is ``bucket``.
        :param changes: of its settings; the others stay.
        :returns: what Lambda says of it, as :meth:`create`.
        :raises AWSError: it could not be changed; the text says whether it has the new code.
        """
        self._check_size(package, bucket)
        with self._code(package, bucket) as code, one_line(f"replace the code of function {name} in {self._where}"):
            before = self._ready(name)
            other = changes.architecture not in (None, *(before.get("Architectures") or ["x86_64"]))
            asked = {"Architectures": [changes.architecture]} if other else {}
            self._update(self._clients.awslambda.update_function_code, FunctionName=name, **code, **asked)
            self._check_updated(name)
        with one_line(f"change the settings of function {name} in {self._where}, which has the new code"):
            if settings := changes.configuration():
                self._update(self._clients.awslambda.update_function_configuration, FunctionName=name, **settings)
                self._check_updated(name)
            self._settle(name)
            made = self._configuration(name) or {}
        with one_line(f"tag function {name} in {self._where}"), _tolerating_unsupported():
            self._clients.awslambda.tag_resource(Resource=made["FunctionArn"], Tags={TAG: version("mu-twisted")})
        return made

    def list(self) -> list[dict[str, Any]]:
        """The functions here that mu made: what Lambda says of each, by name."""
        with one_line(f"list the functions in {self._where}"):
            pages = self._clients.awslambda.get_paginator("list_functions").paginate()
            found = [function for page in pages for function in page["Functions"]]
            ours = [function for function in found if function.get("Handler") == HANDLER]
            return sorted(
                (function for function in ours if self._is_tagged(function)), key=lambda each: str(each["FunctionName"])
            )

    def remove(self, name: str) -> None:
        """Delete a function, whoever made it."""
        with one_line(f"remove function {name} in {self._where}"):
            self._clients.awslambda.delete_function(FunctionName=name)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_size(self, package: bytes, bucket: str | None) -> None:
        if len(package) > self._direct and bucket is None:
            raise AWSError(
                f"the zip has {len(package) / (1 << 20):.0f} MiB, more than the {self._direct >> 20} that a request "
                "may hold: give --code-bucket, an S3 bucket in the function's region for it to go through"
            )

    def _configuration(self, name: str) -> dict[str, Any] | None:
        from botocore.exceptions import ClientError

        try:
            return dict(self._clients.awslambda.get_function(FunctionName=name)["Configuration"])
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise

    def _ready(self, name: str) -> dict[str, Any]:
        """Wait until the function can be updated.

        :raises AWSError: it takes too long, or there is none any more.
        """
        waited = 0.0
        while True:
            found = self._configuration(name)
            if found is None:
                raise AWSError(f"there is no function {name} in {self._where} any more")
            if found.get("State") != "Pending" and found.get("LastUpdateStatus") != "InProgress":
                return found
            if waited >= _UPDATE_PATIENCE:
                raise AWSError(f"function {name} in {self._where} is being updated: try again when that is done")
            self._sleep(_UPDATE_PAUSE)
            waited += _UPDATE_PAUSE

    def _check_updated(self, name: str) -> None:
        """Wait until an update is done.

        :raises AWSError: it takes too long, or has failed.
        """
        found = self._ready(name)
        if found.get("LastUpdateStatus") == "Failed":
            why = " ".join(str(found.get("LastUpdateStatusReason") or "no reason is given").split())[:300]
            raise AWSError(f"Lambda could not update function {name} in {self._where}, which runs as before: {why}")

    def _update(self, call: Callable[..., Any], **request: Any) -> None:
        """As asked for, and again where another update comes between (ResourceConflictException)."""
        from botocore.exceptions import ClientError

        waited = 0.0
        while True:
            try:
                call(**request)
            except ClientError as error:
                if error_code(error) != "ResourceConflictException" or waited >= _UPDATE_PATIENCE:
                    raise
                self._sleep(_UPDATE_PAUSE)
                waited += _UPDATE_PAUSE
            else:
                return

    @contextlib.contextmanager
    def _code(self, package: bytes, bucket: str | None) -> Iterator[dict[str, Any]]:
        if len(package) <= self._direct or bucket is None:
            yield {"ZipFile": package}
            return
        key = f"{UPLOAD_PREFIX}{hashlib.sha256(package).hexdigest()}.zip"
        with one_line(f"store the package as s3://{bucket}/{key}"):
            self._clients.s3.put_object(Bucket=bucket, Key=key, Body=package)
        try:
            yield {"S3Bucket": bucket, "S3Key": key}
        finally:
            # Lambda keeps a copy of its own.
            with one_line(f"delete s3://{bucket}/{key}"):
                self._clients.s3.delete_object(Bucket=bucket, Key=key)

    def _made(self, spec: FunctionSpec, code: dict[str, Any]) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        waited = 0.0
        while True:
            try:
                made: dict[str, Any] = self._clients.awslambda.create_function(
                    FunctionName=spec.name,
                    Runtime=spec.runtime,
                    Role=spec.role,
                    Handler=HANDLER,
                    Code=code,
                    Description=spec.description,
                    Timeout=int(spec.timeout.total_seconds()),
                    MemorySize=spec.memory_mb,
                    Architectures=[spec.architecture],
                    EphemeralStorage={"Size": spec.tmp_mb},
                    Tags={TAG: version("mu-twisted")},
                )
            except ClientError as error:
                if error_code(error) == "ResourceConflictException":
                    raise AWSError(
                        f"there is a function {spec.name} in {self._where} already: --replace gives it this code, "
                        "or choose another --name"
                    ) from None
                if "cannot be assumed" not in str(error) or waited >= _ROLE_PATIENCE:
                    raise
                self._sleep(_ROLE_PAUSE)
                waited += _ROLE_PAUSE
            else:
                return made

    def _settle(self, name: str) -> None:
        self._clients.awslambda.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        # An event that was lost is launched again by the coordinator, which knows whether it is still wanted.
        with _tolerating_unsupported():
            self._clients.awslambda.put_function_event_invoke_config(
                FunctionName=name, MaximumRetryAttempts=RETRIES, MaximumEventAgeInSeconds=AGE
            )

    def _is_tagged(self, function: dict[str, Any]) -> bool:
        from botocore.exceptions import ClientError

        try:
            return TAG in self._clients.awslambda.list_tags(Resource=function["FunctionArn"]).get("Tags", {})
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":  # removed meanwhile
                return False
            if is_unsupported(error):  # what stands in for Lambda has no tags; the handler says enough
                return True
            raise


@contextlib.contextmanager
def _tolerating_unsupported() -> Iterator[None]:
    """Go on where what stands in for Lambda has no such call."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if not is_unsupported(error):
            raise

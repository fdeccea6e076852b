"""This module creates, updates, lists and removes a coordinator's functions. Blocking; knows no jobs."""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, cast

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._errors import AWSError, aws_errors, error_code, is_unsupported
from mu_twisted.aws._function_settings import (
    HANDLER,
    FunctionChanges,
    FunctionSpec,
    architecture_named,
    entry_of,
    is_image,
    runtime_named,
)
from mu_twisted.aws._images import ContainerImage
from mu_twisted.base import one_line

if TYPE_CHECKING:
    from types_boto3_lambda.type_defs import (
        CreateFunctionRequestTypeDef,
        FunctionCodeTypeDef,
        FunctionConfigurationTypeDef,
    )

MAX_DIRECT_UPLOAD = 50 << 20
"""Largest zip that Lambda takes in the request itself, bytes (AWS: "Lambda quotas")."""
TAG = "mu-twisted"
"""Every function that mu makes has this tag; its value is the version of mu."""
USED_TAG = "mu-twisted-used"
"""Its value is the last day on which a function that is named by its content was asked for."""
UPLOAD_PREFIX = "mu-twisted/"
"""The keys of packages that go to Lambda through S3 begin so."""
RETRIES, AGE = 0, 60
"""How often Lambda tries an event again that it could not run, and for how many seconds it keeps one."""

_ROLE_TIMEOUT = 30.0
"""Seconds to wait for a new role to be known in all of AWS."""
_ROLE_PAUSE = 3.0
_UPDATE_TIMEOUT = 120.0
"""Seconds to wait for an update in progress."""
_UPDATE_PAUSE = 1.0


class Functions:
    """The functions of one region. Every method blocks; each raises :class:`AWSError`.

    :param clients: of the region.
    :param direct: bytes of a zip up to which it goes in the request itself.
    :param sleep: blocks for so many seconds.
    """

    def __init__(
        self, clients: Clients, *, direct: int = MAX_DIRECT_UPLOAD, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.region = clients.region
        self._where = clients.where
        self._clients = clients
        self._direct = direct
        self._sleep = sleep

    def create(
        self, spec: FunctionSpec, package: bytes | ContainerImage, *, bucket: str | None = None
    ) -> FunctionConfigurationTypeDef:
        """Create a function whose events Lambda never retries, and wait until it can be invoked.

        :param package: the zip, as :func:`build_package` makes it; or an image that has our worker.
        :param bucket: in this region, through which a zip goes that is too large for a request; it does not stay there.
        :returns: its configuration: FunctionName, FunctionArn, CodeSize, CodeSha256, ...
        :raises AWSError: it could not be made; then there is none.
        """
        self._check_size(package, bucket)
        with self._code(package, bucket) as code, aws_errors(f"create function {spec.name} in {self._where}"):
            created = self._create(spec, code)
        try:
            with aws_errors(f"set up function {spec.name} in {self._where}"):
                self._settle(spec.name)
        except AWSError:
            with contextlib.suppress(AWSError):
                self.remove(spec.name)
            raise
        return created

    def find(self, name: str) -> FunctionConfigurationTypeDef | None:
        """The configuration of a function of our worker; None if there is no function of this name.

        :raises AWSError: there is one, but it is not of our worker.
        """
        with aws_errors(f"look up function {name} in {self._where}"):
            found = self._configuration(name)
        if found is not None and entry_of(found) != HANDLER:
            raise AWSError(f"function {name} in {self._where} is not one that mu has made: choose another --name")
        return found

    def replace(
        self, name: str, package: bytes | ContainerImage, changes: FunctionChanges, *, bucket: str | None = None
    ) -> FunctionConfigurationTypeDef:
        """Replace the code of an existing function, and wait until it runs. An update in progress is waited for.

        Where Lambda refuses the code, all stays as it was.

        :param package: as for :meth:`create`, as is ``bucket``; an image in place of an image, a zip of a zip.
        :param changes: of its settings; the others stay.
        :returns: its configuration, as :meth:`create`.
        :raises AWSError: it could not be changed; the text says whether it has the new code.
        """
        self._check_size(package, bucket)
        with self._code(package, bucket) as code, aws_errors(f"replace the code of function {name} in {self._where}"):
            before = self._ready(name)
            _check_same_kind(before, package, f"function {name} in {self._where}")
            other, update = changes.architecture, self._clients.awslambda.update_function_code
            if other is None or other in (before.get("Architectures") or ["x86_64"]):
                self._update(lambda: update(FunctionName=name, **code))
            else:
                architectures = [architecture_named(other)]
                self._update(lambda: update(FunctionName=name, Architectures=architectures, **code))
            self._check_updated(name)
        with aws_errors(f"change the settings of function {name} in {self._where}, which has the new code"):
            if (request := changes.request(name)) is not None:
                self._update(lambda: self._clients.awslambda.update_function_configuration(**request))
                self._check_updated(name)
            self._settle(name)
            replaced = self._configuration(name) or {}
        with aws_errors(f"tag function {name} in {self._where}"), _tolerating_unsupported():
            self._clients.awslambda.tag_resource(Resource=replaced["FunctionArn"], Tags={TAG: version("mu-twisted")})
        return replaced

    def list(self) -> list[FunctionConfigurationTypeDef]:
        """The configurations of the functions here that mu has made, sorted by their names."""
        with aws_errors(f"list the functions in {self._where}"):
            pages = self._clients.awslambda.get_paginator("list_functions").paginate()
            found = [function for page in pages for function in page["Functions"]]
            ours = [function for function in found if entry_of(function) == HANDLER]
            return sorted(
                (function for function in ours if self._is_tagged(function)), key=lambda each: str(each["FunctionName"])
            )

    def remove(self, name: str) -> None:
        """Delete a function, also one that mu has not made."""
        with aws_errors(f"remove function {name} in {self._where}"):
            self._clients.awslambda.delete_function(FunctionName=name)

    def wait_until_ready(self, name: str) -> None:
        """Wait until a function can be invoked."""
        with aws_errors(f"wait for function {name} in {self._where}"):
            self._ready(name)

    def note_use(self, name: str, now: float | None = None) -> None:
        """Note on which day a function was last asked for, for :meth:`last_use`; at most once a day.

        :param now: seconds since 1970; None: now.
        """
        today = time.strftime("%Y-%m-%d", time.gmtime(now))
        with aws_errors(f"tag function {name} in {self._where}"):
            found = self._configuration(name) or {}
            if self._tags(found).get(USED_TAG) != today:
                self._clients.awslambda.tag_resource(Resource=found["FunctionArn"], Tags={USED_TAG: today})

    def last_use(self, function: FunctionConfigurationTypeDef) -> str:
        """The day, in UTC, on which a function was made, changed, or last noted to be used: ``2026-11-29``.

        :param function: what Lambda says of it.
        """
        with aws_errors(f"read the tags of function {function['FunctionName']} in {self._where}"):
            return max(str(function.get("LastModified", ""))[:10], self._tags(function).get(USED_TAG, ""))

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_size(self, package: bytes | ContainerImage, bucket: str | None) -> None:
        if not isinstance(package, ContainerImage) and len(package) > self._direct and bucket is None:
            raise AWSError(
                f"the zip has {len(package) / (1 << 20):.0f} MiB, more than the {self._direct >> 20} that a request "
                "may hold: give --code-bucket, an S3 bucket in the function's region for it to go through"
            )

    def _configuration(self, name: str) -> FunctionConfigurationTypeDef | None:
        from botocore.exceptions import ClientError

        try:
            return self._clients.awslambda.get_function(FunctionName=name)["Configuration"]
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":
                return None
            raise

    def _ready(self, name: str) -> FunctionConfigurationTypeDef:
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
            if waited >= _UPDATE_TIMEOUT:
                raise AWSError(f"function {name} in {self._where} is being updated: try again when that is done")
            self._sleep(_UPDATE_PAUSE)
            waited += _UPDATE_PAUSE

    def _check_updated(self, name: str) -> None:
        """Wait until an update is done.

        :raises AWSError: it takes too long, or has failed.
        """
        found = self._ready(name)
        if found.get("LastUpdateStatus") == "Failed":
            why = one_line(str(found.get("LastUpdateStatusReason") or "no reason is given"), 300)
            raise AWSError(f"Lambda could not update function {name} in {self._where}, which runs as before: {why}")

    def _update(self, call: Callable[[], object]) -> None:
        """Make a request, and make it again where another update is in progress (ResourceConflictException)."""
        from botocore.exceptions import ClientError

        waited = 0.0
        while True:
            try:
                call()
            except ClientError as error:
                if error_code(error) != "ResourceConflictException" or waited >= _UPDATE_TIMEOUT:
                    raise
                self._sleep(_UPDATE_PAUSE)
                waited += _UPDATE_PAUSE
            else:
                return

    @contextlib.contextmanager
    def _code(self, package: bytes | ContainerImage, bucket: str | None) -> Iterator[FunctionCodeTypeDef]:
        if isinstance(package, ContainerImage):
            yield {"ImageUri": package.uri}
            return
        if len(package) <= self._direct or bucket is None:
            yield {"ZipFile": package}
            return
        key = f"{UPLOAD_PREFIX}{hashlib.sha256(package).hexdigest()}.zip"
        with aws_errors(f"store the package as s3://{bucket}/{key}"):
            self._clients.s3.put_object(Bucket=bucket, Key=key, Body=package)
        try:
            yield {"S3Bucket": bucket, "S3Key": key}
        finally:
            # Lambda keeps a copy of its own.
            with aws_errors(f"delete s3://{bucket}/{key}"):
                self._clients.s3.delete_object(Bucket=bucket, Key=key)

    def _create(self, spec: FunctionSpec, code: FunctionCodeTypeDef) -> FunctionConfigurationTypeDef:
        from botocore.exceptions import ClientError

        request: CreateFunctionRequestTypeDef = {
            "FunctionName": spec.name,
            "Role": spec.role,
            "Code": code,
            "Description": spec.description,
            "Timeout": int(spec.timeout.total_seconds()),
            "MemorySize": spec.memory_mb,
            "Architectures": [architecture_named(spec.architecture)],
            "EphemeralStorage": {"Size": spec.tmp_mb},
            "Tags": {TAG: version("mu-twisted")},
        }
        if "ImageUri" in code:
            # The image's own entry point is a runtime client, which takes the handler as its argument.
            request.update({"PackageType": "Image", "ImageConfig": {"Command": [HANDLER]}})
        else:
            request.update({"Runtime": runtime_named(spec.runtime), "Handler": HANDLER})
        waited = 0.0
        while True:
            try:
                created = self._clients.awslambda.create_function(**request)
            except ClientError as error:
                if error_code(error) == "ResourceConflictException":
                    raise AWSError(
                        f"there is a function {spec.name} in {self._where} already: --replace gives it this code, "
                        "or choose another --name"
                    ) from None
                if "cannot be assumed" not in str(error) or waited >= _ROLE_TIMEOUT:
                    raise
                self._sleep(_ROLE_PAUSE)
                waited += _ROLE_PAUSE
            else:
                configuration = {key: value for key, value in created.items() if key != "ResponseMetadata"}
                return cast("FunctionConfigurationTypeDef", configuration)

    def _settle(self, name: str) -> None:
        self._clients.awslambda.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
        # The coordinator launches again for an event that was lost, and knows whether it is still wanted.
        with _tolerating_unsupported():
            self._clients.awslambda.put_function_event_invoke_config(
                FunctionName=name, MaximumRetryAttempts=RETRIES, MaximumEventAgeInSeconds=AGE
            )

    def _tags(self, function: FunctionConfigurationTypeDef) -> dict[str, str]:
        from botocore.exceptions import ClientError

        try:
            return dict(self._clients.awslambda.list_tags(Resource=function["FunctionArn"]).get("Tags", {}))
        except ClientError as error:
            if is_unsupported(error) or error_code(error) == "ResourceNotFoundException":
                return {}
            raise

    def _is_tagged(self, function: FunctionConfigurationTypeDef) -> bool:
        from botocore.exceptions import ClientError

        try:
            return TAG in self._clients.awslambda.list_tags(Resource=function["FunctionArn"]).get("Tags", {})
        except ClientError as error:
            if error_code(error) == "ResourceNotFoundException":  # removed meanwhile
                return False
            if is_unsupported(error):  # an endpoint without tags: the handler is enough
                return True
            raise


def _check_same_kind(before: FunctionConfigurationTypeDef, package: bytes | ContainerImage, where: str) -> None:
    """See that Lambda can replace the code, which stays a zip or an image.

    :raises AWSError: it cannot.
    """
    if is_image(before) != isinstance(package, ContainerImage):
        kinds = ("an image", "a zip") if is_image(before) else ("a zip", "an image")
        raise AWSError(
            f"{where} is made of {kinds[0]}, and Lambda cannot change that to {kinds[1]}: choose another --name, or "
            "remove it first (`mu functions rm`)"
        )


@contextlib.contextmanager
def _tolerating_unsupported() -> Iterator[None]:
    """Ignore that an endpoint in place of Lambda's has no such call."""
    from botocore.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if not is_unsupported(error):
            raise

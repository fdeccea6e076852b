"""A cloud is the Lambda and S3 that a daemon works with: AWS's, others that were named, or the embedded ones.

Everything behind this sees endpoints and credentials only, and does not know which they are.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from mu_twisted.aws import (
    AwsControl,
    AWSError,
    Clients,
    FunctionSettings,
    InvokeAnswer,
    aws_session,
    check_region,
    current_keys,
    lambda_endpoint,
    s3_endpoint,
)
from mu_twisted.aws.placement import Deployment, LaunchTarget, places_of
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.local import RunningStack, Stack, default_state_dir, find, start
from mu_twisted.pipelines import ObjectPart, PartWanted

if TYPE_CHECKING:
    from boto3.session import Session

_log = Logger()


@dataclass(frozen=True)
class Cloud:
    """Lambda and S3. Methods block.

    :param session: boto3's, with the credentials.
    :param lambda_endpoint: Lambda's base URL in a region.
    :param s3_endpoint: S3's base URL; None: AWS's own.
    :param stack: the embedded stack, where it was started for this process.
    :param stack_directory: the embedded stack's state directory, where Lambda and S3 are both that one's.
    """

    session: "Session"
    lambda_endpoint: Callable[[str], str]
    s3_endpoint: str | None
    stack: RunningStack | None = None
    stack_directory: Path | None = None

    @property
    def ca_bundle(self) -> str | None:
        """CA certificates for the endpoints: ``$AWS_CA_BUNDLE``, as AWS's tools take it; None: the system's."""
        return os.environ.get("AWS_CA_BUNDLE") or None

    def credentials(self) -> AccessKeys:
        """What to sign with now."""
        return current_keys(self.session)

    def check(
        self,
        regions: Sequence[str],
        function: str,
        bucket: str,
        programs: Sequence[str],
        copies: int = 1,
        made_by: str = "",
    ) -> Deployment:
        """Whether credentials, the function with its programs in one of the regions at least, and the bucket are there.

        :param regions: the job's.
        :param bucket: in the first of them; empty: the job needs none.
        :param copies: of the function in each region.
        :param made_by: the command that prints how the function is made, if there is one.
        :raises mu_twisted.aws.AWSError: what is missing, on one line.
        """
        for region in regions:
            check_region(region)
            self.lambda_endpoint(region)
        self.credentials()
        settings_of: dict[LaunchTarget, FunctionSettings] = {}
        absent: list[str] = []
        for place in places_of(regions, function, copies):
            try:
                settings_of[place] = self._look(place, programs, made_by)
            except AWSError as error:
                absent.append(str(error))
        if not settings_of:
            raise AWSError(absent[0])
        if bucket:
            self._control(regions[0]).check_bucket(bucket)
        return Deployment(
            places=tuple(settings_of),
            timeout=max(settings.timeout for settings in settings_of.values()),
            memory_mb=max(settings.memory_mb for settings in settings_of.values()),
            tmp_mb=max(settings.tmp_mb for settings in settings_of.values()),
            architecture=next(iter(settings_of.values())).architecture,
            absent=tuple(absent),
            original=tuple(place for place, settings in settings_of.items() if settings.is_original),
        )

    def _look(self, place: LaunchTarget, programs: Sequence[str], made_by: str) -> FunctionSettings:
        control = self._control(place.region)
        settings = control.function_settings(place.function, made_by)
        missing = control.missing_programs(place.function, programs)
        if missing:
            how = "with `mu lambdaize`, and name what is missing as EXE or EXTRA"
            how = f"by the commands that `{made_by}` prints" if made_by else how
            raise AWSError(
                f"function {place.function} in {control.clients.where} lacks {', '.join(missing)}, "
                f"which this pipeline runs: make it again {how}"
            )
        return settings

    def existing(self, region: str, bucket: str, keys: Collection[str]) -> set[str]:
        """Which of these objects the bucket holds."""
        return self._control(region).existing(bucket, keys)

    def read_part(self, region: str, bucket: str, wanted: PartWanted) -> ObjectPart:
        """A part of an object."""
        data, size = self._control(region).get_part(bucket, wanted.key, wanted.first, wanted.count)
        return ObjectPart(data, size)

    def invoke_with_tail(self, region: str, function: str, event: bytes) -> InvokeAnswer:
        """Invoke once and wait for the end."""
        return self._control(region).invoke_with_tail(function, event)

    def close(self) -> None:
        """End the embedded stack if it is ours."""
        if self.stack is not None:
            self.stack.stop()

    def _control(self, region: str) -> AwsControl:
        return AwsControl(
            Clients(
                self.session,
                region,
                lambda_endpoint=self.lambda_endpoint(region),
                s3_endpoint=self.s3_endpoint,
                stack=self.stack_directory,
            )
        )


def open_cloud(options: Mapping[str, Any], local_state: Path | None) -> Cloud:
    """Find what the options ask for; with ``--local`` start it if it does not run. Blocks.

    :param options: the daemon options.
    :param local_state: the embedded stack's state directory; None: its default.
    :raises mu_twisted.base.MuError: one line that says what is missing.
    """
    if not options["local"]:
        return Cloud(
            aws_session(),
            lambda region: lambda_endpoint(region, options["endpoint-url"]),
            s3_endpoint(options["s3-endpoint-url"]),
        )
    directory = local_state or default_state_dir(os.environ)
    running = None
    stack = find(directory)
    if stack is None:
        running = start(directory)
        stack = running.stack
    endpoint = options["endpoint-url"] or stack.lambda_endpoint
    elsewhere = other_stack(stack, os.environ)
    if elsewhere is not None:
        _log.warn(
            "--local uses the local stack in {directory}, and not {elsewhere}, which the environment points AWS's "
            "tools at: make functions and buckets for it with --local --state-dir {directory}, or leave --local out",
            directory=str(directory),
            elsewhere=elsewhere,
        )
    named = options["endpoint-url"] or options["s3-endpoint-url"]
    return Cloud(
        aws_session(AccessKeys(stack.access_key, stack.secret_key)),
        lambda _region: endpoint,
        options["s3-endpoint-url"] or stack.s3_endpoint,
        running,
        None if named else directory,
    )


def other_stack(stack: Stack, environ: Mapping[str, str]) -> str | None:
    """Where the environment has AWS's tools look for Lambda, as ``mu local-env`` does, if that is not this stack."""
    endpoint = environ.get("AWS_ENDPOINT_URL_LAMBDA") or environ.get("AWS_ENDPOINT_URL")
    return endpoint if endpoint and endpoint.rstrip("/") != stack.lambda_endpoint.rstrip("/") else None

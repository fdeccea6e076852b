"""Which Lambda and S3 a daemon works with: AWS's, others that were named, or the embedded ones.

Everything behind this sees endpoints and credentials only, and cannot tell which they are.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from mu_twisted.aws import (
    AccessKeys,
    AWSError,
    Control,
    Invocation,
    aws_session,
    check_region,
    current_keys,
    lambda_endpoint,
    s3_endpoint,
)
from mu_twisted.launch import Credentials
from mu_twisted.local import RunningStack, Stack, default_state_dir, find, start


@dataclass(frozen=True)
class Cloud:
    """Lambda and S3. Methods block.

    :param session: boto3's, with the credentials.
    :param endpoints: Lambda's base URL by region.
    :param s3_endpoint: S3's base URL; None: AWS's own.
    :param stack: the embedded stack, where it was started for this process.
    """

    session: Any
    endpoints: Mapping[str, str]
    s3_endpoint: str | None
    stack: RunningStack | None = None

    @property
    def ca_bundle(self) -> str | None:
        """CA certificates for the endpoints: ``$AWS_CA_BUNDLE``, as AWS's tools take it; None: the system's."""
        return os.environ.get("AWS_CA_BUNDLE") or None

    def lambda_endpoint(self, region: str) -> str:
        """Lambda's base URL in a region of the job."""
        return self.endpoints[region]

    def credentials(self) -> Credentials:
        """What to sign with now."""
        keys = current_keys(self.session)
        return Credentials(keys.access_key, keys.secret_key, keys.token)

    def check(self, function: str, bucket: str, programs: Sequence[str]) -> timedelta:
        """Whether credentials, the function in each region with its programs, and the bucket are there.

        :returns: the function's time-out, the longest of all regions.
        :raises mu_twisted.aws.AWSError: what is missing, on one line.
        """
        self.credentials()
        timeouts = []
        for region in self.endpoints:
            control = self._control(region)
            timeouts.append(control.function_settings(function).timeout)
            missing = control.missing_programs(function, programs)
            if missing:
                raise AWSError(
                    f"function {function} in {region} lacks {', '.join(missing)}, which this pipeline runs: "
                    "make it again with `mu lambdaize`, and name what is missing as EXE or EXTRA"
                )
        self._control(next(iter(self.endpoints))).check_bucket(bucket)
        return max(timeouts)

    def invoke_with_tail(self, function: str, event: bytes) -> Invocation:
        """Invoke once in the first region and wait for the end."""
        return self._control(next(iter(self.endpoints))).invoke_with_tail(function, event)

    def close(self) -> None:
        """End the embedded stack if it is ours."""
        if self.stack is not None:
            self.stack.stop()

    def _control(self, region: str) -> Control:
        return Control(self.session, region, lambda_endpoint=self.endpoints[region], s3_endpoint=self.s3_endpoint)


def open_cloud(options: Mapping[str, Any], regions: Sequence[str], local_state: Path | None) -> Cloud:
    """Find what the options ask for; with ``--local`` start it if it does not run. Blocks.

    :param options: the daemon options.
    :param regions: the job's regions.
    :param local_state: the embedded stack's state directory; None: its default.
    :raises mu_twisted.wire.MuError: one line that says what is missing.
    """
    for region in regions:
        check_region(region)
    if not options["local"]:
        return _named(
            aws_session(),
            lambda region: lambda_endpoint(region, options["endpoint-url"]),
            s3_endpoint(options["s3-endpoint-url"]),
            regions,
        )
    directory = local_state or default_state_dir(os.environ)
    running = None
    stack = find(directory)
    if stack is None:
        running = start(directory)
        stack = running.stack
    return _embedded(stack, options, regions, running)


def _embedded(stack: Stack, options: Mapping[str, Any], regions: Sequence[str], running: RunningStack | None) -> Cloud:
    session = aws_session(AccessKeys(stack.access_key, stack.secret_key))
    endpoint = options["endpoint-url"] or stack.lambda_endpoint
    return _named(session, lambda _region: endpoint, options["s3-endpoint-url"] or stack.s3_endpoint, regions, running)


def _named(
    session: Any,
    endpoint: Callable[[str], str],
    s3: str | None,
    regions: Sequence[str],
    running: RunningStack | None = None,
) -> Cloud:
    return Cloud(session, {region: endpoint(region) for region in regions}, s3, running)

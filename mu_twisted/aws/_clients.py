"""botocore's clients of one region are created here when each is first used; no other module asks a session for one."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies_environment

from mu_twisted.aws._errors import aws_errors
from mu_twisted.aws._proxies import is_loopback

if TYPE_CHECKING:  # botocore makes its clients of data files; what they look like is only known to stubs
    from boto3.session import Session
    from types_boto3_lambda import LambdaClient
    from types_boto3_s3 import S3Client
    from types_boto3_sts import STSClient

_AWSS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu", ".api.aws")


class Clients:
    """Clients of Lambda, S3 and STS in one region.

    :param session: a boto3 session, as :func:`aws_session` makes it.
    :param region: AWS region.
    :param lambda_endpoint: base URL of Lambda; None: AWS's.
    :param s3_endpoint: base URL of S3; None: AWS's.
    :param stack: the state directory of the embedded stack, if they are that one's.
    """

    def __init__(
        self,
        session: Session,
        region: str,
        *,
        lambda_endpoint: str | None = None,
        s3_endpoint: str | None = None,
        stack: Path | None = None,
    ) -> None:
        self.region = region
        self.stack = stack
        self._session = session
        self.lambda_endpoint = lambda_endpoint
        self._s3_endpoint = s3_endpoint

    @property
    def where(self) -> str:
        """This Lambda as an error names it: by its region, and where it is not AWS's by its endpoint."""
        if self.stack is not None:
            return f"{self.region} of the local stack in {self.stack}"
        return f"{self.region}{_at(self.lambda_endpoint)}"

    @property
    def where_s3(self) -> str:
        """This S3 as an error names it behind a bucket's name; empty for AWS's."""
        return f" in the local stack in {self.stack}" if self.stack is not None else _at(self._s3_endpoint)

    @functools.cached_property
    def awslambda(self) -> LambdaClient:
        """Lambda's."""
        client: LambdaClient = self._client("lambda", self.lambda_endpoint)
        return client

    @functools.cached_property
    def s3(self) -> S3Client:
        """S3's."""
        # What a profile sets for AWS's own S3 is not for another one: botocore refuses the two together.
        other = {
            "s3": {"addressing_style": "path", "use_accelerate_endpoint": False},
            "use_dualstack_endpoint": False,
            "use_fips_endpoint": False,
        }
        client: S3Client = self._client("s3", self._s3_endpoint, **(other if self._s3_endpoint else {}))
        return client

    @functools.cached_property
    def sts(self) -> STSClient:
        """STS's, in the region, as its global endpoint is in one region only."""
        client: STSClient = self._client("sts", None)
        return client

    def _client(self, service: str, endpoint: str | None, **more: Any) -> Any:
        from botocore.config import Config

        config = Config(
            connect_timeout=5, read_timeout=70, retries={"total_max_attempts": 3, "mode": "standard"}, **more
        )
        # The stubs know `client` by an overload for each service of AWS: not to be gone through for a name of ours.
        create: Any = self._session.client
        with aws_errors("set up the AWS clients"):
            client = create(service, region_name=self.region, endpoint_url=endpoint, config=config)
            if is_loopback(urlsplit(client.meta.endpoint_url).hostname or "") and getproxies_environment():
                # The client alone knows which endpoint it uses; botocore would send to loopback by a proxy, too.
                direct = config.merge(Config(proxies={}))
                client = create(service, region_name=self.region, endpoint_url=endpoint, config=direct)
            return client


def _at(endpoint: str | None) -> str:
    if endpoint is None or (urlsplit(endpoint).hostname or "").endswith(_AWSS):
        return ""
    return f" at {endpoint}"

"""botocore's clients of one region, made when they are first used."""

import functools
from typing import Any

from mu_twisted.aws._errors import one_line


class Clients:
    """Clients of Lambda, S3 and STS in one region.

    :param session: a boto3 session, as :func:`aws_session` makes it.
    :param region: AWS region.
    :param lambda_endpoint: base URL of Lambda; None: AWS's.
    :param s3_endpoint: base URL of S3; None: AWS's.
    """

    def __init__(
        self, session: Any, region: str, *, lambda_endpoint: str | None = None, s3_endpoint: str | None = None
    ) -> None:
        self.region = region
        self._session = session
        self._lambda_endpoint = lambda_endpoint
        self._s3_endpoint = s3_endpoint

    @functools.cached_property
    def awslambda(self) -> Any:
        """Lambda's."""
        return self._client("lambda", self._lambda_endpoint)

    @functools.cached_property
    def s3(self) -> Any:
        """S3's."""
        return self._client(
            "s3", self._s3_endpoint, **({"s3": {"addressing_style": "path"}} if self._s3_endpoint else {})
        )

    @functools.cached_property
    def sts(self) -> Any:
        """STS's, in the region, as its global endpoint is in one region only."""
        return self._client("sts", None)

    def _client(self, service: str, endpoint: str | None, **more: Any) -> Any:
        from botocore.config import Config

        calm = Config(connect_timeout=5, read_timeout=70, retries={"total_max_attempts": 3, "mode": "standard"}, **more)
        with one_line("set up the AWS clients"):
            return self._session.client(service, region_name=self.region, endpoint_url=endpoint, config=calm)

"""The worker's S3 client signs requests over http.client, moves files in ranges and parts, checks and retries.

Knows files and S3, not the worker's commands. The rest of the worker sees :class:`S3` and its errors only.
"""

from worker_lambda.s3._client import S3
from worker_lambda.s3._errors import S3Cancelled, S3Error

__all__ = ["S3", "S3Cancelled", "S3Error"]

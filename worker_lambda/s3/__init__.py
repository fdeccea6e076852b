"""The S3 client of the worker: signed requests over http.client, transfers in ranges and parts, checked and retried.

Knows files and S3, not the worker's commands.
"""

from worker_lambda.s3._client import S3, S3Cancelled, S3Error

__all__ = ["S3", "S3Cancelled", "S3Error"]

"""The settings of a local stack are held here. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """The options of a local stack.

    :param state_dir: its state directory.
    :param lambda_port: port of the Lambda endpoint, 0 for any.
    :param s3_port: port of the S3, 0 for any.
    :param region: the region that it says it is.
    :param isolation: ``auto``, ``user`` (no more than an ordinary user's rights) or ``none``.
    :param cgroups: whether memory may be limited by control groups.
    :param plain: start a fresh Python for each environment.
    :param concurrency: invocations at once.
    :param idle: seconds that an environment stays without work.
    :param retry_delay: seconds before a failed event's second try; twice that before its third.
    :param s3: the S3's program: ``auto``, ``seaweedfs`` or ``moto``.
    """

    state_dir: Path
    lambda_port: int = 0
    s3_port: int = 0
    region: str = "us-east-1"
    isolation: str = "auto"
    cgroups: bool = True
    plain: bool = False
    concurrency: int = 1000
    idle: float = 60.0
    retry_delay: float = 60.0
    s3: str = "auto"

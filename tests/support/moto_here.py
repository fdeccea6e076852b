"""An AWS in this process that others have written."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def moto_account(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in place of AWS, with nothing of this machine's settings."""
    from moto import mock_aws

    for name in [name for name in os.environ if name.startswith(("AWS_", "MU_"))]:
        patch.delenv(name)
    patch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    patch.setenv("MOTO_ACCOUNT_ID", "123456789012")
    with mock_aws():
        yield

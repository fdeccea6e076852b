"""Credentials as botocore's chain finds them: environment, profile, SSO, container, instance role."""

from dataclasses import dataclass, field
from typing import Any

from mu_twisted.aws._errors import NO_CREDENTIALS, AWSError, one_line


@dataclass(frozen=True)
class AccessKeys:
    """A set of keys. Their text shows no secret.

    :param access_key: the key's id.
    :param secret_key: its secret.
    :param token: session token of temporary keys.
    """

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)


def aws_session(keys: AccessKeys | None = None) -> Any:
    """A boto3 session.

    :param keys: used as they are; None: botocore's chain, which renews what expires.
    :raises AWSError: the profile that is asked for does not exist.
    """
    import boto3  # half a second; only where AWS is really asked

    with one_line("read the AWS configuration"):
        if keys is None:
            return boto3.Session()
        return boto3.Session(
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
        )


def current_keys(session: Any) -> AccessKeys:
    """The keys to sign with now; asks again where they are about to expire. May block.

    :raises AWSError: there are none.
    """
    with one_line("get AWS credentials"):
        found = session.get_credentials()
        if found is None:
            raise AWSError(NO_CREDENTIALS)
        frozen = found.get_frozen_credentials()
    if not frozen.access_key or not frozen.secret_key:
        raise AWSError(NO_CREDENTIALS)
    return AccessKeys(frozen.access_key, frozen.secret_key, frozen.token)

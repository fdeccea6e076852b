"""This module gets credentials as botocore's chain finds them: environment, profile, SSO, container, instance role."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from mu_twisted.aws._errors import NO_CREDENTIALS, AWSError, aws_errors
from mu_twisted.base.access_keys import AccessKeys

if TYPE_CHECKING:
    from boto3.session import Session
    from botocore.session import Session as BotocoreSession


def aws_session(keys: AccessKeys | None = None) -> Session:
    """Create a boto3 session.

    :param keys: used as they are, and none of the host's files and profiles is read; None: botocore's chain, which
        renews what expires.
    :raises AWSError: the profile that the environment names does not exist, or the keys cannot be sent.
    """
    import boto3  # takes half a second; only commands that use AWS pay it

    with aws_errors("read the AWS configuration"):
        if keys is not None:
            _check(keys)
        if keys is None:
            return boto3.Session()
        return boto3.Session(
            botocore_session=unconfigured_session(),
            aws_access_key_id=keys.access_key,
            aws_secret_access_key=keys.secret_key,
            aws_session_token=keys.token,
        )


def unconfigured_session() -> BotocoreSession:
    """A botocore session that reads no file of the host's: an unknown profile or a broken file does not matter to a
    caller that has the keys, or asks for botocore's data only."""
    from botocore.session import Session

    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return Session(session_vars={"profile": (None, None, None, None), **nowhere})


def current_keys(session: Session) -> AccessKeys:
    """Get the keys to sign with now, renewed where they are about to expire. May block.

    :raises AWSError: there are none, or they cannot be sent.
    """
    with aws_errors("get AWS credentials"):
        credentials = session.get_credentials()
        if credentials is None:
            raise AWSError(NO_CREDENTIALS)
        frozen = credentials.get_frozen_credentials()
    if not frozen.access_key or not frozen.secret_key:
        raise AWSError(NO_CREDENTIALS)
    return _check(AccessKeys(frozen.access_key, frozen.secret_key, frozen.token))


def credentials_chain(session: Session | None = None) -> Callable[[], AccessKeys]:
    """Make a function that gets the keys to sign with now, each time it is called; for threads.

    botocore's chain is used at the first call, not here: it may read files, start programs and use the network.

    :param session: a boto3 session; None: one is created at the first call.
    :returns: the function; it raises :class:`AWSError` where there are no keys.
    """
    lock = threading.Lock()
    sessions = [] if session is None else [session]

    def keys_now() -> AccessKeys:
        with lock:
            if not sessions:
                sessions.append(aws_session())
            return current_keys(sessions[0])

    return keys_now


def _check(keys: AccessKeys) -> AccessKeys:
    """Refuse what HTTP would refuse later with the key in its error's text."""
    for name, value in (
        ("access key", keys.access_key),
        ("secret key", keys.secret_key),
        ("session token", keys.token),
    ):
        if value is not None and not (value.isascii() and value.isprintable() and " " not in value):
            raise AWSError(f"the AWS {name} holds a blank, a line break or a character that no key has: copy it again")
    return keys

"""Access keys are what requests to AWS are signed with, for all that signs them or asks for them."""

from dataclasses import dataclass, field


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

"""The tls package makes and reads keys, certificates, identities, and connections' contexts. Knows no daemon or job."""

from mu_twisted.tls._authority import Authority, generate_keys
from mu_twisted.tls._contexts import client_contexts, describe_failure, server_contexts
from mu_twisted.tls._errors import TLSError
from mu_twisted.tls._files import KeyPair, load_certificate, load_key_pair, pem_body
from mu_twisted.tls._identity import (
    Identity,
    LaunchIdentity,
    Role,
    RoleIdentity,
    TaskIdentity,
    identity_of,
    parse_identity,
)
from mu_twisted.tls._operators import generate_operator

__all__ = [
    "Authority",
    "Identity",
    "KeyPair",
    "LaunchIdentity",
    "Role",
    "RoleIdentity",
    "TLSError",
    "TaskIdentity",
    "client_contexts",
    "describe_failure",
    "generate_keys",
    "generate_operator",
    "identity_of",
    "load_certificate",
    "load_key_pair",
    "parse_identity",
    "pem_body",
    "server_contexts",
]

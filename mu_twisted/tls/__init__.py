"""The tls package makes and reads keys, certificates, identities, and connections' contexts. Knows no daemon or job."""

from mu_twisted.tls._authority import Authority, generate_keys
from mu_twisted.tls._contexts import (
    ServerContexts,
    client_contexts,
    describe_failure,
    describe_reason,
    describe_refusal,
    server_contexts,
)
from mu_twisted.tls._errors import TLSError
from mu_twisted.tls._files import KeyPair, load_certificate, load_key_pair, pem_body
from mu_twisted.tls._identity import (
    Identity,
    LaunchIdentity,
    Role,
    RoleIdentity,
    TaskIdentity,
    identity_of,
    identity_of_der,
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
    "ServerContexts",
    "TLSError",
    "TaskIdentity",
    "client_contexts",
    "describe_failure",
    "describe_reason",
    "describe_refusal",
    "generate_keys",
    "generate_operator",
    "identity_of",
    "identity_of_der",
    "load_certificate",
    "load_key_pair",
    "parse_identity",
    "pem_body",
    "server_contexts",
]

"""The keys that a daemon works with are found here: a CA that gives every job its own, or the original's one pair."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from mu_twisted.tls import (
    Authority,
    Identity,
    KeyPair,
    LaunchIdentity,
    RoleIdentity,
    TLSError,
    identity_of,
    load_certificate,
    load_key_pair,
)

LAUNCH_MARGIN = timedelta(hours=1)
"""Beyond the function's time-out that a launch's certificate is good for."""


@dataclass(frozen=True)
class Keys:
    """What the daemon shows, what it trusts, and what it gives to workers.

    :param ca: PEM of the CA certificate.
    :param own: the daemon's certificate and key.
    :param authority: issues a job's keys; None where ``own`` is shared with every worker.
    """

    ca: bytes
    own: KeyPair
    authority: Authority | None

    @property
    def shared(self) -> bool:
        """Whether every worker gets the daemon's own pair."""
        return self.authority is None

    @property
    def rsa(self) -> bool:
        """Whether the daemon's own key is an RSA key."""
        return isinstance(load_pem_private_key(self.own.key, None), RSAPrivateKey)

    @cached_property
    def token_key(self) -> bytes | None:
        """What the tokens of launches are made from; None where keys are shared, and events name no job."""
        return self.authority.derived(b"mu launch tokens") if self.authority is not None else None

    def for_job(self, job: str, function_timeout: timedelta) -> KeyPair:
        """What the job's events carry: good for dialling the coordinator, for as long as the function may run."""
        if self.authority is None:
            return self.own
        return self.authority.issue(LaunchIdentity(job), lifetime=function_timeout + LAUNCH_MARGIN)


def daemon_keys(options: Mapping[str, Any], state_dir: Path, identity: Identity) -> Keys:
    """The keys that the options ask for.

    The daemon's own are made anew at each start and never written down. They are good for as long as the CA is, since
    a daemon may run for years, and an attacker that has read its memory has the CA's key as well.

    :param identity: the daemon's own.
    :raises mu_twisted.tls.TLSError: a file is missing or does not fit.
    """
    if options["share-key"]:
        ca = load_certificate(Path(options["ca-cert"]))
        return Keys(ca, load_key_pair(Path(options["srv-cert"]), Path(options["srv-key"])), None)
    if options["ca-cert"] is not None:
        load_certificate(Path(options["ca-cert"]))
        if options["ca-key"] is None:  # the certificate was not there when the options were looked at
            raise TLSError(f"{options['ca-cert']} comes without its CA key: start again with --ca-key")
        authority = Authority.load(Path(options["ca-cert"]), Path(options["ca-key"]))
    else:
        authority = Authority.open(state_dir / "tls")
    return Keys(authority.certificate, authority.issue(identity, lifetime=None), authority)


def has_authority(state_dir: Path) -> bool:
    """Whether some daemon has made its CA in this state directory."""
    return os.path.isfile(state_dir / "tls" / "ca_key.pem")  # noqa: PTH113 - false, too, where we may not look


def rendezvous_keys(options: Mapping[str, Any], state_dir: Path) -> Keys:
    """The keys of a rendezvous: as :func:`daemon_keys`, but a pair that names a rendezvous needs no CA key.

    :raises mu_twisted.tls.TLSError: a file is missing, does not fit, or is no rendezvous's.
    """
    certificate, key = options["srv-cert"], options["srv-key"]
    if options["ca-cert"] is None or options["share-key"] or certificate is None or key is None:
        return daemon_keys(options, state_dir, RENDEZVOUS)
    pair = load_key_pair(Path(certificate), Path(key))
    identity = identity_of(load_pem_x509_certificate(pair.certificate))
    if identity == RENDEZVOUS:
        return Keys(load_certificate(Path(options["ca-cert"])), pair, None)
    if options["ca-key"] is not None:
        return daemon_keys(options, state_dir, RENDEZVOUS)
    raise TLSError(
        f"{certificate} is not a certificate of a rendezvous, which workers look for: give rendezvous_cert.pem and "
        "rendezvous_key.pem of `mu genkeys` with -s and -k, or the CA's key with --ca-key, or --share-key if all share "
        "one key as in the original"
    )


COORDINATOR = RoleIdentity("coordinator")
RENDEZVOUS = RoleIdentity("rendezvous")

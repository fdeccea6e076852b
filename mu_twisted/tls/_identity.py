"""A certificate names its party by a URI of the scheme ``mu`` among its alternative names. Knows no connections."""

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from cryptography import x509
from OpenSSL import crypto

from mu_twisted.tls._errors import TLSError

_SCHEME = "mu:"
_JOB = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NUMBER = r"(0|[1-9][0-9]{0,8})"
_URI = re.compile(
    rf"mu:(?:role/(?P<role>[a-z]+)"
    rf"|job/(?P<job>{_JOB.pattern})/(?:launch|task/(?P<task>{_NUMBER})/attempt/(?P<attempt>{_NUMBER})))"
)


class Role(StrEnum):
    """The parties that do not belong to a job."""

    COORDINATOR = "coordinator"
    RENDEZVOUS = "rendezvous"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class RoleIdentity:
    """A daemon or its operator.

    :param role: a :class:`Role`, or its text.
    :raises TLSError: there is no such role.
    """

    role: str

    def __post_init__(self) -> None:
        if self.role not in list(Role):
            raise TLSError(f"no role is called {self.role!r}; expected one of {', '.join(Role)}")

    @property
    def uri(self) -> str:
        return f"mu:role/{self.role}"


@dataclass(frozen=True, slots=True)
class LaunchIdentity:
    """A worker that was just launched: valid for connecting to the coordinator only.

    :param job: 1 to 64 letters, digits, dots, underscores and hyphens.
    """

    job: str

    def __post_init__(self) -> None:
        _check_job(self.job)

    @property
    def uri(self) -> str:
        return f"mu:job/{self.job}/launch"


@dataclass(frozen=True, slots=True)
class TaskIdentity:
    """A worker that was given a task: valid for connecting to the rendezvous and its peers.

    :param job: as for :class:`LaunchIdentity`.
    :param task: the task's number, 0 to 999,999,999.
    :param attempt: which try at it, 0 to 999,999,999.
    """

    job: str
    task: int
    attempt: int

    def __post_init__(self) -> None:
        _check_job(self.job)
        if not (0 <= self.task < 10**9 and 0 <= self.attempt < 10**9):
            raise TLSError(f"task {self.task}, attempt {self.attempt}: expected numbers from 0 to 999999999")

    @property
    def uri(self) -> str:
        return f"mu:job/{self.job}/task/{self.task}/attempt/{self.attempt}"


Identity = RoleIdentity | LaunchIdentity | TaskIdentity


def _check_job(job: str) -> None:
    if not _JOB.fullmatch(job):
        raise TLSError(f"a job cannot be called {job[:80]!r}: expected 1 to 64 of A-Z a-z 0-9 . _ -")


def parse_identity(uri: str) -> Identity:
    """The identity that a URI stands for; the inverse of its ``uri``, so each identity has one spelling.

    :raises TLSError: it is none of the three forms.
    """
    match = _URI.fullmatch(uri)
    if match is None or (match["role"] is not None and match["role"] not in list(Role)):
        raise TLSError(f"expected mu:role/ROLE, mu:job/J/launch or mu:job/J/task/T/attempt/A, got {uri[:120]!r}")
    if match["role"] is not None:
        return RoleIdentity(Role(match["role"]))
    if match["task"] is not None:
        return TaskIdentity(match["job"], int(match["task"]), int(match["attempt"]))
    return LaunchIdentity(match["job"])


def identity_of(certificate: crypto.X509 | x509.Certificate | None) -> Identity | None:
    """The party that a verified certificate speaks for.

    :returns: None if it names no party, as the original's certificates, or if there is no certificate.
    :raises TLSError: its names cannot be read, one of scheme ``mu`` is malformed, or there are several.
    """
    if certificate is None:
        return None
    if isinstance(certificate, crypto.X509):
        certificate = certificate.to_cryptography()
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except x509.ExtensionNotFound:
        return None
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise TLSError(f"the certificate's names cannot be read: {' '.join(str(error).split())[:120]}") from None
    ours = [uri for uri in uris if uri.lower().startswith(_SCHEME)]
    if not ours:
        return None
    if len(ours) > 1:
        raise TLSError(f"expected one identity in a certificate, got {len(ours)}")
    return parse_identity(ours[0])


@lru_cache(maxsize=256)
def identity_of_der(certificate: bytes) -> Identity | None:
    """The party that a verified certificate speaks for, as :func:`identity_of`.

    The workers of a job all show the same certificate, so the last that were read are remembered.

    :param certificate: DER.
    :raises TLSError: it cannot be read, or as :func:`identity_of`.
    """
    try:
        parsed = x509.load_der_x509_certificate(certificate)
    except ValueError as error:
        raise TLSError(f"the certificate cannot be read: {' '.join(str(error).split())[:120]}") from None
    return identity_of(parsed)

"""Keys and certificates are read and written here in PEM; no other user can read a private file."""

import base64
import binascii
import os
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from mu_twisted.tls._errors import TLSError

PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\s*(.*?)\s*-----END \1-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and its private key.

    :param certificate: PEM, followed by the rest of its chain if there is one.
    :param key: PEM, not encrypted.
    """

    certificate: bytes
    key: bytes = field(repr=False)


def load_certificate(path: str | Path) -> bytes:
    """Read a file of one or more certificates.

    :returns: its content.
    :raises TLSError: missing, unreadable, not PEM, or the first one is not valid now.
    """
    pem = _read(path, "certificate")
    check_validity(parse_certificates(pem, str(path))[0], str(path))
    return pem


def load_key_pair(certificate_path: str | Path, key_path: str | Path) -> KeyPair:
    """Read a certificate and its key.

    :raises TLSError: missing, unreadable, not PEM, the key is encrypted or does not match, or the certificate is not
        valid now.
    """
    pair = KeyPair(load_certificate(certificate_path), _read(key_path, "key"))
    check_match(
        parse_certificates(pair.certificate, str(certificate_path))[0],
        parse_key(pair.key, str(key_path)),
        f"the key {key_path} does not belong to the certificate {certificate_path}; give the two made together",
    )
    return pair


def pem_body(pem: bytes) -> str:
    """The base64 of the PEM block(s) as an event carries it: no BEGIN or END, no newlines, a blank between blocks.

    :raises TLSError: there is no PEM block, or one that is not base64.
    """
    bodies = [b"".join(body.split()) for _, body in _BLOCK.findall(pem)]
    if not bodies:
        raise TLSError("expected a PEM block (-----BEGIN ...), found none")
    for body in bodies:
        try:
            base64.b64decode(body, validate=True)
        except binascii.Error:
            raise TLSError("a PEM block is not plain base64; if it is an encrypted key, decrypt it first") from None
    return b" ".join(bodies).decode("ascii")


def parse_certificates(pem: bytes, name: str) -> list[x509.Certificate]:
    """Read certificates.

    :param name: what to call it in an error.
    :raises TLSError: there is none, or one cannot be read.
    """
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError:
        raise TLSError(f"{name} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)") from None


def parse_key(pem: bytes, name: str) -> PrivateKey:
    """Read a private key.

    :param name: what to call it in an error.
    :raises TLSError: it cannot be read, is encrypted, or is neither an elliptic curve's nor RSA's.
    """
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise TLSError(f"the key {name} is encrypted; decrypt it first (openssl pkey -in OLD -out NEW)") from None
    except (ValueError, UnsupportedAlgorithm):
        raise TLSError(f"{name} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TLSError(f"the key {name} is neither ECDSA nor RSA; make one with mu genkeys")
    return key


def check_validity(certificate: x509.Certificate, name: str) -> None:
    """Check that a certificate is valid now.

    :param name: what to call it in an error.
    :raises TLSError: it has expired, or is not valid yet.
    """
    now = datetime.now(UTC)
    if certificate.not_valid_after_utc < now:
        raise TLSError(f"the certificate {name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}; make a new one")
    if certificate.not_valid_before_utc > now:
        start = certificate.not_valid_before_utc
        raise TLSError(f"the certificate {name} is valid from {start:%Y-%m-%d %H:%M} UTC only; is the clock right?")


def check_match(certificate: x509.Certificate, key: PrivateKey, complaint: str) -> None:
    """Check that a key belongs to a certificate.

    :param complaint: the error's text.
    :raises TLSError: it does not.
    """
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if certificate.public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        raise TLSError(complaint)


def write_new(path: Path, content: bytes, *, private: bool) -> None:
    """Write a file that must not exist yet, and have it on disk before returning.

    :param private: whether only its owner may read it.
    :raises TLSError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o644)
        with open(descriptor, "wb") as file:  # noqa: PTH123
            file.write(content)
            file.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise TLSError(f"{path} is there already and is not overwritten; give another directory") from None
    except OSError as error:
        raise TLSError(f"cannot write {path}: {error.strerror}") from None


def _read(path: str | Path, kind: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise TLSError(f"the {kind} {path} does not exist; make a set with mu genkeys DIR") from None
    except OSError as error:
        raise TLSError(f"cannot read the {kind} {path}: {error.strerror}") from None

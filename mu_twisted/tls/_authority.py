"""A certificate authority issues the certificates by which the parties verify each other. Knows no connections."""

import fcntl
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mu_twisted.tls._errors import TLSError
from mu_twisted.tls._files import (
    KeyPair,
    PrivateKey,
    check_match,
    load_key_pair,
    parse_certificates,
    parse_key,
    write_new,
)
from mu_twisted.tls._identity import Identity, Role, RoleIdentity

YEARS_10 = timedelta(days=3652)
HOUR = timedelta(hours=1)


class Authority:
    """A CA: its certificate, and a key that signs others.

    :param pair: the CA's own; only the first certificate is used.
    :raises TLSError: they do not fit each other, or the certificate may not sign others.
    """

    def __init__(self, pair: KeyPair) -> None:
        self._certificate = parse_certificates(pair.certificate, "the CA's certificate")[0]
        self._key = parse_key(pair.key, "of the CA")
        self.key_pair = pair
        check_match(self._certificate, self._key, "the CA's key does not belong to the CA's certificate")
        try:
            constraints = self._certificate.extensions.get_extension_for_class(x509.BasicConstraints)
            may_sign = constraints.value.ca
        except (x509.ExtensionNotFound, ValueError):
            may_sign = False
        if not may_sign:
            raise TLSError("the CA's certificate may not sign others (basic constraints); make a CA with mu genkeys")

    @property
    def certificate(self) -> bytes:
        """The CA's certificate, PEM: what peers are verified against."""
        return self.key_pair.certificate

    def derived(self, purpose: bytes) -> bytes:
        """Derive 32 secret bytes from the CA's key, the same ones each time (HKDF, RFC 5869).

        :param purpose: what they are for; another purpose gives other bytes.
        """
        secret = self._key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        return HKDF(hashes.SHA256(), 32, salt=None, info=purpose).derive(secret)

    @classmethod
    def generate(cls, *, rsa: bool = False) -> Self:
        """Generate a new CA, valid for ten years.

        :param rsa: RSA-2048 in place of P-256.
        """
        return cls._certified(_new_key(rsa))

    @classmethod
    def _certified(cls, key: PrivateKey) -> Self:
        """A CA with this key, and a certificate issued now."""
        name = _name("mu certificate authority")
        now = datetime.now(UTC)
        builder = (
            _builder(name, name, key, now - timedelta(days=1), now + YEARS_10)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        )
        certificate = builder.sign(key, hashes.SHA256())
        return cls(KeyPair(certificate.public_bytes(Encoding.PEM), _key_pem(key)))

    @classmethod
    def load(cls, certificate_path: str | Path, key_path: str | Path) -> Self:
        """Read a CA's files.

        :raises TLSError: as :func:`load_key_pair`, or it is no CA.
        """
        return cls(load_key_pair(certificate_path, key_path))

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read the CA in a directory; the first daemon that opens it generates it, the others wait and use it.

        The directory is created if need be, 0700; it holds ``ca_key.pem`` (0600), ``ca_cert.pem`` and ``lock``.

        :raises TLSError: it cannot be written, or its files cannot be used.
        """
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise TLSError(f"cannot use {directory} for the keys: {error.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return cls._open_locked(directory)
        finally:
            os.close(lock)

    @classmethod
    def _open_locked(cls, directory: Path) -> Self:
        certificate, key = directory / "ca_cert.pem", directory / "ca_key.pem"
        advice = f"bring back a copy of {directory}, or move it away for a new CA; operators' files are void then"
        if not certificate.exists():
            # What the key has signed stays valid: the new certificate has name and key of the one that is lost.
            authority = cls._certified(_kept_key(key, advice)) if key.exists() else cls.generate()
            for path, content in ((key, authority.key_pair.key), (certificate, authority.certificate)):
                if path.exists():
                    continue
                fresh = path.with_name(path.name + ".new")
                fresh.unlink(missing_ok=True)
                write_new(fresh, content, private=True)
                fresh.replace(path)
        elif not key.exists():
            raise TLSError(f"the CA's key {key} does not exist, though its certificate does: {advice}")
        return cls.load(certificate, key)

    def issue(
        self,
        identity: Identity | None,
        *,
        hosts: Sequence[str] = (),
        lifetime: timedelta | None,
        backdate: timedelta = HOUR,
        common_name: str | None = None,
        rsa: bool = False,
    ) -> KeyPair:
        """Make a key and sign a certificate for it, valid for both ends of a connection.

        :param identity: the party that it speaks for; None: none, as the original's certificates.
        :param hosts: names and addresses, for peers that check them.
        :param lifetime: from now on; None: as long as the CA's own certificate.
        :param backdate: from how long before now it is valid, for peers whose clocks are behind.
        :param common_name: shown to users; default: the identity's URI.
        :param rsa: RSA-2048, PKCS#1, in place of P-256.
        """
        key = _new_key(rsa)
        name = _name(common_name or (identity.uri if identity is not None else "mu"))
        now = datetime.now(UTC)
        end = self._certificate.not_valid_after_utc if lifetime is None else now + lifetime
        builder = (
            _builder(name, self._certificate.subject, key, now - backdate, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(ca=False), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(self._authority_key_identifier(), critical=False)
        )
        names: list[x509.GeneralName] = [_host(host) for host in hosts]
        if identity is not None:
            names.insert(0, x509.UniformResourceIdentifier(identity.uri))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(self._key, hashes.SHA256())
        return KeyPair(certificate.public_bytes(Encoding.PEM), _key_pem(key))

    def _authority_key_identifier(self) -> x509.AuthorityKeyIdentifier:
        try:
            own = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self._certificate.public_key())  # type: ignore[arg-type]
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def generate_keys(directory: Path, *, rsa: bool = False) -> list[Path]:
    """Write a CA and three pairs that it signed, for ten years: the original's ``server`` and ``server2``, which name
    no party, and ``rendezvous``, which has its role, for a host that does not have the CA's key.

    :param directory: created if need be. Existing files are never overwritten.
    :param rsa: RSA-2048 with keys as PKCS#1 (``BEGIN RSA PRIVATE KEY``), which original parties need; else P-256.
    :returns: the eight paths; keys are 0600.
    :raises TLSError: one of the files exists, or cannot be written. Then none is left.
    """
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise TLSError(f"cannot make the directory {directory}: {error.strerror}") from None
    authority = Authority.generate(rsa=rsa)
    pairs = {"ca": authority.key_pair}
    for name, identity in (("server", None), ("server2", None), ("rendezvous", RoleIdentity(Role.RENDEZVOUS))):
        pairs[name] = authority.issue(identity, lifetime=YEARS_10 - HOUR, common_name=f"mu {name}", rsa=rsa)
    written: list[Path] = []
    try:
        for name, pair in pairs.items():
            for kind, content in (("key", pair.key), ("cert", pair.certificate)):
                path = directory / f"{name}_{kind}.pem"
                write_new(path, content, private=kind == "key")
                written.append(path)
    except TLSError:
        for path in written:
            path.unlink()
        raise
    return written


def _kept_key(path: Path, advice: str) -> PrivateKey:
    try:
        return parse_key(path.read_bytes(), str(path))
    except OSError as error:
        raise TLSError(f"cannot read the CA's key {path}: {error.strerror}") from None
    except TLSError as error:
        raise TLSError(f"{error}, and the CA's certificate is missing: {advice}") from None


def _new_key(use_rsa: bool) -> PrivateKey:
    return rsa.generate_private_key(65537, 2048) if use_rsa else ec.generate_private_key(ec.SECP256R1())


def _key_pem(key: PrivateKey) -> bytes:
    form = PrivateFormat.TraditionalOpenSSL if isinstance(key, rsa.RSAPrivateKey) else PrivateFormat.PKCS8
    return key.private_bytes(Encoding.PEM, form, NoEncryption())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64])])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return x509.DNSName(host)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: PrivateKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

"""TLS contexts are made here of base64 bodies, and roles are read from the certificates that peers show."""

import base64
import binascii
import os
import ssl
from collections.abc import Mapping
from pathlib import Path

from worker_lambda._errors import DialError, EventError

COORDINATOR = "mu:role/coordinator"
RENDEZVOUS = "mu:role/rendezvous"
_PKCS8, _PKCS1, _SEC1 = 0x30, 0x02, 0x04


def client_context(tls: Mapping[str, str], directory: Path, giver: str = "event") -> ssl.SSLContext:
    """A context that demands a certificate of the given CA, whatever the host's name, and shows the given one.

    :param tls: base64 bodies under ``cacert``, and ``srvcrt`` and ``srvkey`` if a certificate is to be shown.
    :param directory: a private one; certificate and key are in files there while the library reads them.
    :param giver: where the bodies come from, for a user.
    :raises EventError: a body is not base64, or not what its name says.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    _load(context, tls, directory, giver)
    return context


def link_contexts(tls: Mapping[str, str], directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The contexts of a link's client and server: TLS 1.3, each demands a certificate of the CA, and shows ours.

    :param tls: as for :func:`client_context`, with a certificate to be shown.
    :raises EventError: as :func:`client_context`.
    """
    client, server = _context(ssl.PROTOCOL_TLS_CLIENT), _context(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname = False
    server.verify_mode = ssl.CERT_REQUIRED
    server.options |= ssl.OP_NO_TICKET
    server.num_tickets = 0
    for context in (client, server):
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        _load(context, tls, directory, "identity")
    return client, server


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    # Some versions of Python take an end without close_notify for one in due form, unless this is cleared.
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _load(context: ssl.SSLContext, tls: Mapping[str, str], directory: Path, giver: str) -> None:
    authority = _certificates(f"the {giver}'s cacert", tls["cacert"])
    try:
        context.load_verify_locations(cadata=authority.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise EventError(f"the {giver}'s cacert is no certificate: {_reason(error)}") from None
    if "srvcrt" in tls:
        pair = _certificates(f"the {giver}'s srvcrt", tls["srvcrt"]) + _key(f"the {giver}'s srvkey", tls["srvkey"])
        try:
            _load_pair(context, pair, directory / f"pair_{os.urandom(8).hex()}")
        except ssl.SSLError as error:
            raise EventError(
                f"the {giver}'s srvcrt and srvkey are no certificate and its key: {_reason(error)}"
            ) from None
        except OSError as error:
            raise EventError(f"the certificate could not be given to the TLS library: {error.strerror}") from None


def demand_role(connection: ssl.SSLObject, role: str) -> None:
    """Check that the certificate shown names a role.

    :param role: e.g. :data:`COORDINATOR`.
    :raises DialError: it names another.
    """
    names = _alternative_names(connection)
    if ("URI", role) not in names:
        got = ", ".join(value for _, value in names) or "none"
        raise DialError(
            f"the certificate shown there is not a {role.rpartition('/')[2]}'s: expected {role}, got {got}", final=True
        )


def shown_identities(connection: ssl.SSLObject) -> list[str]:
    """The project's identities that the certificate shown names: one, where the CA has not been misused."""
    return [
        value for kind, value in _alternative_names(connection) if kind == "URI" and value.lower().startswith("mu:")
    ]


def _alternative_names(connection: ssl.SSLObject) -> list[tuple[str, str]]:
    certificate = connection.getpeercert() or {}
    return [(str(name[0]), str(name[1])) for name in certificate.get("subjectAltName", ())]


def _load_pair(context: ssl.SSLContext, pair: bytes, path: Path) -> None:
    # The library takes certificates of its own from files only.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(pair)
        context.load_cert_chain(path)
    finally:
        path.unlink()


def _certificates(what: str, bodies: str) -> bytes:
    parts = bodies.split()
    if not parts:
        raise EventError(f"{what} is empty")
    return b"".join(_pem("CERTIFICATE", _decoded(what, body)) for body in parts)


def _key(what: str, body: str) -> bytes:
    der = _decoded(what, "".join(body.split()))
    kind = _second_member(der)
    label = {_PKCS8: "PRIVATE KEY", _PKCS1: "RSA PRIVATE KEY", _SEC1: "EC PRIVATE KEY"}.get(kind)
    if label is None:
        raise EventError(f"{what} is no private key: expected PKCS#8 or PKCS#1")
    return _pem(label, der)


def _second_member(der: bytes) -> int:
    """The DER tag after the version: an algorithm in PKCS#8, a number in PKCS#1, a string in SEC 1; -1 in none."""
    try:
        at = 2 + (der[1] & 0x7F if der[1] & 0x80 else 0)
        return der[at + 2 + der[at + 1]] if der[0] == 0x30 and der[at] == 0x02 else -1
    except IndexError:
        return -1


def _decoded(what: str, body: str) -> bytes:
    try:
        return base64.b64decode(body, validate=True)
    except (binascii.Error, ValueError):
        raise EventError(f"{what} is not base64: expected the body of a PEM block, no BEGIN line") from None


def _pem(label: str, der: bytes) -> bytes:
    return f"-----BEGIN {label}-----\n".encode() + base64.encodebytes(der) + f"-----END {label}-----\n".encode()


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "reason", None) or error).split())

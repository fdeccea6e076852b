"""TLS contexts are always mutual, TLS 1.2 at least, without state between connections. Knows no sockets."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator, IOpenSSLServerConnectionCreator
from zope.interface import implementer

from mu_twisted.tls._errors import TLSError
from mu_twisted.tls._files import KeyPair, check_match, parse_certificates, parse_key
from mu_twisted.tls._identity import Identity, identity_of

if TYPE_CHECKING:
    from twisted.protocols.tls import TLSMemoryBIOProtocol

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET
_VERIFY = SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT
_VERIFY_TEXTS = {
    number: name.removeprefix("ERR_").replace("_", " ").lower()
    for name, number in vars(SSL.X509VerificationCodes).items()
    if name.startswith("ERR_")
}
# OpenSSL's reasons that do not say what the peer did.
_MEANINGS = {
    "wrong version number": "it does not speak TLS",
    "http request": "it speaks plain HTTP",
    "https proxy request": "it speaks plain HTTP",
    "packet length too long": "it does not speak TLS",
    "record layer failure": "it does not speak TLS",
    "peer did not return a certificate": "it showed no certificate",
    "unsupported protocol": "it speaks no TLS version from 1.2 on",
}


class _Connection(SSL.Connection):
    """One end of a connection that remembers why it refused the peer's certificate."""

    refusal: str | None = None


@implementer(IOpenSSLServerConnectionCreator)
class ServerContexts:
    """The context of the side that listens.

    :ivar pair: what it presents.
    :ivar ca: PEM of the authorities whose certificates it accepts.
    """

    def __init__(self, context: SSL.Context, pair: KeyPair, ca: bytes) -> None:
        self._context = context
        self.pair = pair
        self.ca = ca

    def serverConnectionForTLS(self, tlsProtocol: "TLSMemoryBIOProtocol") -> SSL.Connection:
        return _Connection(self._context, None)


@implementer(IOpenSSLClientConnectionCreator)
class _ClientContexts:
    def __init__(self, context: SSL.Context) -> None:
        self._context = context

    def clientConnectionForTLS(self, tlsProtocol: "TLSMemoryBIOProtocol") -> SSL.Connection:
        return _Connection(self._context, None)


def server_contexts(pair: KeyPair, ca: bytes) -> ServerContexts:
    """Make the context of the side that listens, which all its connections share.

    :param pair: the certificate that it presents, and its key.
    :param ca: PEM of the authorities whose certificates it accepts; peers must show one.
    :raises TLSError: pair or ca cannot be used.
    """
    context = _context(pair, ca, SSL.TLS_SERVER_METHOD, None)
    context.set_session_id(b"mu")
    return ServerContexts(context, pair, ca)


def client_contexts(pair: KeyPair, ca: bytes, *, expected: Identity | None) -> IOpenSSLClientConnectionCreator:
    """Make the context of the side that connects. Host names are not checked, the identity is.

    :param pair: the certificate that it presents, and its key.
    :param ca: PEM of the authorities that it trusts.
    :param expected: the identity that the peer's certificate must have; None takes any that the authorities signed.
    :raises TLSError: pair or ca cannot be used.
    """
    return _ClientContexts(_context(pair, ca, SSL.TLS_CLIENT_METHOD, expected))  # type: ignore[return-value]


def describe_failure(error: BaseException, connection: object = None) -> str:
    """Describe why TLS failed, in a few words that fit behind ``host:port: ``.

    :param error: what OpenSSL raised.
    :param connection: the connection that raised it, if known: it remembers why it refused a certificate.
    """
    refusal = getattr(connection, "refusal", None)
    if refusal is not None:
        return f"TLS failed: {refusal}"
    reason = str(error) or type(error).__name__
    if error.args and isinstance(error.args[0], list) and error.args[0]:
        reason = str(error.args[0][0][-1])  # OpenSSL's queue of (library, function, reason), the cause first
    return describe_reason(reason)


def describe_reason(reason: str) -> str:
    """Describe why TLS failed, as :func:`describe_failure`.

    :param reason: OpenSSL's text.
    """
    return f"TLS failed: {_MEANINGS.get(reason, reason)}"


def describe_refusal(error: int) -> str:
    """Describe why a peer's certificate was refused, as :func:`describe_failure`.

    :param error: OpenSSL's number of what verification found (``X509_V_ERR_...``).
    """
    return f"TLS failed: {_refusal(error)}"


def _refusal(error: int) -> str:
    return f"its certificate was refused: {_VERIFY_TEXTS.get(error, f'error {error}')}"


def _context(pair: KeyPair, ca: bytes, method: int, expected: Identity | None) -> SSL.Context:
    chain = parse_certificates(pair.certificate, "the certificate given")
    key = parse_key(pair.key, "given")
    check_match(chain[0], key, "the key does not belong to the certificate; give the two made together")
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_verify(_VERIFY, _verifier(expected))
    try:
        context.use_certificate(chain[0])
        for certificate in chain[1:]:
            context.add_extra_chain_cert(certificate)
        context.use_privatekey(key)
        store = context.get_cert_store()
        assert store is not None
        for certificate in parse_certificates(ca, "the CA's file"):
            store.add_cert(crypto.X509.from_cryptography(certificate))
    except (SSL.Error, crypto.Error) as error:
        raise TLSError(f"OpenSSL does not take the certificate: {describe_failure(error)}") from None
    return context


def _verifier(expected: Identity | None) -> Callable[[SSL.Connection, crypto.X509, int, int, int], bool]:
    def verify(connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, ok: int) -> bool:
        refusal = None
        if not ok:
            refusal = _refusal(error)
        elif depth == 0 and expected is not None:
            refusal = _mismatch(certificate, expected)
        if refusal is not None and isinstance(connection, _Connection):
            connection.refusal = refusal
        return refusal is None

    return verify


def _mismatch(certificate: crypto.X509, expected: Identity) -> str | None:
    try:
        identity = identity_of(certificate)
    except TLSError as error:
        return str(error)
    if identity == expected:
        return None
    return f"expected a certificate of {expected.uri}, got {identity.uri if identity else 'one without identity'}"

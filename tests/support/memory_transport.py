"""Harnesses for the transport's contract whose streams are in memory: plain, and with mutual TLS as in production."""

from datetime import timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from memory_wire import Network
from OpenSSL import SSL
from transport_contract import (  # noqa: F401
    LIMIT,
    AuthenticatedContract,
    Recorder,
    Stranger,
    TransportContract,
    TransportHarness,
    _log,
)
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from mu_twisted.tls import Authority, KeyPair, LaunchIdentity, RoleIdentity, client_contexts, server_contexts
from mu_twisted.transport import FrameFactory, FrameProtocol, connect, listen

HOUR = timedelta(hours=1)


AUTHORITY, FOREIGN = Authority.generate(), Authority.generate()


COORDINATOR = RoleIdentity("coordinator")


SERVER = AUTHORITY.issue(COORDINATOR, lifetime=HOUR)


WORKER = AUTHORITY.issue(LaunchIdentity("job"), lifetime=HOUR)


class Bytes(Protocol, Stranger):
    """A peer under the test's control."""

    def __init__(self) -> None:
        self.reasons: list[Any] = []
        self.unsent: list[bytes] = []
        self.port = 0
        self._end: Any = None

    def makeConnection(self, transport: Any) -> None:
        self._end = transport
        super().makeConnection(transport)  # type: ignore[no-untyped-call]

    def connectionMade(self) -> None:
        self.port = self._end.getHost().port
        for data in self.unsent:
            self._end.write(data)

    def write(self, data: bytes) -> None:
        if self._end is None:
            self.unsent.append(data)
        else:
            self._end.write(data)

    def lose(self) -> None:
        self._end.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reasons.append(reason)

    @property
    def lost(self) -> bool:
        return bool(self.reasons)


class PlainTransportHarness(TransportHarness):
    identity: Any = None
    server: Any = None
    client: Any = None

    def __init__(self) -> None:
        self.clock = Clock()
        self.network = Network()
        self.accepted = []
        self.factory: Any = None

    def listen(self, pausable: bool = True, **limits: Any) -> None:
        self.factory = FrameFactory(self._accept, clock=self.clock, **{"max_frame": LIMIT, **limits})
        self.network.pausable = pausable
        listen(self.network.server, self.server, self.factory, self.clock)

    def _accept(self) -> Recorder:
        self.accepted.append(Recorder())
        return self.accepted[-1]

    def dial(self, receiver: Recorder, **options: Any) -> Deferred[FrameProtocol]:
        return connect(self.network.client, self.client, receiver, self.clock, LIMIT)

    def dial_bare(self) -> Bytes:
        peer = Bytes()
        self.network.connect(Factory.forProtocol(lambda: peer))
        return peer

    dial_with_bytes = dial_bare

    def settle(self, limit: int = 1 << 16) -> None:
        self.network.settle(limit)

    def break_all(self) -> None:
        self.network.break_all()

    def handshakes(self) -> int:
        return len(self.factory.handshakes)

    def connections(self) -> int:
        """How many there are on the listening side, in any state."""
        return self.factory.connections  # type: ignore[no-any-return]

    def waiting(self) -> int:
        """Bytes that lie where they were written, for the peer that takes the least."""
        return max(len(end.out) for end in self.network.ends)


@implementer(IOpenSSLClientConnectionCreator)
class WithoutCertificate:
    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(SSL.Context(SSL.TLS_METHOD), None)


@implementer(IOpenSSLClientConnectionCreator)
class OlderClient:
    """Shows the worker's certificate, with TLS 1.2."""

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        context = SSL.Context(SSL.TLSv1_2_METHOD)
        context.use_certificate(x509.load_pem_x509_certificate(WORKER.certificate))
        key: Any = load_pem_private_key(WORKER.key, None)
        context.use_privatekey(key)
        return SSL.Connection(context, None)


def of_two_minds() -> KeyPair:
    """A certificate of our authority with two identities."""
    ca = x509.load_pem_x509_certificate(AUTHORITY.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    signing_key = load_pem_private_key(AUTHORITY.key_pair.key, None)
    assert isinstance(signing_key, ec.EllipticCurvePrivateKey)
    uris = [x509.UniformResourceIdentifier(uri) for uri in ("mu:role/operator", "mu:job/j/launch")]
    certificate = (
        x509.CertificateBuilder(ca.subject, x509.Name([]), key.public_key(), 1)
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(ca.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName(uris), critical=True)
        .sign(signing_key, hashes.SHA256())
    )
    return KeyPair(
        certificate.public_bytes(Encoding.PEM), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )


class TLSTransportHarness(PlainTransportHarness):
    cuts_off_floods_of_keys = False
    """Whether a peer is cut off that renews its keys again and again; else it costs as much as it sends."""
    identity = LaunchIdentity("job")
    server = server_contexts(SERVER, AUTHORITY.certificate)
    client = client_contexts(WORKER, AUTHORITY.certificate, expected=COORDINATOR)
    complaints = {
        "foreign": "TLS failed: its certificate was refused: ",
        "without certificate": "TLS failed: it showed no certificate",
        "expired": "TLS failed: its certificate was refused: cert has expired",
        "malformed identity": "expected one identity in a certificate, got 2",
    }

    def dial(
        self, receiver: Recorder, *, trusting: str = "", expected: str = "", **options: Any
    ) -> Deferred[FrameProtocol]:
        contexts = self.client
        if trusting:
            contexts = client_contexts(WORKER, FOREIGN.certificate, expected=None)
        elif expected:
            contexts = client_contexts(WORKER, AUTHORITY.certificate, expected=RoleIdentity("rendezvous"))
        return connect(self.network.client, contexts, receiver, self.clock, LIMIT)

    def dial_badly(self, kind: str) -> list[Any]:
        if kind == "foreign":
            pair = FOREIGN.issue(LaunchIdentity("job"), lifetime=HOUR)
        elif kind == "expired":
            pair = AUTHORITY.issue(LaunchIdentity("job"), lifetime=timedelta(seconds=-5))
        else:
            pair = of_two_minds()
        contexts: Any = WithoutCertificate()
        if kind != "without certificate":
            contexts = client_contexts(pair, AUTHORITY.certificate, expected=None)
        return self._dial_tls(contexts).reasons

    def dial_with_bytes(self) -> Bytes:
        return self._dial_tls(self.client)

    def dial_to_renegotiate(self) -> Bytes:
        """A peer of TLS 1.2."""
        return self._dial_tls(OlderClient())

    def dial_to_renew_keys(self, directory: Any) -> Any:
        from key_updates import KeyUpdatingPeer  # which has its keys from here

        peer = KeyUpdatingPeer(directory)
        self.network.connect(Factory.forProtocol(lambda: peer))
        return peer

    def _dial_tls(self, contexts: Any) -> Bytes:
        peer = Bytes()
        factory: Any = Factory.forProtocol(lambda: peer)
        now: Any = Now()
        self.network.connect(TLSMemoryBIOFactory(contexts, True, factory, clock=now))
        return peer


class Now:
    """Twisted's TLS writes in the next turn of the reactor; here at once."""

    def callLater(self, delay: float, function: Any, *arguments: Any) -> None:
        assert delay == 0
        function(*arguments)

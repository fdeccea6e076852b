"""What the contexts agree to, tried with two ends in memory and no sockets."""

import contextlib
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from OpenSSL import SSL

from mu_twisted.tls import (
    Authority,
    Identity,
    KeyPair,
    LaunchIdentity,
    RoleIdentity,
    TaskIdentity,
    TLSError,
    client_contexts,
    describe_failure,
    generate_keys,
    identity_of,
    load_certificate,
    load_key_pair,
    server_contexts,
)

HOUR = timedelta(hours=1)
AUTHORITY = Authority.generate()
COORDINATOR = RoleIdentity("coordinator")
SERVER = AUTHORITY.issue(COORDINATOR, lifetime=HOUR)
WORKER = AUTHORITY.issue(LaunchIdentity("j"), lifetime=HOUR)
UNUSED: Any = None


def pair_up(client: SSL.Connection, server: SSL.Connection, rounds: int = 4) -> None:
    """Shake hands, and let both read what came after."""
    client.set_connect_state()
    server.set_accept_state()
    for _ in range(rounds):
        for mine, other in ((client, server), (server, client)):
            try:
                mine.do_handshake()
            except SSL.WantReadError:
                pass
            finally:
                move(mine, other)
    for end in (client, server):
        with pytest.raises(SSL.WantReadError):
            end.recv(100)


def move(source: SSL.Connection, target: SSL.Connection) -> int:
    moved = 0
    while True:
        try:
            data = source.bio_read(1 << 15)
        except SSL.WantReadError:
            return moved
        target.bio_write(data)
        moved += len(data)


def server(pair: KeyPair = SERVER, ca: bytes = AUTHORITY.certificate) -> SSL.Connection:
    return server_contexts(pair, ca).serverConnectionForTLS(UNUSED)


def client(
    pair: KeyPair = WORKER, ca: bytes = AUTHORITY.certificate, expected: Identity | None = COORDINATOR
) -> SSL.Connection:
    return client_contexts(pair, ca, expected=expected).clientConnectionForTLS(UNUSED)


def bare_client(ca: bytes = AUTHORITY.certificate) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    return context


def refused(mine: SSL.Connection, other: SSL.Connection) -> str:
    with pytest.raises(SSL.Error) as caught:
        pair_up(mine, other)
    text = describe_failure(caught.value, mine)
    return text if "alert" not in text else describe_failure(caught.value, other)


def test_both_ends_see_each_others_identity_over_tls_1_3() -> None:
    ours, theirs = server(), client()
    pair_up(theirs, ours)
    assert ours.get_protocol_version_name() == "TLSv1.3"
    assert identity_of(ours.get_peer_certificate(as_cryptography=True)) == LaunchIdentity("j")
    assert identity_of(theirs.get_peer_certificate(as_cryptography=True)) == COORDINATOR


@pytest.mark.parametrize(("version", "agreed"), [(SSL.TLS1_2_VERSION, True), (SSL.TLS1_1_VERSION, False)])
def test_tls_1_2_is_the_least_spoken(version: int, agreed: bool) -> None:
    context = bare_client()
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    context.set_min_proto_version(SSL.TLS1_VERSION)
    context.set_max_proto_version(version)
    context.use_certificate(load_first(WORKER.certificate))
    context.use_privatekey(load_key(WORKER.key))
    theirs = SSL.Connection(context, None)
    if agreed:
        pair_up(theirs, server())
        assert theirs.get_protocol_version_name() == "TLSv1.2"
    else:
        with pytest.raises(SSL.Error):
            pair_up(theirs, server())


def test_a_client_must_show_a_certificate() -> None:
    ours = server()
    with pytest.raises(SSL.Error) as caught:
        pair_up(SSL.Connection(bare_client(), None), ours)
    assert describe_failure(caught.value, ours) == "TLS failed: it showed no certificate"


def test_a_certificate_of_another_authority_is_refused() -> None:
    foreign = Authority.generate().issue(COORDINATOR, lifetime=HOUR)
    for theirs, ours in ((client(foreign), server()), (client(), server(foreign))):
        with pytest.raises(SSL.Error):
            pair_up(theirs, ours)
        refusals = [getattr(end, "refusal", None) for end in (ours, theirs)]
        assert any(refusal and "its certificate was refused: " in refusal for refusal in refusals)


def test_an_expired_certificate_is_refused_and_the_reason_kept() -> None:
    ours = server()
    expired = AUTHORITY.issue(None, lifetime=timedelta(seconds=-5))
    with pytest.raises(SSL.Error) as caught:
        pair_up(client(expired), ours)
    assert describe_failure(caught.value, ours) == "TLS failed: its certificate was refused: cert has expired"


@pytest.mark.parametrize(
    "identity", [None, RoleIdentity("rendezvous"), LaunchIdentity("j"), TaskIdentity("coordinator", 0, 0)]
)
def test_a_client_demands_the_expected_identity(identity: Identity | None) -> None:
    theirs = client()
    with pytest.raises(SSL.Error) as caught:
        pair_up(theirs, server(AUTHORITY.issue(identity, lifetime=HOUR)))
    shown = identity.uri if identity else "one without identity"
    expected = f"TLS failed: expected a certificate of mu:role/coordinator, got {shown}"
    assert describe_failure(caught.value, theirs) == expected


def test_a_client_without_expectation_accepts_what_the_authority_signed() -> None:
    pair_up(client(expected=None), server(AUTHORITY.issue(None, lifetime=HOUR)))


@pytest.mark.parametrize("rsa", [False, True])
def test_the_originals_key_files_work_on_both_ends(tmp_path: Path, rsa: bool) -> None:
    paths = {path.stem: path for path in generate_keys(tmp_path, rsa=rsa)}
    ca = load_certificate(paths["ca_cert"])
    ours = server(load_key_pair(paths["server_cert"], paths["server_key"]), ca)
    theirs = client(load_key_pair(paths["server2_cert"], paths["server2_key"]), ca, None)
    pair_up(theirs, ours)
    assert identity_of(ours.get_peer_certificate(as_cryptography=True)) is None


def test_a_chain_is_shown_whole() -> None:
    chain = KeyPair(SERVER.certificate + AUTHORITY.certificate, SERVER.key)
    theirs = client()
    pair_up(theirs, server(chain))
    assert len(theirs.get_peer_cert_chain() or []) == 2


def test_no_session_can_be_resumed(tmp_path: Path) -> None:
    """The standard library's client tells whether it was given anything to resume with."""
    (tmp_path / "pair.pem").write_bytes(WORKER.certificate + WORKER.key)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=AUTHORITY.certificate.decode())
        context.load_cert_chain(tmp_path / "pair.pem")
        context.maximum_version = version
        contexts = server_contexts(SERVER, AUTHORITY.certificate)
        session = None
        for _ in range(2):
            to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
            theirs = context.wrap_bio(to_client, to_server, session=session)
            ours = contexts.serverConnectionForTLS(UNUSED)
            ours.set_accept_state()
            shake(theirs, to_server, to_client, ours)
            assert not theirs.session_reused
            assert theirs.session is None or not theirs.session.has_ticket or version is ssl.TLSVersion.TLSv1_3
            session = theirs.session


def shake(theirs: ssl.SSLObject, to_server: ssl.MemoryBIO, to_client: ssl.MemoryBIO, ours: SSL.Connection) -> None:
    for _ in range(4):
        with contextlib.suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
        if to_server.pending:
            ours.bio_write(to_server.read())
        with contextlib.suppress(SSL.WantReadError):
            ours.do_handshake()
        with contextlib.suppress(SSL.WantReadError):
            to_client.write(ours.bio_read(1 << 15))
    with pytest.raises(ssl.SSLWantReadError):
        theirs.read(1)


def test_a_pair_that_does_not_fit_is_refused_before_any_connection() -> None:
    with pytest.raises(TLSError, match="does not belong"):
        server_contexts(KeyPair(SERVER.certificate, WORKER.key), AUTHORITY.certificate)
    with pytest.raises(TLSError, match="holds no certificate"):
        client_contexts(WORKER, b"", expected=None)


def load_first(pem: bytes) -> Any:
    from cryptography import x509

    return x509.load_pem_x509_certificate(pem)


def load_key(pem: bytes) -> Any:
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    return load_pem_private_key(pem, None)

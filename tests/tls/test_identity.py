"""Who a certificate speaks for."""

import re
from datetime import timedelta

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import crypto

from mu_twisted.tls import (
    Authority,
    Identity,
    LaunchIdentity,
    Role,
    RoleIdentity,
    TaskIdentity,
    TLSError,
    identity_of,
    parse_identity,
)

jobs = st.from_regex(re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII), fullmatch=True)
numbers = st.integers(0, 10**9 - 1)
identities: st.SearchStrategy[Identity] = st.one_of(
    st.builds(RoleIdentity, st.sampled_from(list(Role))),
    st.builds(LaunchIdentity, jobs),
    st.builds(TaskIdentity, jobs, numbers, numbers),
)
AUTHORITY = Authority.generate()
HOUR = timedelta(hours=1)


@given(identities)
def test_an_identity_survives_the_way_there_and_back(identity: Identity) -> None:
    assert parse_identity(identity.uri) == identity


@pytest.mark.parametrize(
    ("identity", "uri"),
    [
        (RoleIdentity("coordinator"), "mu:role/coordinator"),
        (RoleIdentity(Role.RENDEZVOUS), "mu:role/rendezvous"),
        (LaunchIdentity("a.b-c_1"), "mu:job/a.b-c_1/launch"),
        (TaskIdentity("j", 7, 0), "mu:job/j/task/7/attempt/0"),
    ],
)
def test_the_uris_are_those_of_the_design(identity: Identity, uri: str) -> None:
    assert identity.uri == uri


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "mu:",
        "mu:role/",
        "mu:role/king",
        "mu:role/coordinator/",
        "mu:role/coordinator\n",
        "MU:role/coordinator",
        "mu:job//launch",
        "mu:job/a b/launch",
        "mu:job/é/launch",
        "mu:job/" + "x" * 65 + "/launch",
        "mu:job/j/task/01/attempt/0",
        "mu:job/j/task/1/attempt/",
        "mu:job/j/task/-1/attempt/0",
        "mu:job/j/task/1/attempt/٣",
        "mu:job/j/task/1000000000/attempt/0",
        "https://example.org/",
    ],
)
def test_any_other_text_is_no_identity(uri: str) -> None:
    with pytest.raises(TLSError, match="expected mu:role/ROLE"):
        parse_identity(uri)


@given(st.text())
def test_parse_identity_raises_nothing_but_its_own_error(text: str) -> None:
    try:
        identity = parse_identity("mu:" + text)
    except TLSError:
        return
    assert identity.uri == "mu:" + text


def test_an_identity_that_would_not_be_read_back_cannot_be_made() -> None:
    for make in (
        lambda: RoleIdentity("king"),
        lambda: LaunchIdentity("a/b"),
        lambda: TaskIdentity("", 0, 0),
        lambda: TaskIdentity("j", -1, 0),
        lambda: TaskIdentity("j", 0, 10**9),
    ):
        with pytest.raises(TLSError):
            make()


@pytest.mark.parametrize("identity", [RoleIdentity("operator"), LaunchIdentity("j"), TaskIdentity("j", 3, 4), None])
def test_a_certificate_gives_the_identity_it_was_issued_for(identity: Identity | None) -> None:
    pair = AUTHORITY.issue(identity, hosts=["localhost", "127.0.0.1", "[::1]"], lifetime=HOUR)
    certificate = x509.load_pem_x509_certificate(pair.certificate)
    assert identity_of(certificate) == identity
    assert identity_of(crypto.X509.from_cryptography(certificate)) == identity


def test_no_certificate_has_no_identity() -> None:
    assert identity_of(None) is None


def test_a_certificate_without_names_has_no_identity() -> None:
    pair = AUTHORITY.issue(None, lifetime=HOUR)
    assert identity_of(x509.load_pem_x509_certificate(pair.certificate)) is None


@pytest.mark.parametrize(
    ("uris", "complaint"),
    [
        (["mu:role/king"], "expected mu:role/ROLE"),
        (["mu:role/operator", "mu:job/j/launch"], "one identity in a certificate, got 2"),
        (["MU:role/operator"], "expected mu:role/ROLE"),
    ],
)
def test_a_certificate_with_an_ambiguous_identity_is_refused(uris: list[str], complaint: str) -> None:
    with pytest.raises(TLSError, match=complaint):
        identity_of(with_uris(uris))


def test_uris_of_other_schemes_are_nothing_to_us() -> None:
    certificate = with_uris(["spiffe://x/y", "mu:job/j/launch"])
    assert identity_of(certificate) == LaunchIdentity("j")


def with_uris(uris: list[str]) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    pair = AUTHORITY.key_pair
    key = load_pem_private_key(pair.key, None)
    ca = x509.load_pem_x509_certificate(pair.certificate)
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri) for uri in uris])
    return (
        x509.CertificateBuilder()
        .subject_name(ca.subject)
        .issuer_name(ca.subject)
        .public_key(ca.public_key())
        .serial_number(1)
        .not_valid_before(ca.not_valid_before_utc)
        .not_valid_after(ca.not_valid_after_utc)
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())  # type: ignore[arg-type]
    )

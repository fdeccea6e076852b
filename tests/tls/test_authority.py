"""Certificates that are made, and the files that they lie in."""

import multiprocessing
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from mu_twisted.tls import (
    Authority,
    KeyPair,
    LaunchIdentity,
    TLSError,
    generate_keys,
    load_certificate,
    load_key_pair,
    pem_body,
)

AUTHORITY = Authority.generate()
HOUR = timedelta(hours=1)


def umask() -> int:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("Umask:")]
    return int(line.split()[1], 8)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def write(directory: Path, pair: KeyPair, name: str = "x") -> tuple[Path, Path]:
    certificate, key = directory / f"{name}_cert.pem", directory / f"{name}_key.pem"
    certificate.write_bytes(pair.certificate)
    key.write_bytes(pair.key)
    return certificate, key


def test_a_certificate_is_valid_from_an_hour_back_for_its_lifetime() -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    certificate = x509.load_pem_x509_certificate(AUTHORITY.issue(LaunchIdentity("j"), lifetime=HOUR).certificate)
    after = datetime.now(UTC)
    assert before - HOUR <= certificate.not_valid_before_utc <= after - HOUR
    assert before + HOUR <= certificate.not_valid_after_utc <= after + HOUR


def test_a_derived_secret_is_the_same_for_one_purpose_and_ca_only(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, AUTHORITY.key_pair)
    again = Authority.load(certificate, key)
    assert AUTHORITY.derived(b"a") == again.derived(b"a")
    others = {AUTHORITY.derived(b"a"), AUTHORITY.derived(b"b"), Authority.generate().derived(b"a")}
    assert [len(secret) for secret in others] == [32, 32, 32]


def test_keys_are_p256() -> None:
    certificate = x509.load_pem_x509_certificate(AUTHORITY.issue(None, lifetime=HOUR).certificate)
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert isinstance(key.curve, ec.SECP256R1)


def test_certificates_please_the_standard_librarys_strict_verification(tmp_path: Path) -> None:
    pair = AUTHORITY.issue(LaunchIdentity("j"), hosts=["localhost"], lifetime=HOUR)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*write(tmp_path, pair))
    client = ssl.create_default_context(cadata=AUTHORITY.certificate.decode())
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for _ in range(3):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert ends[0].version() == "TLSv1.3"


def test_the_key_is_not_shown_by_repr() -> None:
    assert "PRIVATE" not in repr(AUTHORITY.key_pair)


def test_an_authority_made_is_the_one_found_again(tmp_path: Path) -> None:
    made = Authority.open(tmp_path / "state" / "tls")
    found = Authority.open(tmp_path / "state" / "tls")
    assert made.key_pair == found.key_pair
    assert mode(tmp_path / "state" / "tls") == 0o700
    assert {mode(path) for path in (tmp_path / "state" / "tls").iterdir()} == {0o600}


def test_threads_that_race_for_an_authority_get_the_same(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: Authority.open(tmp_path / "tls").key_pair, range(8)))
    assert len({pair.key for pair in made}) == 1


def _open(directory: Path) -> bytes:
    return Authority.open(directory).key_pair.key


def test_processes_that_race_for_an_authority_get_the_same(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        assert len(set(pool.map(_open, [tmp_path / "tls"] * 6, chunksize=1))) == 1


def test_a_start_that_was_interrupted_leaves_nothing_that_stops_the_next(tmp_path: Path) -> None:
    (tmp_path / "ca_key.pem.new").write_bytes(b"half a k")
    (tmp_path / "ca_cert.pem.new").write_bytes(b"half a c")
    opened = Authority.open(tmp_path)
    assert opened.key_pair == Authority.load(tmp_path / "ca_cert.pem", tmp_path / "ca_key.pem").key_pair


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(TLSError, match=r"^cannot use .*file/tls for the keys: Not a directory$"):
        Authority.open(tmp_path / "file" / "tls")


def test_a_leaf_is_no_authority(tmp_path: Path) -> None:
    with pytest.raises(TLSError, match="may not sign others"):
        Authority.load(*write(tmp_path, AUTHORITY.issue(None, lifetime=HOUR)))


def test_genkeys_makes_the_originals_six_files_and_two_of_a_rendezvous(tmp_path: Path) -> None:
    paths = generate_keys(tmp_path / "keys")
    names = ["ca_key", "ca_cert", "server_key", "server_cert", "server2_key", "server2_cert"]
    names += ["rendezvous_key", "rendezvous_cert"]
    assert [path.name for path in paths] == [f"{name}.pem" for name in names]
    assert sorted(paths) == sorted((tmp_path / "keys").iterdir())
    assert [mode(path) for path in paths] == [0o600, 0o666 & ~umask()] * 4
    authority = Authority.load(paths[1], paths[0])
    for key, certificate in (paths[2:4], paths[4:6], paths[6:8]):
        pair = load_key_pair(certificate, key)
        issued = x509.load_pem_x509_certificate(pair.certificate)
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.certificate))


def test_genkeys_with_rsa_writes_pkcs1_of_2048_bits(tmp_path: Path) -> None:
    for path in generate_keys(tmp_path, rsa=True):
        if path.name.endswith("_key.pem"):
            assert path.read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
        else:
            key = x509.load_pem_x509_certificate(path.read_bytes()).public_key()
            assert isinstance(key, rsa.RSAPublicKey)
            assert key.key_size == 2048


def test_genkeys_never_overwrites_and_leaves_no_half_set(tmp_path: Path) -> None:
    (tmp_path / "server_cert.pem").write_bytes(b"mine")
    with pytest.raises(TLSError, match=r"server_cert\.pem is there already"):
        generate_keys(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["server_cert.pem"]
    assert (tmp_path / "server_cert.pem").read_bytes() == b"mine"


def test_a_body_has_no_markers_and_no_newlines_and_a_chain_is_separated_by_blanks() -> None:
    body = pem_body(b"some text\n" + AUTHORITY.certificate)
    assert body == "".join(AUTHORITY.certificate.decode().splitlines()[1:-1])
    assert pem_body(AUTHORITY.certificate * 2) == f"{body} {body}"


@pytest.mark.parametrize(
    "pem", [b"", b"hello", b"-----BEGIN X-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END X-----\n"]
)
def test_what_is_not_a_pem_has_no_body(pem: bytes) -> None:
    with pytest.raises(TLSError):
        pem_body(pem)


def test_a_chain_is_loaded_whole(tmp_path: Path) -> None:
    pair = AUTHORITY.issue(None, lifetime=HOUR)
    chain = KeyPair(pair.certificate + AUTHORITY.certificate, pair.key)
    assert load_key_pair(*write(tmp_path, chain)) == chain


def encrypted() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))


def test_every_mistake_with_the_files_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    good = AUTHORITY.issue(None, lifetime=HOUR)
    cases = {
        "does not exist; make a set with mu genkeys": (tmp_path / "none.pem", tmp_path / "none_key.pem"),
        "cannot read the certificate .*: Is a directory": (tmp_path, tmp_path),
        "a_cert.pem holds no certificate": write(tmp_path, KeyPair(b"hello", good.key), "a"),
        "b_key.pem holds no private key": write(tmp_path, KeyPair(good.certificate, good.certificate), "b"),
        "c_key.pem is encrypted": write(tmp_path, KeyPair(good.certificate, encrypted()), "c"),
        "d_key.pem does not belong": write(
            tmp_path, KeyPair(good.certificate, AUTHORITY.issue(None, lifetime=HOUR).key), "d"
        ),
        "e_cert.pem expired on": write(
            tmp_path, AUTHORITY.issue(None, lifetime=timedelta(seconds=-5), backdate=HOUR), "e"
        ),
        "f_cert.pem is valid from": write(tmp_path, AUTHORITY.issue(None, lifetime=2 * HOUR, backdate=-HOUR), "f"),
    }
    for complaint, (certificate, key) in cases.items():
        with pytest.raises(TLSError, match=complaint) as caught:
            load_key_pair(certificate, key)
        assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    certificate, key = write(tmp_path, AUTHORITY.issue(None, lifetime=HOUR))
    key.unlink()
    with pytest.raises(TLSError, match=r"the key .*x_key\.pem does not exist"):
        load_key_pair(certificate, key)


def test_a_certificate_alone_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(AUTHORITY.certificate)
    assert load_certificate(path) == AUTHORITY.certificate
    path.write_bytes(b"")
    with pytest.raises(TLSError, match="holds no certificate"):
        load_certificate(path)


@pytest.mark.parametrize("rsa", [False, True])
def test_a_lost_certificate_of_the_ca_is_made_again_from_its_key(tmp_path: Path, rsa: bool) -> None:
    first = Authority.generate(rsa=rsa)
    (tmp_path / "ca_key.pem").write_bytes(first.key_pair.key)
    second = Authority.open(tmp_path)
    assert (tmp_path / "ca_key.pem").read_bytes() == first.key_pair.key
    for old, new in ((first, second), (second, first)):
        # What either has signed is valid for peers that trust the other.
        leaf = x509.load_pem_x509_certificate(old.issue(None, lifetime=HOUR).certificate)
        leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(new.certificate))


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_is_none_is_not_replaced_where_the_certificate_is_lost(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca_key.pem").write_bytes(content)
    with pytest.raises(TLSError, match=r"holds no private key .* bring back a copy"):
        Authority.open(tmp_path)
    assert (tmp_path / "ca_key.pem").read_bytes() == content
    assert not (tmp_path / "ca_cert.pem").exists()


def test_a_lost_key_of_the_ca_is_told_with_what_to_do(tmp_path: Path) -> None:
    Authority.open(tmp_path)
    (tmp_path / "ca_key.pem").unlink()
    with pytest.raises(TLSError, match=r"ca_key\.pem does not exist, though its certificate does: bring back a copy"):
        Authority.open(tmp_path)
    assert not (tmp_path / "ca_key.pem").exists()

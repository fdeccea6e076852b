"""The files of an operator."""

import stat
from pathlib import Path

import pytest

from mu_twisted.tls import Authority, TLSError, generate_keys, generate_operator, identity_of, load_key_pair
from mu_twisted.tls._files import parse_certificates


def test_an_operator_gets_a_pair_of_the_ca_and_the_cas_certificate(tmp_path: Path) -> None:
    Authority.open(tmp_path / "tls")
    made = generate_operator(tmp_path / "alice", "alice", tmp_path / "tls")
    assert sorted(path.name for path in made) == ["alice_cert.pem", "alice_key.pem", "ca_cert.pem"]
    pair = load_key_pair(tmp_path / "alice" / "alice_cert.pem", tmp_path / "alice" / "alice_key.pem")
    identity = identity_of(parse_certificates(pair.certificate, "it")[0])
    assert identity is not None
    assert identity.uri == "mu:role/operator"
    assert stat.S_IMODE((tmp_path / "alice" / "alice_key.pem").stat().st_mode) == 0o600
    assert (tmp_path / "alice" / "ca_cert.pem").read_bytes() == (tmp_path / "tls" / "ca_cert.pem").read_bytes()


def test_several_operators_may_share_a_directory_with_the_ca(tmp_path: Path) -> None:
    generate_keys(tmp_path)
    generate_operator(tmp_path, "alice", tmp_path)
    generate_operator(tmp_path, "bob", tmp_path)
    assert (tmp_path / "bob_key.pem").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [("alice", "is not overwritten"), ("ca", "cannot be called"), ("../x", "cannot be called"), ("", "cannot be")],
)
def test_nothing_is_overwritten_or_left(tmp_path: Path, name: str, said: str) -> None:
    generate_keys(tmp_path)
    (tmp_path / "alice_cert.pem").write_text("precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(TLSError, match=said):
        generate_operator(tmp_path, name, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_there_must_be_a_ca_and_the_directory_must_not_have_another(tmp_path: Path) -> None:
    with pytest.raises(TLSError, match="does not exist"):
        generate_operator(tmp_path / "out", "alice", tmp_path / "nosuch")
    assert not (tmp_path / "out").exists()
    generate_keys(tmp_path / "one")
    generate_keys(tmp_path / "two")
    with pytest.raises(TLSError, match="another CA's"):
        generate_operator(tmp_path / "one", "alice", tmp_path / "two")

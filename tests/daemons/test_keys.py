"""The keys of daemons outlive every run of theirs."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from mu_twisted.daemons._keys import COORDINATOR, RENDEZVOUS, Keys, daemon_keys, rendezvous_keys
from mu_twisted.tls import Authority

NO_FILES = {"ca-cert": None, "ca-key": None, "srv-cert": None, "srv-key": None, "share-key": 0}


def end_of(pem: bytes) -> object:
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc


@pytest.mark.parametrize("role", [COORDINATOR, RENDEZVOUS])
def test_a_daemons_own_certificate_is_good_for_as_long_as_the_ca(tmp_path: Path, role: object) -> None:
    own = role == COORDINATOR
    keys = daemon_keys(NO_FILES, tmp_path, COORDINATOR) if own else rendezvous_keys(NO_FILES, tmp_path)
    assert end_of(keys.own.certificate) == end_of(keys.ca)


def test_a_jobs_keys_end_soon_after_its_function() -> None:
    authority = Authority.generate()
    keys = Keys(authority.certificate, authority.issue(COORDINATOR, lifetime=None), authority)
    certificate = x509.load_pem_x509_certificate(keys.for_job("j", timedelta(minutes=15)).certificate)
    valid = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert valid == timedelta(hours=2, minutes=15)

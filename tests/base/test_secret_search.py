"""The search for secrets in logs finds what it looks for: at the end of all tests it must find nothing."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import secret_search

from mu_twisted.tls import generate_keys


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not below that of all tests, which is searched itself."""
    with TemporaryDirectory() as made:
        yield Path(made)


def key_lines(directory: Path) -> list[str]:
    generate_keys(directory / "tls")
    return (directory / "tls" / "server_key.pem").read_text().splitlines()


@pytest.mark.parametrize("name", ["log", "twistd.log", "state/daemon.log"])
def test_a_line_of_a_key_in_a_log_is_found(directory: Path, name: str) -> None:
    line = key_lines(directory)[1]
    (directory / "state").mkdir()
    (directory / name).write_text(f"12:00 [x] the event is {line} and more\n")
    [said] = secret_search.found(directory)
    assert said.startswith(f"{directory / name}: ")
    assert line not in said
    (directory / name).write_text("12:00 [x] all is well, the certificate is -----BEGIN CERTIFICATE-----\n")
    assert secret_search.found(directory) == []


def test_any_private_key_and_what_a_stack_signs_with_are_found_in_what_was_printed(directory: Path) -> None:
    (directory / "keys.json").write_text(json.dumps({"access_key": "a", "secret_key": "s3cr3t-of-it"}))
    texts = ["-----BEGIN RSA PRIVATE KEY-----\nx", "signed by s3cr3t-of-it \udcff", "well"]
    assert len(secret_search.found(directory, texts)) == 2
    assert secret_search.found(directory, texts[2:]) == []


def test_certificates_are_no_secret(directory: Path) -> None:
    key_lines(directory)
    certificate = (directory / "tls" / "server_cert.pem").read_text()
    assert secret_search.found(directory, [certificate]) == []

"""Keys that others can read, and directories of keys that others can write to."""

from pathlib import Path

import pytest

from mu_twisted.daemons._permissions import exposed


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722, 0o1777, 0o702])
def test_a_directory_that_others_can_write_to_is_told(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    [line] = exposed([tmp_path], [])
    assert f"(mode {mode:04o})" in line
    assert f"chmod go-w {tmp_path}" in line


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o602])
def test_a_key_that_others_can_read_or_write_is_told(tmp_path: Path, mode: int) -> None:
    key = tmp_path / "ca_key.pem"
    key.write_text("")
    key.chmod(mode)
    [line] = exposed([], [key])
    assert f"(mode {mode:04o}): chmod 600 {key}" in line


def test_what_is_private_or_not_there_is_not_told(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("")
    for directory_mode, key_mode in ((0o700, 0o600), (0o710, 0o400), (0o755, 0o600)):
        tmp_path.chmod(directory_mode)
        key.chmod(key_mode)
        assert not list(exposed([tmp_path, tmp_path / "none"], [key, tmp_path / "none.pem"]))

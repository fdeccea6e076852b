"""The fake encoders, and modules of these tests."""

from pathlib import Path

import pytest

from mu_twisted.cli.demo.fake_encoders import make_fake_encoders


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the fake encoders under each of its names."""
    directory = tmp_path_factory.mktemp("tools")
    make_fake_encoders(directory, state_bytes=20_000)
    return directory

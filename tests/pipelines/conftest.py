"""The stand-in for the encoders, and modules of these tests."""

import sys
from pathlib import Path

import pytest

from mu_twisted.cli._standin import make_standin

sys.path.append(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the stand-in under each of its names."""
    directory = tmp_path_factory.mktemp("tools")
    make_standin(directory, state_bytes=20_000)
    return directory

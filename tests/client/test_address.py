"""Commands that name no coordinator find the user's own, or that of the machine."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mu_twisted.client import _address, default_directory

Serve = Callable[[Path], socket.socket]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Listens on the control socket of a directory."""
    with ExitStack() as listening:

        def serve(directory: Path) -> socket.socket:
            directory.mkdir(parents=True)
            listener = listening.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(directory / "control.sock"))
            listener.listen()
            return listener

        yield serve


def test_the_users_own_comes_first_unless_only_its_socket_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, serve: Serve
) -> None:
    own, machines = tmp_path / "state" / "mu", tmp_path / "run"
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(own.parent))
    monkeypatch.setattr(_address, "RUN_DIRECTORY", machines)
    assert default_directory() == own
    killed = serve(own)
    assert default_directory() == own
    serve(machines)
    assert default_directory() == own
    killed.close()
    assert default_directory() == machines

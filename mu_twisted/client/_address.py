"""A coordinator is found here: by its state directory on this machine, or by its address elsewhere."""

from pathlib import Path

from mu_twisted.client._control import Coordinator
from mu_twisted.client._errors import UsageError
from mu_twisted.client._transport import TlsTransport, UnixTransport
from mu_twisted.daemons import RUN_DIRECTORY, default_state_dir


def coordinator_at(
    server: str | None,
    state_dir: Path | None = None,
    ca_cert: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
) -> Coordinator:
    """The coordinator that is named; nothing is sent yet.

    :param server: HOST:PORT of its ``--control``, for which the operator's files are needed, too.
    :param state_dir: its state directory, on this machine; None, and no ``server``: this user's, or the system's.
    :raises UsageError: these do not go together.
    """
    if server is not None and state_dir is not None:
        raise UsageError("--server and --state-dir name two coordinators: give one of them")
    if server is None:
        return Coordinator(UnixTransport(state_dir or default_directory()))
    host, _, port = server.rpartition(":")
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65536:
        raise UsageError(f"--server: expected HOST:PORT, got {server!r}")
    if ca_cert is None or cert is None or key is None:
        switch = "-c" if ca_cert is None else "-s" if cert is None else "-k"
        raise UsageError(
            f"--server needs {switch} too: the CA's certificate (-c), and an operator's certificate (-s) and key "
            "(-k), as `mu genkeys DIR --operator NAME` makes them"
        )
    return Coordinator(TlsTransport(host.strip("[]"), int(port), ca_cert, cert, key))


def default_directory() -> Path:
    """The directory with the control socket: the user's own coordinator's, else that of the one under systemd."""
    own = default_state_dir()
    return own if (own / "control.sock").exists() or not (RUN_DIRECTORY / "control.sock").exists() else RUN_DIRECTORY

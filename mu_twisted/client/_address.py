"""A coordinator is found here: by its state directory on this machine, or by its address elsewhere."""

import re
from collections.abc import Mapping
from pathlib import Path

from mu_twisted.client._control import Coordinator
from mu_twisted.client._errors import UsageError
from mu_twisted.client._transport import TlsTransport, UnixTransport
from mu_twisted.config import is_host
from mu_twisted.daemons import RUN_DIRECTORY, default_state_dir

OPTIONS = {"server": "--server", "state-dir": "--state-dir", "ca": "-c", "certificate": "-s", "key": "-k"}
"""What a command line calls what names a coordinator."""


def coordinator_at(
    server: str | None,
    state_dir: Path | None = None,
    ca_cert: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    called: Mapping[str, str] = OPTIONS,
) -> Coordinator:
    """The coordinator that is named; nothing is sent yet.

    :param server: HOST:PORT of its ``--control``, for which the operator's files are needed, too.
    :param state_dir: its state directory, on this machine; None, and no ``server``: this user's, or the system's.
    :param ca_cert: file of the CA of a coordinator elsewhere; ``cert`` and ``key``: of the operator's pair for it.
    :param called: what these are called by who gives them, for the errors.
    :raises UsageError: these do not go together.
    """
    if server is not None and state_dir is not None:
        raise UsageError(f"{called['server']} and {called['state-dir']} name two coordinators: give one of them")
    if server is None:
        return Coordinator(UnixTransport(state_dir or default_directory()))
    host, _, port = server.rpartition(":")
    if not is_host(host) or re.fullmatch("[0-9]{1,5}", port) is None or not 0 < int(port) < 65536:
        raise UsageError(f"{called['server']}: expected HOST:PORT, got {server!r}")
    if ca_cert is None or cert is None or key is None:
        missing = "ca" if ca_cert is None else "certificate" if cert is None else "key"
        raise UsageError(
            f"{called['server']} needs {called[missing]} too: the CA's certificate ({called['ca']}), and an operator's "
            f"certificate ({called['certificate']}) and key ({called['key']}), as `mu genkeys DIR --operator NAME` "
            "makes them"
        )
    return Coordinator(TlsTransport(host.strip("[]"), int(port), ca_cert, cert, key))


def default_directory() -> Path:
    """The directory with the control socket: the user's own coordinator's, else that of the one under systemd."""
    own = default_state_dir()
    if not (RUN_DIRECTORY / "control.sock").exists() or UnixTransport(own).is_served():
        return own
    return RUN_DIRECTORY

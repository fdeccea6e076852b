"""Transports dial a coordinator's control API: a UNIX socket, or TLS as an operator. They know nothing of HTTP.

Standard library alone, on purpose: importing Twisted takes half a second, and these commands are called in loops.
"""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mu_twisted.base import MuError

TIMEOUT = 60.0
"""Seconds without a byte of an answer after which a coordinator that still answers others is taken for hung."""
SILENCE_LIMIT = 10.0
"""Seconds without a byte after which one that answers nothing is."""
COORDINATOR = "mu:role/coordinator"
_LONGEST = 107
"""Bytes of a path in ``struct sockaddr_un``, its end not counted."""


class CoordinatorError(MuError):
    """The coordinator refuses a request, or its answer cannot be read."""


class Unreachable(CoordinatorError):
    """No coordinator answers."""


class NotServed(Unreachable):
    """No process serves the control socket of this state directory."""


class ConnectionLost(Unreachable):
    """The connection was lost before the answer."""


@dataclass(frozen=True)
class UnixTransport:
    """A UNIX socket in the state directory of a coordinator on this machine.

    :param state_dir: the coordinator's.
    :param silence_limit: seconds that it may be silent.
    """

    state_dir: Path
    silence_limit: float = SILENCE_LIMIT
    hint = ""
    """Ends the error text where the answer is no HTTP."""

    @property
    def path(self) -> Path:
        return self.state_dir / "control.sock"

    def __str__(self) -> str:
        return str(self.path)

    def dial(self) -> socket.socket:
        """Connect.

        :raises Unreachable: no process listens there, or this user may not connect.
        """
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self.silence_limit)
        try:
            with _socket_address(self.path) as name:
                connection.connect(name)
        except OSError as error:
            connection.close()
            absent = isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError)
            raise (NotServed if absent else Unreachable)(self._explain(error)) from None
        return connection

    def is_served(self) -> bool:
        """Whether a process has the socket: one that was killed leaves it behind."""
        try:
            self.dial().close()
        except NotServed:
            return False
        except Unreachable:
            pass
        return True

    def _explain(self, error: OSError) -> str:
        if isinstance(error, FileNotFoundError | NotADirectoryError | ConnectionRefusedError):
            return (
                f"no coordinator runs in {self.state_dir}: start one with `mu coordinator`, "
                "or say where it is with --state-dir DIR or --server HOST:PORT"
            )
        if isinstance(error, PermissionError):
            return (
                f"{self.path} is not for this user: run as the coordinator's user, or join the group that it was "
                "started for"
            )
        return f"cannot reach the coordinator at {self.path}: {error.strerror or error}"


@dataclass(frozen=True)
class TlsTransport:
    """TLS to a coordinator anywhere, which knows operators by their certificates.

    :param host: its name or address, without brackets.
    :param port: of its ``--control``.
    :param ca: file of the CA certificate; ``certificate`` and ``key`` are the operator's.
    :param silence_limit: seconds that it may be silent.
    """

    host: str
    port: int
    ca: Path
    certificate: Path
    key: Path
    silence_limit: float = SILENCE_LIMIT
    hint = "; is this the port of its --control, and not the one that workers dial?"
    """Ends the error text where the answer is no HTTP."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"

    def dial(self) -> socket.socket:
        """Connect and shake hands.

        :raises Unreachable: no process listens there, or it is no coordinator of our CA.
        """
        context = self._context()
        try:
            plain = socket.create_connection((self.host, self.port), self.silence_limit)
        except OSError as error:
            raise Unreachable(
                f"no coordinator answers at {self}: {error.strerror or error}; is it started with --control?"
            ) from None
        try:
            connection = context.wrap_socket(plain)
        except TimeoutError:
            plain.close()
            raise Unreachable(
                f"{self} takes connections and says nothing within {self.silence_limit:g} s: is it the --control of a "
                "coordinator, and does that run?"
            ) from None
        except OSError as error:
            plain.close()
            raise Unreachable(f"no TLS with {self}: {reason_of(error)}") from None
        names = (connection.getpeercert() or {}).get("subjectAltName", ())
        if [value for kind, value in names if kind == "URI"] != [COORDINATOR]:  # type: ignore[str-unpack]
            connection.close()
            raise Unreachable(f"{self} is no coordinator: its certificate is not one of {COORDINATOR}")
        return connection

    def _context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = False  # the identity is checked in its place
        for path in (self.ca, self.certificate, self.key):
            if not path.is_file():
                raise Unreachable(f"{path} does not exist: `mu genkeys DIR --operator NAME` makes an operator's files")
        try:
            context.load_verify_locations(self.ca)
        except (ssl.SSLError, OSError) as error:
            raise Unreachable(f"the CA certificate {self.ca} cannot be used: {reason_of(error)}") from None
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (ssl.SSLError, OSError) as error:
            raise Unreachable(f"{self.certificate} and {self.key} cannot be used: {reason_of(error)}") from None
        return context


def reason_of(error: Exception) -> str:
    """Why a connection failed, in a few words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def _socket_address(path: Path) -> Iterator[str]:
    """The path as a socket's address takes it, however long it is."""
    if len(os.fsencode(path)) <= _LONGEST:
        yield str(path)
        return
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)

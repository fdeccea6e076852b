"""The control API listens on a UNIX socket for this machine, and over TLS for operators elsewhere."""

import socket
import struct
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any

from cryptography.x509.oid import NameOID
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import serverFromString
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from mu_twisted.coordinator import ObservedJobService
from mu_twisted.tls import Role, RoleIdentity, ServerContexts, TLSError, identity_of
from mu_twisted.transport import ListeningPort, why_not_listening
from mu_twisted.web._address import stop_listening
from mu_twisted.web._api import MAX_BODY, Api
from mu_twisted.web._calls import CallRefusal, ControlError
from mu_twisted.web._factory import Admission, ControlFactory
from mu_twisted.web._unix import listen_unix

CLOSE_TIME = 1.0
"""Seconds that answers under way have when the API closes."""
_OPERATOR = RoleIdentity(Role.OPERATOR)


class ControlListeners:
    """The open control API.

    :param port: the port that operators dial, if it listens for them.
    """

    def __init__(self) -> None:
        self.port: int | None = None
        self._open: list[tuple[ListeningPort, ControlFactory]] = []

    def add(self, port: ListeningPort, factory: ControlFactory) -> None:
        """One more listener."""
        self._open.append((port, factory))

    def close(self) -> Deferred[Any]:
        """Listen no more and end all connections; fires within about a second. Requests to wait for a job end."""
        ending: list[Deferred[Any]] = []
        for port, factory in self._open:
            ending.append(Deferred.fromCoroutine(stop_listening(port)))
            ending.append(factory.close(CLOSE_TIME))
        self._open.clear()
        return DeferredList(ending)


def open_control(
    reactor: Any,
    service: ObservedJobService,
    *,
    socket_path: Path,
    group: str | None = None,
    endpoint: str | None = None,
    contexts: ServerContexts | None = None,
    max_connections: int = 256,
    max_unadmitted: int = 64,
    new_address: Callable[[], str | None] = lambda: None,
) -> ControlListeners:
    """Open the control API, at once.

    :param reactor: Twisted's.
    :param service: does what is asked for.
    :param socket_path: of the UNIX socket. Its mode is 0600, so that the daemon's user alone can dial it.
    :param group: the name of a group that may dial it too, 0660.
    :param endpoint: a port, or an endpoint string of Twisted's, on which to serve operators with TLS as well.
    :param contexts: for that, as :func:`mu_twisted.tls.server_contexts` makes them.
    :param max_connections: of each listener, and ``max_unadmitted``: see :class:`ControlFactory`.
    :param new_address: an address that opens the dashboard once; None: there is no dashboard.
    :raises ControlError: one line; then nothing is left open.
    """
    api = Api(service, reactor, new_address)
    control = ControlListeners()

    def factory(admit: Admission) -> ControlFactory:
        return ControlFactory(
            api.answer,
            admit,
            clock=reactor,
            max_connections=max_connections,
            max_unadmitted=max_unadmitted,
            max_body=MAX_BODY,
        )

    local: Any = factory(_local_user)
    control.add(listen_unix(reactor, socket_path, local, group), local)
    if endpoint is not None:
        if contexts is None:
            raise ValueError("an endpoint needs contexts")
        operators = factory(_operator)
        try:
            port = _listen_tls(reactor, endpoint, contexts, operators)
        except ControlError:
            control.close()
            raise
        control.add(port, operators)
        control.port = port.getHost().port
    return control


def _listen_tls(reactor: Any, text: str, contexts: ServerContexts, factory: ControlFactory) -> ListeningPort:
    description = f"tcp:{text}" if text.isascii() and text.isdigit() else text
    try:
        endpoint = serverFromString(reactor, description)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, LookupError):
        raise ControlError(f"--control: expected a port number or an endpoint string, got {text!r}") from None
    outcome: list[Any] = []
    creator: Any = contexts
    inner: Any = factory
    endpoint.listen(TLSMemoryBIOFactory(creator, False, inner, reactor)).addBoth(outcome.append)
    if not outcome:
        raise ControlError(f"--control {text}: this kind of endpoint is not ready at once")
    if isinstance(outcome[0], Failure):
        why = why_not_listening(outcome[0])
        raise ControlError(f"cannot listen on {text}: {why}; choose another with --control (0: any that is free)")
    if not hasattr(outcome[0].getHost(), "port"):
        # Twisted makes a UNIX socket that it is given writable for all users.
        outcome[0].stopListening()
        raise ControlError(f"--control {text}: expected TCP; the UNIX socket is in the state directory")
    port: ListeningPort = outcome[0]
    return port


def _operator(transport: Any) -> str:
    """Name the peer of a TLS connection: known as soon as the first byte of a request is there, before it is read."""
    certificate = transport.getPeerCertificate()
    try:
        identity = identity_of(certificate)
    except TLSError as error:
        raise CallRefusal(HTTPStatus.FORBIDDEN, str(error)) from None
    if identity != _OPERATOR:
        shown = identity.uri if identity is not None else "one without identity"
        raise CallRefusal(
            HTTPStatus.FORBIDDEN,
            f"expected a certificate of {_OPERATOR.uri}, got {shown}; make one with `mu genkeys DIR --operator NAME`",
        )
    names = certificate.to_cryptography().subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return f"operator {names[0].value}" if names else "operator"


def _local_user(transport: Any) -> str:
    """Name the peer of a connection over the UNIX socket, whose mode has let it in."""
    credentials = transport.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    _, user, _ = struct.unpack("iII", credentials)
    return f"user {user}"

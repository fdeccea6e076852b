"""The control API on real sockets, in a thread with a reactor of its own, for tests that block."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from free_ports import held_ports
from memory_service import MemoryService
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.epollreactor import EPollReactor

from mu_twisted.tls import Authority, Identity, KeyPair, RoleIdentity, server_contexts
from mu_twisted.web import ControlListeners, open_control

T = TypeVar("T")
LIFETIME = timedelta(hours=1)
TIMEOUT = 180.0
"""Seconds after which a test is taken for hung."""


class Loop:
    """A reactor in a thread."""

    def __init__(self) -> None:
        self.reactor: Any = EPollReactor()  # type: ignore[no-untyped-call]
        started = threading.Event()
        self.reactor.callWhenRunning(started.set)
        self._thread = threading.Thread(target=self.reactor.run, args=(False,), daemon=True)
        self._thread.start()
        assert started.wait(TIMEOUT)

    def do(self, function: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """Call it there, and wait for what its Deferred fires with."""
        ended = threading.Event()
        outcome: list[Any] = []

        def call() -> None:
            doing: Deferred[Any] = maybeDeferred(function, *arguments, **more)
            doing.addBoth(outcome.append)
            doing.addBoth(lambda _: ended.set())

        self.reactor.callFromThread(call)
        assert ended.wait(TIMEOUT), "it hangs"
        if hasattr(outcome[0], "raiseException"):
            outcome[0].raiseException()
        return outcome[0]

    def until(self, condition: Callable[[], T]) -> T:
        """Wait until it is true there."""
        waiting: Deferred[T] = Deferred()

        def look() -> None:
            found = condition()
            if found:
                waiting.callback(found)
            else:
                self.reactor.callLater(0.005, look)

        def begin() -> Deferred[T]:
            look()
            return waiting

        return self.do(begin)  # type: ignore[no-any-return]

    def stop(self) -> None:
        self.reactor.callFromThread(self.reactor.stop)
        self._thread.join(TIMEOUT)
        assert not self._thread.is_alive()


class Served:
    """An open control API over a service in memory; its port stays the same when it is opened again."""

    def __init__(self, loop: Loop, state: Path) -> None:
        self.loop = loop
        self.state = state
        self.role = "coordinator"
        self.service = MemoryService()
        self.authority = Authority.generate()
        self.socket_path = state / "control.sock"
        self._held = ExitStack()
        self._port = self._held.enter_context(held_ports())
        self.control: ControlListeners = self.open()

    def open(self, **more: Any) -> ControlListeners:
        self.control = self.loop.do(
            open_control,
            self.loop.reactor,
            self.service,
            socket_path=self.socket_path,
            endpoint=f"tcp:{self._port}:interface=127.0.0.1",
            contexts=self.contexts(),
            **more,
        )
        return self.control

    def contexts(self) -> Any:
        own = self.authority.issue(RoleIdentity(self.role), lifetime=LIFETIME)
        return server_contexts(own, self.authority.certificate)

    def close(self) -> None:
        self.loop.do(self.control.close)

    def end(self) -> None:
        """Close it for good."""
        self.close()
        self._held.close()

    def files(self, identity: Identity | None, name: str = "peer", authority: Authority | None = None) -> list[str]:
        """The paths of CA, certificate and key, fresh, for this identity."""
        pair: KeyPair = (authority or self.authority).issue(identity, lifetime=LIFETIME, common_name=name)
        contents = {"ca": self.authority.certificate, "cert": pair.certificate, "key": pair.key}
        paths = [self.state / f"{name}_{kind}.pem" for kind in contents]
        for path, content in zip(paths, contents.values(), strict=True):
            path.write_bytes(content)
        return [str(path) for path in paths]

    def dial_unix(self) -> socket.socket:
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(TIMEOUT)
        caller.connect(str(self.socket_path))
        return caller

    def dial_tls(self, identity: Identity | None, authority: Authority | None = None) -> socket.socket:
        ca, cert, key = self.files(identity, authority=authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(ca)
        context.load_cert_chain(cert, key)
        caller = socket.create_connection(("127.0.0.1", self.control.port), TIMEOUT)
        return context.wrap_socket(caller)


@contextmanager
def running_loop() -> Iterator[Loop]:
    loop = Loop()
    try:
        yield loop
    finally:
        loop.stop()


@pytest.fixture(name="loop", scope="module")
def control_loop() -> Iterator[Loop]:
    with running_loop() as loop:
        yield loop


@pytest.fixture(name="served")
def served_control(loop: Loop, tmp_path: Path) -> Iterator[Served]:
    """A control API that is asked on real sockets; for who imports this and the loop."""
    served = Served(loop, tmp_path)
    yield served
    served.end()

"""A coordinator's worker port runs here without launches: the load dials by itself."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString

from mu_twisted.coordinator import WorkerRegistry
from mu_twisted.jobs import JobRecord, LaunchId, LaunchOutcome
from mu_twisted.tls import load_certificate, load_key_pair, server_contexts
from mu_twisted.transport import FrameFactory, Transport, choose_transport, io_threads, listen
from mu_twisted.wire import MAX_REPLY


class NullLauncher:
    """Launches nothing: the load dials by itself."""

    def start(self, _ids: Sequence[LaunchId], _on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        return Deferred()

    def stop(self) -> None:
        pass

    def use_larger(self) -> None:
        pass

    def note(self) -> None:
        pass

    async def diagnose(self) -> str:
        return "no worker connected"


class NullRecorder:
    """Records nothing."""

    def record(self, _records: Iterable[JobRecord]) -> None:
        pass

    def flush(self) -> None:
        pass


def receive_workers(reactor: Any, registry: WorkerRegistry, work: Path) -> None:
    """Listen on loopback, with the keys in ``work``, and print the port."""
    pair = load_key_pair(work / "coordinator_cert.pem", work / "coordinator_key.pem")
    contexts = server_contexts(pair, load_certificate(work / "ca.pem"))
    factory = FrameFactory(registry.new_session, clock=reactor, max_frame=MAX_REPLY)
    endpoint: Any = serverFromString(reactor, "tcp:0:interface=127.0.0.1:backlog=4096")  # type: ignore[no-untyped-call]
    threads = io_threads(None) if choose_transport(os.environ) is Transport.CORE else None
    listening: Deferred[Any] = listen(endpoint, contexts, factory, reactor, io_threads=threads)
    listening.addCallback(lambda port: print(port.getHost().port, flush=True))

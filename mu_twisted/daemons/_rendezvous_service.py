"""The rendezvous's service puts together state directory, keys and listener.

Whatever can go wrong at the start goes wrong in startService, so that it is one line and exit status 1.
"""

import cProfile
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.daemons import _exit
from mu_twisted.daemons._keys import rendezvous_keys
from mu_twisted.daemons._limits import SPARE_DESCRIPTORS, raise_descriptor_limit
from mu_twisted.daemons._loop_lag import LoopLag
from mu_twisted.daemons._notify import Notifier
from mu_twisted.daemons._permissions import warn_of_exposed_files
from mu_twisted.daemons._start import (
    close_in_turn,
    listen_as_before,
    listen_at_once,
    open_profile,
    use_monotonic_clock,
    write_profile,
)
from mu_twisted.daemons._state_dir import StateDirectory, default_state_dir
from mu_twisted.rendezvous import PunchService, Relay, RelayLimits, Spill
from mu_twisted.tls import server_contexts
from mu_twisted.transport import ListeningPort, Transport, choose_transport, io_descriptors, io_threads

CLOSE_TIMEOUT = 1.0
"""Seconds that workers have to hear why they are cut off when the rendezvous stops."""


def rendezvous_directory(options: Mapping[str, Any], shard: int | None = None) -> StateDirectory:
    """The state directory that the options name, held for a rendezvous, the supervisor of shards, or one shard.

    :raises mu_twisted.daemons._state_dir.StateDirectoryError: another process holds it.
    """
    given = options["state-dir"]
    lock = "rendezvous.lock" if shard is None else f"rendezvous-{shard}.lock"
    return StateDirectory(Path(given) if given else default_state_dir(), lock)


def spill_directory(state: StateDirectory, shard: int | None = None) -> Path:
    """Where messages go when memory is short; a shard's is in that of all, which its supervisor clears."""
    root = state.path / "rendezvous"
    return root if shard is None else root / str(shard)


@dataclass(frozen=True)
class ShardPlacement:
    """That of a shard among others, which share a state directory.

    :param number: its own.
    :param endpoint: where it listens, in place of ``-t``.
    :param notifier: notifies its supervisor.
    """

    number: int
    endpoint: IStreamServerEndpoint
    notifier: Notifier


class RendezvousService(Service):
    """Listens for workers and coordinators.

    :param reactor: Twisted's.
    :param options: the daemon options, a mapping.
    :param limits: of everything that peers can fill.
    :param place: of a shard; None: there are no others.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, options: Mapping[str, Any], limits: RelayLimits, place: ShardPlacement | None = None
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._limits = limits
        self._place = place
        self._relay: Relay | None = None
        self._port: ListeningPort | None = None
        self._probe_port: ListeningPort | None = None
        self._metrics_port: ListeningPort | None = None
        self._loop_lag = LoopLag(reactor)
        self._state: StateDirectory | None = None
        self._notifier = Notifier(reactor) if place is None else place.notifier
        self._profile: cProfile.Profile | None = None

    def startService(self) -> None:
        """Open everything, or exit with one line."""
        super().startService()  # type: ignore[no-untyped-call]
        use_monotonic_clock(self._reactor)
        try:
            port = self._open()
        except MuError as error:
            self._close_state()
            _exit.fail_start(error)
        self._reactor.callWhenRunning(self._ready, port)

    def stopService(self) -> Deferred[None]:
        """Close everything and write the profile."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _ready(self, port: int) -> None:
        """The reactor runs. Notified only now: a SIGTERM before finds nothing yet that ends in good order."""
        self.log.info("ready for peers on port {port}", port=port)
        self._notifier.ready(f"ready for peers on port {port}")

    def _open(self) -> int:
        threads = self._io_threads()
        spare = max(SPARE_DESCRIPTORS, io_descriptors(threads or 0) + SPARE_DESCRIPTORS * 3 // 4)
        descriptors = max(1, raise_descriptor_limit() - spare)
        connections = min(self._options["connections"], descriptors)
        place = self._place
        self._state = rendezvous_directory(self._options, None if place is None else place.number)
        keys = rendezvous_keys(self._options, self._state.path)
        if self._options["cpu-profile"]:
            self._profile = open_profile(Path(self._options["cpu-profile"]))
        punching = PunchService(self._reactor, enabled=self._options["punch"])
        self._relay = relay = Relay(
            self._reactor,
            self._limits,
            Spill(spill_directory(self._state, None if place is None else place.number)),
            connections=connections,
            descriptors=descriptors,
            shared_key=bool(self._options["share-key"]),
            debug=bool(self._options["debug"]),
            punching=punching,
        )
        contexts = server_contexts(keys.own, keys.ca)

        def listening(endpoint: IStreamServerEndpoint) -> Deferred[ListeningPort]:
            return relay.listen(endpoint, contexts, io_threads=threads)

        if place is None:
            warn_of_exposed_files(self._options, self._state.path)
            self._port = listen_as_before(self._reactor, self._options, listening, self._state.path, "rendezvous-port")
        else:
            self._port = listen_at_once(self._reactor, self._options, listening, place.endpoint)
        if self._options["metrics"] is not None:
            self._serve_metrics(relay)
        if self._options["punch"]:
            self._listen_for_probes(punching, str(getattr(self._port.getHost(), "host", "")))
        relay.open()
        port: int = getattr(self._port.getHost(), "port", 0)
        return port

    def _io_threads(self) -> int | None:
        """Threads for handshakes; None where Twisted carries the connections."""
        if choose_transport(os.environ) is not Transport.CORE:
            return None
        wanted: int | None = self._options["io-threads"]
        return io_threads(wanted) if wanted else max(1, io_threads(None) // self._options["shards"])

    def _listen_for_probes(self, punching: PunchService, interface: str) -> None:
        """Listen on a port beside the other one, on the same interface."""
        number = self._options["probe-port"]
        if number and self._place is not None:
            number += self._place.number
        kind: Any = TCP6ServerEndpoint if ":" in interface else TCP4ServerEndpoint
        endpoint = kind(self._reactor, number, interface=interface)
        said = {"port": f"port {number}"}
        self._probe_port = listen_at_once(self._reactor, said, punching.listen, endpoint, "--probe-port")
        self.log.info("workers' NATs are probed on port {port}", port=self._probe_port.getHost().port)

    def _serve_metrics(self, relay: Relay) -> None:
        """Serve them; a shard on the port that is as far behind the one that was given as its number says."""
        from mu_twisted.daemons._rendezvous_metrics import relay_metrics  # these cost, and few want them
        from mu_twisted.web import ListenAddress, open_metrics, parse_address

        address = parse_address(self._options["metrics"])
        if address.port and self._place is not None:
            address = ListenAddress(address.host, address.port + self._place.number)
        self._loop_lag.start()
        self._metrics_port = open_metrics(
            self._reactor, address, lambda: relay_metrics(relay.counts(), self._loop_lag.seconds())
        )
        where = self._metrics_port.getHost()
        self.log.info("metrics are served on {host} port {port}", host=where.host, port=where.port)

    async def _close(self) -> None:
        steps: list[Callable[[], Any]] = [self._notifier.stopping]
        if self._port is not None:
            steps.append(self._port.stopListening)
        if self._probe_port is not None:
            steps.append(self._probe_port.stopListening)
        if self._metrics_port is not None:
            steps += [self._metrics_port.stopListening, self._loop_lag.stop]
        if self._relay is not None:
            steps += [self._relay.close, partial(self._parting, self._relay)]
        if self._profile is not None:
            steps.append(partial(write_profile, self._profile, self._options["cpu-profile"]))
        await close_in_turn(*steps, self._close_state)

    def _parting(self, relay: Relay) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        deadline = self._reactor.seconds() + CLOSE_TIMEOUT

        def look() -> None:
            if not len(relay) or self._reactor.seconds() > deadline:
                gone.callback(None)
            else:
                self._reactor.callLater(0.02, look)

        look()
        return gone

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()

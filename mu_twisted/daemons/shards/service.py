"""The supervisor of a rendezvous of several processes, its shards, runs them on consecutive ports.

It opens the ports, starts the shards, starts one that ends again, and ends them all with itself. It carries no message.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.base.json_types import JsonObject
from mu_twisted.daemons import _exit
from mu_twisted.daemons._keys import rendezvous_keys
from mu_twisted.daemons._notify import Notifier
from mu_twisted.daemons._permissions import warn_of_exposed_files
from mu_twisted.daemons._rendezvous_service import rendezvous_directory, spill_directory
from mu_twisted.daemons._start import close_in_turn, use_monotonic_clock
from mu_twisted.daemons._state_dir import StateDirectory
from mu_twisted.daemons.shards.ports import Listener, open_ports
from mu_twisted.daemons.shards.process import Shard
from mu_twisted.rendezvous import RelayLimits, Spill
from mu_twisted.transport import every

LOOK = 5.0
"""Seconds between two looks whether all shards are alive."""


class ShardsService(Service):
    """Runs the shards.

    :param reactor: Twisted's.
    :param options: the daemon options, a mapping; ``shards`` is how many.
    :param limits: of each shard.
    """

    log = Logger()

    def __init__(self, reactor: Any, options: Mapping[str, Any], limits: RelayLimits) -> None:
        self._reactor = reactor
        self._options = options
        self._limits = limits
        self._state: StateDirectory | None = None
        self._listeners: list[Listener] = []
        self._shards: list[Shard] = []
        self._notifier = Notifier(reactor)
        self._looking = every(reactor, LOOK, self._look)
        self._complete = False
        self._failed = False

    def startService(self) -> None:
        """Open what all share, or exit with one line; the shards are started when the reactor runs."""
        super().startService()  # type: ignore[no-untyped-call]
        use_monotonic_clock(self._reactor)
        try:
            self._open()
        except MuError as error:
            if self._state is not None:
                self._state.close()
            _exit.fail_start(error)
        self._reactor.callWhenRunning(self._start)

    def stopService(self) -> Deferred[None]:
        """End all shards."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    # -- what shards report ----------------------------------------------------------------------------------------

    def shard_ready(self) -> None:
        """A shard is there, for the first time or again."""
        if not self.running or not all(shard.ready for shard in self._shards):
            return
        first, count = self._listeners[0].port, len(self._listeners)
        status = f"all {count} shards are ready for peers, on consecutive ports from {first}"
        self.log.info("{status}", status=status)
        self._complete = True
        self._notifier.ready(status)

    def shard_missing(self, status: str) -> None:
        """A shard has ended, and is started again."""
        if self._complete:
            self._notifier.hold(status)

    def shard_failed(self, error: str) -> None:
        """A shard cannot be started: nor, then, can what it is a part of."""
        if self._failed or not self.running:
            return
        self._failed = True
        _exit.set_status(_exit.FAILURE)
        try:
            _exit.complain(error)
        finally:
            self._reactor.stop()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._state = state = rendezvous_directory(self._options)
        rendezvous_keys(self._options, state.path)  # what is wrong with them is logged once, and a CA made once
        warn_of_exposed_files(self._options, state.path)
        Spill(spill_directory(state))  # nothing is left there of shards that were killed
        self._listeners = open_ports(self._reactor, self._options, self._options["shards"])
        for number, listener in enumerate(self._listeners):
            order = {"options": self._options_of(number), "limits": asdict(self._limits)}
            self._shards.append(Shard(self._reactor, number, listener, order, self))

    def _options_of(self, number: int) -> JsonObject:
        options = dict(self._options)
        if options["cpu-profile"]:
            options["cpu-profile"] += f".{number}"
        return options

    def _start(self) -> None:
        if self.running:
            for shard in self._shards:
                shard.start()
            self._looking.start()

    def _look(self) -> None:
        for shard in self._shards:
            shard.look()

    async def _close(self) -> None:
        steps: list[Callable[[], Any]] = [self._notifier.stopping]
        steps.append(self._looking.stop)
        steps.append(lambda: DeferredList([shard.stop() for shard in self._shards]))
        steps += [listener.close for listener in self._listeners]
        if self._state is not None:
            steps.append(self._state.close)
        await close_in_turn(*steps)

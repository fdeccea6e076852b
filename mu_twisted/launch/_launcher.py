"""The launcher for Twisted carries out the policy's decisions by threads of its own. Knows no jobs."""

import random as random_module
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.base import MuError
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.jobs import Answer, LaunchAction, LaunchOutcome, LaunchPolicy, LaunchScheduler, Pace
from mu_twisted.launch._region import RegionLauncher
from mu_twisted.launch._values import Launch, LaunchError

MAX_THREADS = 16
"""Regions to which launches are sent at the same time, at most."""


class _Order:
    """One call of :meth:`Launcher.launch`."""

    def __init__(self, size: int, on_outcome: Callable[[LaunchOutcome], None]) -> None:
        self.left = size
        self.on_outcome = on_outcome
        self.finished: Deferred[None] = Deferred()


class Launcher:
    """Launches in any number of regions. All methods must be called in the reactor's thread.

    :param reactor: Twisted's, for its clock and its thread.
    :param endpoint: base URL of Lambda in a region.
    :param credentials: gets the keys to sign with now. Called in a thread before each batch, may block; a
        :class:`~mu_twisted.base.MuError` that it raises becomes the outcome of that batch.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections to each region at most.
    :param policy: how fast and how often to try.
    :param connect_timeout: seconds for one connection.
    :param timeout: seconds for one answer, connecting included.
    :param tail_timeout: seconds for the last answers of a batch, where the others came sooner.
    :param random: returns a number from 0 to 1 at each call, for the delays.
    :param threads: creates the thread pool that runs the batches.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        endpoint: Callable[[str], str],
        credentials: Callable[[], AccessKeys],
        ca_bundle: str | None,
        pool_size: int = 64,
        policy: LaunchPolicy | None = None,
        connect_timeout: float = 5.0,
        timeout: float = 20.0,
        tail_timeout: float = 5.0,
        random: Callable[[], float] = random_module.random,
        threads: Callable[[], ThreadPool] = lambda: ThreadPool(minthreads=0, maxthreads=MAX_THREADS, name="launching"),
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._credentials = credentials
        self._limits: dict[str, Any] = {
            "ca_bundle": ca_bundle,
            "pool_size": pool_size,
            "connect_timeout": connect_timeout,
            "timeout": timeout,
            "tail_timeout": tail_timeout,
            "clock": reactor.seconds,
        }
        self._scheduler = LaunchScheduler(policy or LaunchPolicy(), random)
        self._new_threads = threads
        self._threads: ThreadPool | None = None
        self._regions: dict[str, RegionLauncher] = {}
        self._in_progress: dict[str, tuple[RegionLauncher, Deferred[None]]] = {}
        self._launches: dict[str, tuple[Launch, _Order]] = {}
        self._wake: DelayedCall | None = None
        self._settled: deque[LaunchOutcome] = deque()
        self._closed = False
        self._at_shutdown = reactor.addSystemEventTrigger("during", "shutdown", self.close)

    def launch(self, launches: Sequence[Launch], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        """Launch, in turn with launches in progress.

        :param launches: with identifiers of which none is in progress.
        :param on_outcome: called exactly once for each launch, never before this returns.
        :returns: fires when each has its outcome; fails with :class:`LaunchError`, before any is sent, where an
            identifier is in use, a region's endpoint cannot be used, or the launcher is closed.
        """
        if self._closed:
            return _failed(LaunchError("the launcher is closed"))
        if not launches:
            return succeed(None)
        try:
            for region in {launch.region for launch in launches}:
                self._region(region)
            actions = self._scheduler.submit(
                ((launch.launch_id, launch.region) for launch in launches),
                self._reactor.seconds(),
                tries={launch.launch_id: launch.tries for launch in launches if launch.tries is not None},
            )
        except MuError as error:
            return _failed(error)
        except ValueError as error:
            return _failed(LaunchError(str(error)))
        order = _Order(len(launches), on_outcome)
        self._launches.update((launch.launch_id, (launch, order)) for launch in launches)
        self._carry_out(actions)
        return order.finished

    def cancel(self) -> None:
        """Cancel all launches that wait to be sent. Those in flight end with their answers."""
        self._stop(at_once=False)

    def paces(self) -> list[Pace]:
        """The rate of launches in each region at the moment."""
        return self._scheduler.paces()

    def withdraw(self, launch_ids: Iterable[str]) -> None:
        """As :meth:`cancel`, for these only."""
        self._carry_out(self._scheduler.cancel(self._reactor.seconds(), launch_ids))

    def close(self) -> Deferred[None]:
        """Cancel all launches, those in flight too, and end the threads.

        :returns: fires when the threads have ended. May be called again.
        """
        if not self._closed:
            self._closed = True
            self._reactor.removeSystemEventTrigger(self._at_shutdown)
            self._stop(at_once=True)
        ended: Deferred[Any] = DeferredList([ended for _, ended in self._in_progress.values()])
        return ended.addCallback(lambda _: self._end_threads())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _region(self, name: str) -> RegionLauncher:
        if name not in self._regions:
            self._regions[name] = RegionLauncher(self._endpoint(name), name, self._credentials, **self._limits)
        return self._regions[name]

    def _carry_out(self, actions: Iterable[LaunchAction]) -> None:
        for action in actions:
            if isinstance(action, LaunchOutcome):
                # Later, so that no caller is called back from within its own call.
                if not self._settled:
                    self._reactor.callLater(0, self._report_settled)
                self._settled.append(action)
            else:
                self._send(action.region, [self._launches[launch_id][0] for launch_id in action.launch_ids])
        self._set_wake()

    def _send(self, name: str, launches: list[Launch]) -> None:
        region = self._region(name)

        def report(answers: list[Answer]) -> None:
            self._reactor.callFromThread(self._answered, answers)

        working = deferToThreadPool(self._reactor, self._pool(), region.perform, launches, report)
        ended = working.addErrback(self._broken).addCallback(lambda reason: self._ended(name, reason))
        self._in_progress[name] = (region, ended)

    def _broken(self, failure: Failure) -> str:
        self.log.failure("a batch of launches ended early", failure)
        return f"launching failed: {type(failure.value).__name__}; the log has more"

    def _answered(self, answers: list[Answer]) -> None:
        self._carry_out(self._scheduler.answered(answers, self._reactor.seconds()))

    def _ended(self, region: str, reason: str) -> None:
        del self._in_progress[region]
        self._carry_out(self._scheduler.batch_ended(region, reason, self._reactor.seconds()))

    def _report_settled(self) -> None:
        while self._settled:
            self._settle(self._settled.popleft())

    def _settle(self, outcome: LaunchOutcome) -> None:
        _, order = self._launches.pop(outcome.launch_id)
        try:
            order.on_outcome(outcome)
        except Exception:  # noqa: BLE001 - one listener's mistake must not cost the others their outcomes
            self.log.failure("the listener for an outcome of a launch failed")
        order.left -= 1
        if not order.left:
            order.finished.callback(None)

    def _stop(self, *, at_once: bool) -> None:
        for region, _ in self._in_progress.values():
            region.cancel(at_once=at_once)
        self._regions.clear()
        self._carry_out(self._scheduler.cancel(self._reactor.seconds()))

    def _set_wake(self) -> None:
        if self._wake is not None and self._wake.active():
            self._wake.cancel()
        self._wake = None
        now = self._reactor.seconds()
        at = self._scheduler.wake_at(now)
        if at is not None:
            self._wake = self._reactor.callLater(at - now, self._time_passed)

    def _time_passed(self) -> None:
        self._carry_out(self._scheduler.time_passed(self._reactor.seconds()))

    def _pool(self) -> ThreadPool:
        if self._threads is None:
            self._threads = self._new_threads()
            self._threads.start()
        return self._threads

    def _end_threads(self) -> None:
        self._report_settled()
        if self._threads is not None:
            self._threads.stop()
            self._threads = None


def _failed(error: MuError) -> Deferred[None]:
    deferred: Deferred[None] = Deferred()
    deferred.errback(error)
    return deferred

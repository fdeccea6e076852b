"""The launcher as Twisted code sees it: blocking work in threads of its own, decisions in the reactor's thread."""

import random
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol, cast

from twisted.internet.base import DelayedCall
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from mu_twisted.jobs._launching import Answer, LaunchAction, Launching, LaunchPolicy, SendBatch, Settle
from mu_twisted.launch._sender import CANCELLED, Sender
from mu_twisted.launch._types import Credentials, Launch, LaunchOutcome
from mu_twisted.wire import MuError

MOST_THREADS = 32
"""Regions at work at once; there are about as many."""


class Threads(Protocol):
    """The part of Twisted's thread pool that the launcher uses."""

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def callInThread(self, func: Callable[..., object], *args: Any) -> None: ...


def _own_threads() -> Threads:
    pool: Any = ThreadPool
    return cast(Threads, pool(0, MOST_THREADS, "launch"))


class _Group:
    """The launches of one call."""

    def __init__(self, left: int, on_outcome: Callable[[LaunchOutcome], None]) -> None:
        self.left = left
        self.on_outcome = on_outcome
        self.done: Deferred[None] = Deferred()


class Launcher:
    """Launches functions, retrying as the policy says. Methods are called in the reactor's thread.

    :param reactor: with ``callFromThread``, ``callLater``, ``seconds`` and ``addSystemEventTrigger``.
    :param endpoint: base URL of Lambda in a region; called in a thread.
    :param credentials: called in a thread before each batch; may block. Raises a
        :class:`~mu_twisted.wire.MuError` whose text becomes the reason of the batch's launches.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections to each region, at most.
    :param policy: how hard to try, and how fast.
    :param random: a number from 0 to 1 at each call.
    :param threads: what runs the batches; None: a pool of this launcher's own.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        endpoint: Callable[[str], str],
        credentials: Callable[[], Credentials],
        ca_bundle: str | None,
        pool_size: int = 64,
        policy: LaunchPolicy | None = None,
        random: Callable[[], float] = random.random,
        threads: Threads | None = None,
    ) -> None:
        self._reactor = reactor
        self._policy = Launching(policy or LaunchPolicy(), random)
        self._new_sender = lambda: Sender(
            endpoint=endpoint, credentials=credentials, ca_bundle=ca_bundle, pool_size=pool_size
        )
        self._sender = self._new_sender()
        self._threads = threads or _own_threads()
        self._started = False
        self._closed = False
        self._batches = 0
        self._launches: dict[str, tuple[Launch, _Group]] = {}
        self._todo: deque[LaunchAction] = deque()
        self._busy = False
        self._alarm: DelayedCall | None = None
        self._closing: list[Deferred[None]] = []
        self._trigger = reactor.addSystemEventTrigger("during", "shutdown", self.close)

    def launch(self, launches: Sequence[Launch], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        """Launch all of these.

        :param on_outcome: called exactly once for each of them, in the reactor's thread.
        :returns: fires once all have had their outcome.
        :raises ValueError: an identifier is in use.
        """
        if not launches:
            return succeed(None)
        group = _Group(len(launches), on_outcome)
        if self._closed:
            for launch in launches:
                self._tell(group, LaunchOutcome(launch.launch_id, False, 0, CANCELLED))
            return group.done
        now = self._reactor.seconds()
        actions = self._policy.submit([(launch.launch_id, launch.region) for launch in launches], now)
        self._launches.update((launch.launch_id, (launch, group)) for launch in launches)
        self._carry_out(actions)
        return group.done

    def cancel(self) -> None:
        """Send none of those that are not yet sent; those in flight end with their answer. Later launches are sent."""
        self._cancel(at_once=False)

    def close(self) -> Deferred[None]:
        """Cut off what is in flight, give up the rest, end the threads. May be called again."""
        done: Deferred[None] = Deferred()
        self._closing.append(done)
        if not self._closed:
            self._closed = True
            self._reactor.removeSystemEventTrigger(self._trigger)
            self._cancel(at_once=True)
        self._end_if_idle()
        return done

    # -- inside ----------------------------------------------------------------------------------------------------

    def _cancel(self, *, at_once: bool) -> None:
        self._sender.cancel(at_once=at_once)
        self._sender = self._new_sender()
        self._carry_out(self._policy.cancel(self._reactor.seconds()))

    def _carry_out(self, actions: Iterable[LaunchAction]) -> None:
        self._todo.extend(actions)
        if self._busy:
            return
        self._busy = True
        try:
            while self._todo:
                action = self._todo.popleft()
                if isinstance(action, SendBatch):
                    self._send(action)
                else:
                    self._settle(action)
        finally:
            self._busy = False
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None and self._alarm.active():
            self._alarm.cancel()
        self._alarm = None
        now = self._reactor.seconds()
        wake = self._policy.wake_at(now)
        if wake is not None:
            self._alarm = self._reactor.callLater(wake - now, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._carry_out(self._policy.time_passed(self._reactor.seconds()))

    def _settle(self, action: Settle) -> None:
        _, group = self._launches.pop(action.launch_id)
        self._tell(group, LaunchOutcome(action.launch_id, action.accepted, action.status, action.reason))

    def _tell(self, group: _Group, outcome: LaunchOutcome) -> None:
        group.left -= 1
        try:
            group.on_outcome(outcome)
        except Exception:  # noqa: BLE001 - whatever the caller's function does, the other launches have their outcome
            self.log.failure("what was to be told of launch {id} failed", id=outcome.launch_id)
        if group.left == 0:
            group.done.callback(None)

    def _send(self, action: SendBatch) -> None:
        if not self._started:
            self._started = True
            self._threads.start()
        self._batches += 1
        batch = [self._launches[launch_id][0] for launch_id in action.launch_ids]
        self._threads.callInThread(self._send_in_thread, self._sender, action.region, batch)

    def _send_in_thread(self, sender: Sender, region: str, batch: list[Launch]) -> None:
        reason = "no answer came"
        try:
            sender.send(region, batch, lambda answers: self._reactor.callFromThread(self._answered, answers))
        except MuError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - each launch has its outcome all the same
            reason = f"launching failed: {type(error).__name__}; the log has more"
            self.log.failure("a batch of launches failed")
        finally:
            self._reactor.callFromThread(self._ended, region, reason)

    def _answered(self, answers: list[Answer]) -> None:
        self._carry_out(self._policy.answered(answers, self._reactor.seconds()))

    def _ended(self, region: str, reason: str) -> None:
        self._batches -= 1
        self._carry_out(self._policy.batch_ended(region, reason, self._reactor.seconds()))
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if not self._closed or self._batches:
            return
        if self._started:
            self._started = False
            self._threads.stop()  # they are idle: this takes no time
        waiting, self._closing = self._closing, []
        for done in waiting:
            done.callback(None)

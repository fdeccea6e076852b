"""The Lambda of a local stack is put together here: functions, environments, events and the endpoint.

Knows where the S3 is and nothing of how it runs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.local._dispatch import Dispatcher
from mu_twisted.local._errors import LocalError
from mu_twisted.local._events import EventQueue
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local._settings import Settings
from mu_twisted.local._sites import BoundedSite
from mu_twisted.local.environments.cgroups import MemoryGroups
from mu_twisted.local.environments.host import HostRuntime
from mu_twisted.local.environments.pool import EnvironmentPool, PoolLimits
from mu_twisted.local.lambda_api import ApiRequest, Backend, LambdaApi

_LOOPBACK = "127.0.0.1"
_IDLE = 120.0
"""Seconds that a caller's connection may stand idle."""


class LocalLambda:
    """A Lambda endpoint on this machine; its port is open from the first moment.

    :param reactor: runs it.
    :param threads: for what blocks.
    :param settings: of the stack.
    :param state: the state directory, which no environment is to see.
    :param run: a directory that is removed with this process.
    :param keys: access key and secret key, the only ones that it takes.
    :param cgroups: the memory groups, or None.
    :param fetch: reads a package from S3 by bucket, key and version.
    :param on_failure: called where no environment can be made any more.
    :raises LocalError: where the port is taken, or AWS's runtime client is not installed.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        threads: ThreadPool,
        settings: Settings,
        state: Path,
        run: Path,
        keys: tuple[str, str],
        cgroups: MemoryGroups | None,
        fetch: Callable[[str, str, str | None], Deferred[bytes]],
        on_failure: Callable[[Failure], None],
    ) -> None:
        self._on_failure = on_failure
        self._store = store = FunctionStore(state / "functions")
        self._host = host = HostRuntime(
            reactor,
            threads,
            run,
            state,
            store,
            self,
            region=settings.region,
            keys=keys,
            isolation=settings.isolation,
            plain=settings.plain,
            cgroups=cgroups,
        )
        limits = PoolLimits(settings.concurrency, settings.idle)
        self._pool = pool = EnvironmentPool(reactor, time.time, host, limits, lambda: self._dispatcher.run())
        self._dispatcher = Dispatcher(reactor, EventQueue(settings.retry_delay), store, pool, settings.region)
        for function in store:
            pool.reserve(function.name, function.reserved)
        backend = Backend(
            store,
            pool.invoke,
            self._dispatcher.enqueue,
            host.unpack,
            self._forget_code,
            self._changed,
            fetch,
            settings.concurrency,
        )
        site = BoundedSite(LambdaApi(backend, {keys[0]: keys[1]}, time.time), ApiRequest, reactor, _IDLE)
        try:
            self._port = reactor.listenTCP(settings.lambda_port, site, 4096, _LOOPBACK)
        except CannotListenError as error:
            raise LocalError(
                f"cannot listen on port {settings.lambda_port}: {os.strerror(error.socketError.errno)}; "
                "give another --lambda-port"
            ) from error
        self._stopped = False

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{_LOOPBACK}:{self._port.getHost().port}"

    def point(self, s3_endpoint: str) -> None:
        """Set the endpoints of S3 and Lambda that environments see from now on."""
        self._host.set_endpoints({"AWS_ENDPOINT_URL_S3": s3_endpoint, "AWS_ENDPOINT_URL_LAMBDA": self.endpoint})

    def start(self) -> Deferred[str]:
        """Start what environments are forked from. Fires with one line about the isolation in force."""
        return self._host.start()

    def environment_ended(self, name: str, status: int | None, reason: str) -> None:
        """See :class:`HostListener`."""
        environment = self._pool.find(name)
        if environment is not None:
            if status is None:
                self._log.error("an environment could not be made: {reason}", reason=reason)
            environment.ended(status, reason)

    def environment_gone(self, name: str) -> None:
        """See :class:`HostListener`."""
        environment = self._pool.find(name)
        if environment is not None:
            environment.gone()
            self._forget_code()

    def environments_lost(self) -> None:
        """See :class:`HostListener`."""
        self._pool.lost()

    def host_failed(self, failure: Failure) -> None:
        """See :class:`HostListener`."""
        self._on_failure(failure)

    def _changed(self, name: str, function: Function | None) -> None:
        self._pool.reserve(name, None if function is None else function.reserved)
        self._pool.retire_stale(name, None if function is None else function.revision)
        self._forget_code()
        self._dispatcher.run()

    def _forget_code(self) -> None:
        if not self._stopped:
            self._host.forget_code(self._pool.codes() | {function.code for function in self._store})

    async def stop(self) -> None:
        """Take nothing more, end every environment, and answer the callers that wait."""
        self._stopped = True
        self._dispatcher.stop()
        self._pool.stop()
        closed, ended = self._port.stopListening(), self._host.stop()
        if closed is not None:
            await closed
        try:
            await ended
        finally:
            self._pool.lost()

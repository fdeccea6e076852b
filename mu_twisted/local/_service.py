"""The whole stack as one service: state directory, S3, zygote, endpoint, started together and ended together."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from twisted.application.service import Service
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.local._api import ApiRequest, Backend, LambdaApi
from mu_twisted.local._cgroups import MemoryGroups
from mu_twisted.local._dispatch import Dispatcher
from mu_twisted.local._environments import EnvironmentPool, Limits
from mu_twisted.local._errors import LocalError, invalid
from mu_twisted.local._events import EventQueue
from mu_twisted.local._functions import Function, FunctionStore
from mu_twisted.local._ground import RealGround
from mu_twisted.local._invocation import Invocation, Result
from mu_twisted.local._runtime_api import QuietSite
from mu_twisted.local._s3 import LocalS3, client
from mu_twisted.local._s3_programs import choose
from mu_twisted.local._state import STACK, StateDirectory, write_private

_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Settings:
    """What a local stack can be told.

    :param state_dir: its state directory.
    :param lambda_port: port of the Lambda endpoint, 0 for any.
    :param s3_port: port of the S3, 0 for any.
    :param region: the region that it says it is.
    :param isolation: ``auto``, ``user`` (no more than an ordinary user's rights) or ``none``.
    :param cgroups: whether memory may be limited by control groups.
    :param plain: start a fresh Python for each environment.
    :param concurrency: invocations at once.
    :param idle: seconds that an environment stays without work.
    :param retry_delay: seconds before a failed event's second try; twice that before its third.
    :param s3: the S3's program: ``auto``, ``seaweedfs`` or ``moto``.
    """

    state_dir: Path
    lambda_port: int = 0
    s3_port: int = 0
    region: str = "us-east-1"
    isolation: str = "auto"
    cgroups: bool = True
    plain: bool = False
    concurrency: int = 1000
    idle: float = 60.0
    retry_delay: float = 60.0
    s3: str = "auto"


class LocalService(Service):
    """A local stack.

    :param reactor: runs it.
    :param settings: what it is told.
    :param on_failure: called with one line where it cannot start.
    """

    name = "mu-local"
    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, on_failure: Callable[[LocalError], None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._on_failure = on_failure
        self._threads = ThreadPool(0, 8, "mu-local")
        self._state: StateDirectory | None = None
        self._port: Any = None
        self._ground: RealGround | None = None
        self._pool: EnvironmentPool | None = None
        self._dispatcher: Dispatcher | None = None
        self._s3: LocalS3 | None = None
        self._cgroups: MemoryGroups | None = None
        self._store: FunctionStore | None = None
        self._threads_running = False

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        began = self._reactor.seconds()
        try:
            self._open()
        except (LocalError, OSError) as error:
            self._failed(error)
            return
        started = Deferred.fromCoroutine(self._start(began))
        started.addErrback(self._fail)

    def _fail(self, failure: Failure) -> None:
        if not isinstance(failure.value, LocalError):
            self._log.failure("the local stack cannot go on", failure)
        self._failed(failure.value)

    def _failed(self, error: BaseException | None) -> None:
        if self.running:
            self._on_failure(error if isinstance(error, LocalError) else LocalError(f"cannot start: {error}"))

    def _open(self) -> None:
        """All that is quick: the directory, the port, the processes."""
        settings = self._settings
        self._state = state = StateDirectory(settings.state_dir)
        state.clean()
        run = state.begin()
        keys = state.credentials()
        self._store = store = FunctionStore(state.path / "functions")
        if settings.cgroups:
            name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            self._cgroups = MemoryGroups.make(name, lambda group: state.leave("cgroup", str(group)))
        self._threads.start()
        self._threads_running = True
        self._ground = ground = RealGround(
            self._reactor,
            self._threads,
            run,
            state.path,
            store,
            isolation=settings.isolation,
            plain=settings.plain,
            cgroups=self._cgroups,
        )
        objects, beside = state.path / "s3", run / "s3"
        beside.mkdir(mode=0o700)
        program = choose(settings.s3, objects, beside, keys, state.leave)
        self._s3 = LocalS3(
            self._reactor,
            self._threads,
            program,
            objects,
            beside,
            keys,
            settings.region,
            settings.s3_port,
            self._fail,
            private=settings.isolation != "none",
        )
        self._s3.choose_port()
        self._pool = pool = EnvironmentPool(
            self._reactor, time.time, ground, Limits(settings.concurrency, settings.idle), self._freed
        )
        queue = EventQueue(settings.retry_delay)
        self._dispatcher = Dispatcher(self._reactor, queue, store, pool, settings.region)
        for function in store:
            pool.reserve(function.name, function.reserved)
        ground.region = settings.region
        ground.credentials = keys
        ground.on_ended = self._ended
        ground.on_gone = self._gone
        ground.on_lost = pool.lost
        ground.on_failure = self._fail
        backend = Backend(
            store, self._invoke, self._enqueue, self._prepare, self._changed, self._fetch, settings.concurrency
        )
        api = LambdaApi(backend, {keys[0]: keys[1]}, time.time)
        site = QuietSite(api, ApiRequest, self._reactor, 120.0)
        try:
            self._port = self._reactor.listenTCP(settings.lambda_port, site, 4096, _LOOPBACK)
        except CannotListenError as error:
            raise LocalError(
                f"port {settings.lambda_port} cannot be listened at: {error.socketError}; give another --lambda-port"
            ) from error

    async def _start(self, began: float) -> None:
        assert self._ground is not None
        assert self._s3 is not None
        assert self._state is not None
        assert self._port is not None
        parts = [Deferred.fromCoroutine(self._start_lambda(began)), Deferred.fromCoroutine(self._start_s3(began))]
        try:
            await gatherResults(parts, consumeErrors=True)
        except FirstError as error:
            raise error.subFailure.value from error  # type: ignore[misc]
        if not self.running:
            return
        access, secret = self._state.credentials()
        found = {
            "lambda_endpoint": self._endpoint(),
            "s3_endpoint": self._s3.endpoint,
            "access_key": access,
            "secret_key": secret,
            "region": self._settings.region,
            "pid": os.getpid(),
        }
        write_private(self._state.path / STACK, json.dumps(found))
        self._log.info("ready; the address and the keys are in {path}", path=str(self._state.path / STACK))

    def _endpoint(self) -> str:
        assert self._port is not None
        return f"http://{_LOOPBACK}:{self._port.getHost().port}"

    async def _start_lambda(self, began: float) -> None:
        assert self._ground is not None
        self._point()
        isolation = await self._ground.start()
        self._log.info("isolation: {isolation}", isolation=isolation)
        seconds = self._reactor.seconds() - began
        self._log.info("Lambda answers at {url} after {s:.2f} s", url=self._endpoint(), s=seconds)

    async def _start_s3(self, began: float) -> None:
        assert self._s3 is not None
        await self._s3.start()
        self._point()
        self._log.info(
            "S3 ({kind}) answers at {url} after {s:.2f} s",
            kind=self._s3.kind,
            url=self._s3.endpoint,
            s=self._reactor.seconds() - began,
        )

    def _point(self) -> None:
        """Tell environments where S3 and Lambda are."""
        assert self._ground is not None
        assert self._s3 is not None
        self._ground.variables = {
            "AWS_ENDPOINT_URL_S3": self._s3.endpoint,
            "AWS_ENDPOINT_URL_LAMBDA": self._endpoint(),
        }

    def _ended(self, name: str, status: int | None, reason: str) -> None:
        environment = self._pool.find(name) if self._pool is not None else None
        if environment is not None:
            if status is None:
                self._log.error("an environment could not be made: {reason}", reason=reason)
            environment.ended(status, reason)

    def _gone(self, name: str) -> None:
        environment = self._pool.find(name) if self._pool is not None else None
        if environment is not None:
            environment.gone()
            self._forget_code()

    def _freed(self) -> None:
        if self._dispatcher is not None:
            self._dispatcher.run()

    def _prepare(self, function: Function) -> Deferred[None]:
        assert self._ground is not None
        return self._ground.prepare(function)

    def _changed(self, name: str, function: Function | None) -> None:
        assert self._pool is not None
        self._pool.reserve(name, None if function is None else function.reserved)
        self._pool.retire_stale(name, None if function is None else function.revision)
        self._forget_code()
        self._freed()

    def _forget_code(self) -> None:
        assert self._pool is not None
        if self._ground is not None and self._store is not None and self.running:
            self._ground.forget_code(self._pool.codes() | {function.code for function in self._store})

    def _invoke(self, function: Function, invocation: Invocation) -> Deferred[Result]:
        assert self._pool is not None
        return self._pool.invoke(function, invocation)

    def _enqueue(self, function: Function, request_id: str, payload: bytes) -> bool:
        assert self._dispatcher is not None
        return self._dispatcher.enqueue(function, request_id, payload)

    def _fetch(self, bucket: str, key: str, version: str | None) -> Deferred[bytes]:
        assert self._state is not None
        assert self._s3 is not None
        keys = self._state.credentials()
        s3 = client(self._s3.endpoint, *keys, self._settings.region)

        def read() -> bytes:
            more = {} if version is None else {"VersionId": version}
            try:
                found = s3.get_object(Bucket=bucket, Key=key, **more)
                if found["ContentLength"] > 262_144_000:
                    raise invalid("The package in S3 is too large.")
                data: bytes = found["Body"].read()
            except (ClientError, BotoCoreError) as error:
                raise invalid(f"Error occurred while GetObject. {error}") from None
            return data

        return deferToThreadPool(self._reactor, self._threads, read)

    async def _end(self) -> None:
        waiting: list[Awaitable[Any]] = []
        if self._port is not None:
            waiting.append(Deferred.fromCoroutine(_of(self._port.stopListening())))
        if self._dispatcher is not None:
            self._dispatcher.stop()
        if self._pool is not None:
            self._pool.stop()
        if self._s3 is not None:
            waiting.append(Deferred.fromCoroutine(self._s3.stop()))
        if self._ground is not None:
            waiting.append(self._ground.stop())
        for step in waiting:
            try:
                await step
            except Exception:  # noqa: BLE001 - the rest must be ended all the same
                self._log.failure("a part did not end well")
        if self._pool is not None:
            self._pool.lost()
        if self._threads_running:
            self._threads.stop()
        if self._cgroups is not None and not self._cgroups.clear(0.5):
            self._log.warn("the kernel still holds {path}; the next start removes it", path=str(self._cgroups.base))
        if self._state is not None:
            (self._state.path / STACK).unlink(missing_ok=True)
            if self._cgroups is None or not self._cgroups.base.exists():
                self._state.end()
            self._state.release()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._end())


async def _of(value: Any) -> None:
    if isinstance(value, Deferred):
        await value

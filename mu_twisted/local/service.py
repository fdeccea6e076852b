"""The service starts the whole stack and ends it: state directory, S3 and Lambda."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from mu_twisted.local._code import read_package
from mu_twisted.local._errors import LocalError
from mu_twisted.local._lambda import LocalLambda
from mu_twisted.local._s3 import LocalS3, client
from mu_twisted.local._s3_programs import choose
from mu_twisted.local._settings import Settings
from mu_twisted.local._state import STACK, StackDirectory, write_private
from mu_twisted.local.environments.cgroups import MemoryGroups


class LocalService(Service):
    """A local stack.

    :param reactor: runs it.
    :param settings: of the stack.
    :param on_failure: called with one line where it cannot become ready, or go on.
    """

    name = "mu-local"
    _log = Logger()

    def __init__(self, reactor: Any, settings: Settings, on_failure: Callable[[LocalError], None]) -> None:
        self._reactor = reactor
        self._settings = settings
        self._on_failure = on_failure
        self._threads = ThreadPool(0, 8, "mu-local")
        self._threads_running = False
        # What has been made so far, in this order.
        self._state: StackDirectory | None = None
        self._cgroups: MemoryGroups | None = None
        self._s3: LocalS3 | None = None
        self._lambda: LocalLambda | None = None

    def startService(self) -> None:
        """Open all that is quick to open; the rest is started asynchronously.

        :raises LocalError: it cannot start; one line.
        """
        super().startService()  # type: ignore[no-untyped-call]
        began = self._reactor.seconds()
        try:
            state = self._state = StackDirectory(self._settings.state_dir)
            functions, objects = self._open(state)
        except (LocalError, OSError) as error:
            self._release()
            raise error if isinstance(error, LocalError) else LocalError(f"cannot start: {error}") from None
        Deferred.fromCoroutine(self._start(state, functions, objects, began)).addErrback(self._fail)

    def _fail(self, failure: Failure) -> None:
        if not isinstance(failure.value, LocalError):
            self._log.failure("the local stack cannot go on", failure)
        self._failed(failure.value)

    def _failed(self, error: BaseException | None) -> None:
        if self.running:
            self._on_failure(error if isinstance(error, LocalError) else LocalError(f"cannot start: {error}"))

    def _open(self, state: StackDirectory) -> tuple[LocalLambda, LocalS3]:
        """All that is quick: the directories, the ports."""
        settings = self._settings
        state.clean()
        run = state.begin()
        keys = state.credentials()
        if settings.cgroups:
            name = f"{os.getpid()}-{uuid.uuid4().hex[:8]}"
            self._cgroups = MemoryGroups.make(name, lambda group: state.leave("cgroup", str(group)))
        self._threads.start()
        self._threads_running = True
        data, beside = state.path / "s3", run / "s3"
        beside.mkdir(mode=0o700)
        self._s3 = objects = LocalS3(
            self._reactor,
            self._threads,
            choose(settings.s3, data, beside, keys, state.leave),
            data,
            beside,
            keys,
            settings.region,
            settings.s3_port,
            self._fail,
            private=settings.isolation != "none",
        )
        objects.choose_port()

        def fetch(bucket: str, key: str, version: str | None) -> Deferred[bytes]:
            s3 = client(objects.endpoint, *keys, settings.region)
            return deferToThreadPool(self._reactor, self._threads, read_package, s3, bucket, key, version)

        self._lambda = functions = LocalLambda(
            self._reactor, self._threads, settings, state.path, run, keys, self._cgroups, fetch, self._fail
        )
        return functions, objects

    async def _start(self, state: StackDirectory, functions: LocalLambda, objects: LocalS3, began: float) -> None:
        parts = [
            Deferred.fromCoroutine(self._start_lambda(functions, objects, began)),
            Deferred.fromCoroutine(self._start_s3(functions, objects, began)),
        ]
        try:
            await gatherResults(parts, consumeErrors=True)
        except FirstError as error:
            raise error.subFailure.value from error  # type: ignore[misc]
        if not self.running:
            return
        access, secret = state.credentials()
        address = {
            "lambda_endpoint": functions.endpoint,
            "s3_endpoint": objects.endpoint,
            "access_key": access,
            "secret_key": secret,
            "region": self._settings.region,
            "pid": os.getpid(),
        }
        write_private(state.path / STACK, json.dumps(address))
        self._log.info("ready; the address and the keys are in {path}", path=str(state.path / STACK))

    async def _start_lambda(self, functions: LocalLambda, objects: LocalS3, began: float) -> None:
        functions.point(objects.endpoint)
        isolation = await functions.start()
        self._log.info("isolation: {isolation}", isolation=isolation)
        seconds = self._reactor.seconds() - began
        self._log.info("Lambda answers at {url} after {s:.2f} s", url=functions.endpoint, s=seconds)

    async def _start_s3(self, functions: LocalLambda, objects: LocalS3, began: float) -> None:
        await objects.start()
        # It may have had to take another port.
        functions.point(objects.endpoint)
        self._log.info(
            "S3 ({kind}) answers at {url} after {s:.2f} s",
            kind=objects.kind,
            url=objects.endpoint,
            s=self._reactor.seconds() - began,
        )

    async def _end(self) -> None:
        parts = [part for part in (self._lambda, self._s3) if part is not None]
        for ending in [Deferred.fromCoroutine(part.stop()) for part in parts]:
            try:
                await ending
            except Exception:  # noqa: BLE001 - the rest must be ended all the same
                self._log.failure("a part of the stack could not be ended")
        self._release()

    def _release(self) -> None:
        """Release all but Lambda and S3."""
        if self._threads_running:
            self._threads.stop()
        if self._cgroups is not None and not self._cgroups.clear(0.5):
            self._log.warn(
                "the kernel still holds {path}; the next start removes it", path=str(self._cgroups.left()[0])
            )
        if self._state is not None:
            (self._state.path / STACK).unlink(missing_ok=True)
            if self._cgroups is None or not self._cgroups.left():
                self._state.end()
            self._state.release()

    def stopService(self) -> Deferred[None]:
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._end())

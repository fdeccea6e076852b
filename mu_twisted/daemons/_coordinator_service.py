"""The coordinator's service: state directory, keys, listener, and in the one-shot form its one job.

Whatever can go wrong at the start goes wrong in startService, so that it is one line and exit status 1.
"""

import cProfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.coordinator import Hall
from mu_twisted.daemons import _exit
from mu_twisted.daemons._keys import COORDINATOR, Keys, daemon_keys
from mu_twisted.daemons._limits import check_workers_fit, raise_descriptor_limit
from mu_twisted.daemons._one_shot import OneShot
from mu_twisted.daemons._start import listen_at_once, open_profile
from mu_twisted.daemons._state_dir import StateDirectory, default_state_dir
from mu_twisted.pipelines import Pipeline
from mu_twisted.tls import server_contexts
from mu_twisted.transport import FrameFactory, listen
from mu_twisted.wire import MAX_REPLY, MuError


class CoordinatorService(Service):
    """Listens for workers; with a pipeline, runs one job of it and stops the reactor.

    :param reactor: Twisted's.
    :param options: the daemon options, a mapping.
    :param pipeline: the one job's pipeline; None for a daemon that waits.
    :param settings: the job's options.
    """

    log = Logger()

    def __init__(
        self, reactor: Any, options: Mapping[str, Any], *, pipeline: Pipeline | None = None, settings: Any = None
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._hall = Hall(reactor, shared_key=bool(options["share-key"]))
        self._port: Any | None = None
        self._state: StateDirectory | None = None
        self._private: tempfile.TemporaryDirectory[str] | None = None
        self._one_shot: OneShot | None = None
        self._profile: cProfile.Profile | None = None

    def startService(self) -> None:
        """Open everything, or exit 1 with one line."""
        super().startService()  # type: ignore[no-untyped-call]
        try:
            keys, address = self._open()
        except MuError as error:
            self._close_state()
            _exit.fail_start(str(error))
        if self._pipeline is None:
            self.log.info("ready for workers on port {port}", port=address)
            return
        self._one_shot = OneShot(
            self._reactor,
            options=self._options,
            pipeline=self._pipeline,
            settings=self._settings,
            keys=keys,
            hall=self._hall,
            port=address,
            local_state=self._local_state(),
        )
        _exit.set_status(_exit.FAILURE)
        Deferred.fromCoroutine(self._run(self._one_shot)).addErrback(self._broken)

    def stopService(self) -> Deferred[None]:
        """Tell the workers to quit, close everything and write the profile."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._close())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _open(self) -> tuple[Keys, int]:
        limit = raise_descriptor_limit()
        if self._settings is not None:
            check_workers_fit(self._settings["tasks"] + self._settings["overprovision"], limit)
        self._state = StateDirectory(self._state_path())
        keys = daemon_keys(self._options, self._state.path, COORDINATOR)
        if self._options["profile"]:
            self._profile = open_profile(Path(self._options["profile"]))
        self._port = self._listen(keys)
        self._hall.open()
        return keys, self._port.getHost().port

    def _state_path(self) -> Path:
        given = self._options["state-dir"]
        if given is not None:
            return Path(given)
        if self._pipeline is None:
            return default_state_dir()
        self._private = tempfile.TemporaryDirectory(prefix="mu-coordinator-")
        return Path(self._private.name)

    def _listen(self, keys: Keys) -> Any:
        factory = FrameFactory(self._hall.new_session, clock=self._reactor, max_frame=MAX_REPLY)
        contexts = server_contexts(keys.own, keys.ca)
        return listen_at_once(
            self._reactor, self._options, lambda endpoint: listen(endpoint, contexts, factory, self._reactor)
        )

    def _local_state(self) -> Path | None:
        given = self._options["state-dir"]
        return Path(given) / "local" if given is not None else None

    async def _run(self, one_shot: OneShot) -> None:
        error = await one_shot.run()
        if error is None:
            _exit.set_status(_exit.SUCCESS)
        else:
            _exit.complain(error)
        if self.running:
            self._reactor.stop()

    def _broken(self, failure: Failure) -> None:
        self.log.failure("the job was ended by a fault of the coordinator", failure)
        _exit.complain(f"a fault of the coordinator itself: {failure.getErrorMessage()} (-D shows more)")
        if self.running:
            self._reactor.stop()

    async def _close(self) -> None:
        if self._one_shot is not None:
            self._one_shot.abort()
        await self._hall.close()
        if self._one_shot is not None:
            await self._one_shot.close()
        if self._port is not None:
            await self._port.stopListening()
        if self._profile is not None:
            self._profile.disable()
            self._profile.dump_stats(self._options["profile"])
        self._close_state()

    def _close_state(self) -> None:
        if self._state is not None:
            self._state.close()
        if self._private is not None:
            self._private.cleanup()

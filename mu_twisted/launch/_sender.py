"""Batches of launches over the C extension: what runs in a thread. Knows neither Twisted nor when to send what."""

import threading
from collections.abc import Callable, Sequence

from mu_twisted.jobs._launching import Answer, Fault
from mu_twisted.launch import _launch
from mu_twisted.launch._answers import answer_of
from mu_twisted.launch._types import Credentials, Launch, LaunchError

CANCELLED = "cancelled before it was sent"


class Sender:
    """One C launcher per region, made when first needed and kept with its connections.

    :param endpoint: base URL of Lambda in a region.
    :param credentials: called before each batch; may block.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections to each region, at most.
    """

    def __init__(
        self,
        *,
        endpoint: Callable[[str], str],
        credentials: Callable[[], Credentials],
        ca_bundle: str | None,
        pool_size: int,
        connect_timeout: float = 5.0,
        timeout: float = 20.0,
    ) -> None:
        self._endpoint = endpoint
        self._credentials = credentials
        self._ca_bundle = ca_bundle
        self._pool_size = pool_size
        self._connect_timeout = connect_timeout
        self._timeout = timeout
        self._engines: dict[str, _launch.Launcher] = {}
        self._lock = threading.Lock()
        self._asking = threading.Lock()
        self._cancelled = False

    def send(self, region: str, launches: Sequence[Launch], report: Callable[[list[Answer]], object]) -> None:
        """Send a batch to one region, and wait for its answers.

        :param report: is given all answers, in lists as they come, in this thread.
        :raises LaunchError: the batch cannot be sent; what was not reported was not accepted.
        """
        with self._asking:
            keys = self._credentials()
        endpoint = self._endpoint(region)
        engine = self._engine(region, endpoint)
        if engine is None:
            report([Answer(launch.launch_id, 0, CANCELLED, fault=Fault.CANCELLED) for launch in launches])
            return
        batch = [(launch.launch_id, launch.function, launch.payload) for launch in launches]

        def pass_on(results: list[_launch.Result]) -> None:
            if results:
                report([answer_of(result, endpoint) for result in results])

        try:
            left = engine.perform(batch, region, keys.access_key, keys.secret_key, keys.token, report=pass_on)
        except ValueError as error:
            raise LaunchError(f"cannot launch in {region}: {error}") from None
        pass_on(left)

    def cancel(self, *, at_once: bool = False) -> None:
        """For good, from any thread: start no more, and with ``at_once`` cut off what is in flight."""
        with self._lock:
            self._cancelled = True
            engines = list(self._engines.values())
        for engine in engines:
            engine.cancel(at_once)

    def _engine(self, region: str, endpoint: str) -> _launch.Launcher | None:
        with self._lock:
            if self._cancelled:
                return None
            if region not in self._engines:
                self._engines[region] = self._new_engine(endpoint)
            return self._engines[region]

    def _new_engine(self, endpoint: str) -> _launch.Launcher:
        try:
            return _launch.Launcher(
                endpoint,
                self._ca_bundle,
                self._pool_size,
                connect_timeout=self._connect_timeout,
                timeout=self._timeout,
            )
        except ValueError as error:
            raise LaunchError(str(error)) from None

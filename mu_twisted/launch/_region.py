"""A region's launches are sent by the C launcher, with new credentials for each batch. Blocking; for a thread."""

import time
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from mu_twisted.base import MuError
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.jobs import Answer
from mu_twisted.launch import _launch
from mu_twisted.launch._answers import read_answers
from mu_twisted.launch._values import Launch, LaunchError

UNREACHED_TIME = 1.8
"""Seconds for which every first try has failed to connect. With the usual delays the fifth try is then over, after two
to four seconds, and the user waits for no sixth."""


class Reachability:
    """Whether an endpoint answers at all: where it never did, the user learns that soon, and not after all tries.

    Pure: time comes in as an argument.
    """

    def __init__(self) -> None:
        self._reached = False
        self._failing_since: float | None = None

    def tried(self, connected: Iterable[bool], now: float) -> None:
        """Some tries have ended.

        :param connected: of each whether it has come to a connection.
        :param now: seconds.
        """
        self._reached = self._reached or any(connected)
        if not self._reached and self._failing_since is None:
            self._failing_since = now

    def hopeless(self, now: float) -> bool:
        """Whether to give up: there never was a connection, and it has been tried for :data:`UNREACHED_TIME`."""
        if self._reached or self._failing_since is None:
            return False
        return now - self._failing_since >= UNREACHED_TIME


class RegionLauncher:
    """Sends batches to one region's endpoint, one batch at a time.

    :param endpoint: base URL of Lambda there.
    :param region: AWS region.
    :param credentials: gets the keys to sign with now; called in the thread that performs, before each batch.
    :param ca_bundle: file of CA certificates; None: the system's.
    :param pool_size: connections at most.
    :param connect_timeout: seconds for one connection.
    :param timeout: seconds for one launch, connecting included.
    :param tail_timeout: seconds for the last ones of a batch, once others have been answered: nothing else is sent to
        the region meanwhile. Lambda may have taken one that is cut off, as with any answer that is lost.
    :param clock: seconds, from any beginning; called in the thread that performs.
    :raises LaunchError: the endpoint or the region cannot be used.
    """

    def __init__(
        self,
        endpoint: str,
        region: str,
        credentials: Callable[[], AccessKeys],
        *,
        ca_bundle: str | None = None,
        pool_size: int = 64,
        connect_timeout: float = 5.0,
        timeout: float = 20.0,
        tail_timeout: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._reachability = Reachability()
        self._region = region
        self._endpoint = endpoint
        self._credentials = credentials
        try:
            self._native = _launch.Launcher(
                endpoint,
                ca_bundle,
                pool_size,
                connect_timeout=connect_timeout,
                timeout=timeout,
                tail_timeout=tail_timeout,
                proxy=proxy_for(endpoint),
            )
        except ValueError as error:
            raise LaunchError(f"cannot launch in {region}: {error}") from None

    def perform(self, launches: Sequence[Launch], report: Callable[[list[Answer]], None]) -> str:
        """Send a batch and wait until it has ended.

        :param report: called with answers as they come, in this thread.
        :returns: why launches without an answer have none; empty where all have one.
        """
        try:
            credentials = self._credentials()
        except MuError as error:
            return str(error)
        batch = [(launch.launch_id, launch.function, launch.payload) for launch in launches]

        def report_read(results: list[_launch.Result]) -> None:
            if results:
                hopeless = self._is_hopeless(results)
                report(read_answers(results, self._endpoint, credentials, hopeless=hopeless))

        keys = (credentials.access_key, credentials.secret_key, credentials.token)
        try:
            left = self._native.perform(batch, self._region, *keys, report=report_read)
        except ValueError as error:
            return f"cannot launch in {self._region}: {error}"
        report_read(left)
        return ""

    def _is_hopeless(self, results: Iterable[_launch.Result]) -> bool:
        now = self._clock()
        # What was cut off says nothing about the endpoint.
        statuses = (result.status for result in results)
        self._reachability.tried((one != _launch.UNREACHED for one in statuses if one != _launch.CANCELLED), now)
        return self._reachability.hopeless(now)

    def cancel(self, *, at_once: bool = False) -> None:
        """Send no more, for good; may be called in any thread.

        :param at_once: whether launches in flight are cut off, too.
        """
        self._native.cancel(at_once)


def proxy_for(endpoint: str) -> str | None:
    """The proxy that the environment names for an endpoint (``https_proxy``, ``no_proxy``); none for loopback.

    Read here, in the thread that may change the environment, and not by libcurl in another.
    """
    parts = urlsplit(endpoint)
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        return None
    proxies = getproxies_environment()
    if proxy_bypass_environment(host, proxies):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")

"""A job's launching has its event, its launches through the launcher of all jobs, and its diagnosis.

Here launch ids leave the coordinator as names, ``JOB/ID``, and come back as ids. Knows nothing of tasks and sessions.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from mu_twisted.aws.placement import Deployment, LaunchTarget, Spread
from mu_twisted.base import MuError
from mu_twisted.coordinator import diagnosis, job_event, with_launch_id
from mu_twisted.daemons._cloud import Cloud
from mu_twisted.daemons._keys import Keys
from mu_twisted.jobs import LaunchId, LaunchOutcome, launch_id_in, launch_name
from mu_twisted.launch import Launch, Launcher
from mu_twisted.pipelines import JobSettings

DIAGNOSIS_TIMEOUT = 3.0
"""Seconds that the worker of a diagnosis tries to reach the coordinator."""
EVENT_AGE = 600.0
"""Seconds for which launches are given the event that was made for those before them: its key takes time to make, and
is good for far longer than the function may run."""


class LaunchParts(NamedTuple):
    """All that a job's launches need.

    :param deployment: where the function is, and how long and with how much memory it runs.
    :param address: that workers dial, and ``port``.
    """

    cloud: Cloud
    launcher: Launcher
    deployment: Deployment
    address: str
    port: int


class JobLaunching:
    """The launches of one job.

    :param name: the job's.
    :param settings: its options.
    :param keys: of which its workers are given theirs.
    :param ready: looks up all that launches need.
    :param larger: the same for the larger function, where the job has one.
    :param clock: seconds that do not jump.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        settings: JobSettings,
        keys: Keys,
        ready: Callable[[], Awaitable[LaunchParts]],
        clock: Callable[[], float] = time.monotonic,
        *,
        larger: Callable[[], Awaitable[LaunchParts]] | None = None,
    ) -> None:
        self._larger = larger
        self._name = name
        self._settings = settings
        self._keys = keys
        self._ready = ready
        self._clock = clock
        self._event_made: tuple[float, Any, bytes] | None = None
        self._launcher: Launcher | None = None
        self._outstanding: set[str] = set()
        self._spread: Spread | None = None
        self._stops = 0

    def start(self, launch_ids: Sequence[LaunchId], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        """As :class:`mu_twisted.coordinator.Launching` says."""
        return Deferred.fromCoroutine(self._start(launch_ids, on_outcome))

    def stop(self) -> None:
        """Give up what has not been sent."""
        self._stops += 1
        if self._launcher is not None and self._outstanding:
            self._launcher.withdraw(sorted(self._outstanding))

    def use_larger(self) -> None:
        """As :class:`mu_twisted.coordinator.Launching` says."""
        if self._larger is not None:
            self._ready, self._larger = self._larger, None
            self._spread = None

    def note(self) -> str | None:
        """What the user should know of the launches."""
        if self._launcher is None:
            return None
        slow = [pace for pace in self._launcher.paces() if pace.throttled and pace.region in self._settings["regions"]]
        rates = ", ".join(f"{pace.rate:.0f} a second in {pace.region}" for pace in slow)
        notes = [f"Lambda throttles launches (429): {rates}"] if rates else []
        return "; ".join([*notes, *(self._spread.notes() if self._spread is not None else ())]) or None

    async def diagnose(self) -> str:
        """Invoke the function once more and wait for what it says."""
        cloud, _, deployment, address, port = await self._ready()
        place = deployment.places[0]
        template = self._event(cloud, deployment.timeout, address, port, orphan_timeout=DIAGNOSIS_TIMEOUT)
        event = with_launch_id(template, launch_name(self._name, "diagnosis"))
        invocation = await deferToThread(cloud.invoke_with_tail, place.region, place.function, event)
        return diagnosis(
            address=address,
            port=port,
            function=place.function,
            timeout=self._settings["start-timeout"],
            error=invocation.error,
            result=invocation.result,
            log_tail=invocation.log_tail,
        )

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _start(self, launch_ids: Sequence[LaunchId], on_outcome: Callable[[LaunchOutcome], None]) -> None:
        names, stops = [launch_name(self._name, launch_id) for launch_id in launch_ids], self._stops

        def given_up() -> bool:
            return self._stops != stops

        def settle(outcome: LaunchOutcome) -> None:
            on_outcome(msgspec.structs.replace(outcome, launch_id=launch_id_in(self._name, outcome.launch_id)))

        try:
            cloud, launcher, deployment, address, port = await self._ready()
        except MuError:
            if not given_up():
                raise
        if given_up():
            for launch_id in launch_ids:
                on_outcome(LaunchOutcome(launch_id, False, 0, "cancelled"))
            return
        self._launcher = launcher
        if self._spread is None:
            self._spread = Spread(deployment)
            for reason in deployment.absent:
                self._log.warn("the job's other places have this one's share: {reason}", reason=reason)
            if not self._keys.shared:
                for place in deployment.original:
                    self._log.warn(
                        "function {function} in {region} has the handler of the original's workers: those cannot use "
                        "the keys that each job has of its own, and will not come; give -c, -s, -k of RSA keys and "
                        "--share-key, or make it again with `mu lambdaize --replace`",
                        function=place.function,
                        region=place.region,
                    )
        spread = self._spread
        event = self._recent_event(cloud, deployment.timeout, address, port)
        warned: set[tuple[LaunchTarget, str]] = set()

        def answered(outcome: LaunchOutcome) -> None:
            next_place = None
            if not outcome.accepted and not given_up():
                failed = spread.place_of(outcome.launch_id)
                next_place = spread.refused(outcome.launch_id, outcome.status, outcome.reason)
            if next_place is None:
                spread.settled(outcome.launch_id)
                self._outstanding.discard(outcome.launch_id)
                settle(outcome)
                return
            place, tries = next_place
            if (failed, outcome.reason) not in warned:
                warned.add((failed, outcome.reason))
                self._log.warn(
                    "{function} in {region} passes launches on to the job's other places: {reason}",
                    function=failed.function,
                    region=failed.region,
                    reason=outcome.reason,
                )
            again = Launch(outcome.launch_id, place.region, place.function, event, tries)
            launcher.launch([again], answered).addErrback(lambda failure: lost(outcome, failure))

        def lost(outcome: LaunchOutcome, failure: Failure) -> None:
            answered(LaunchOutcome(outcome.launch_id, False, 0, failure.getErrorMessage()))

        self._outstanding.update(names)
        launches = [Launch(name, at.region, at.function, event, tries) for name, at, tries in spread.begin(names)]
        await launcher.launch(launches, answered)

    def _recent_event(self, cloud: Cloud, timeout: timedelta, address: str, port: int) -> bytes:
        now, of = self._clock(), (cloud, timeout, address, port)
        if self._event_made is None or self._event_made[1] != of or now - self._event_made[0] > EVENT_AGE:
            self._event_made = now, of, self._event(*of)
        return self._event_made[2]

    def _event(
        self, cloud: Cloud, timeout: timedelta, address: str, port: int, *, orphan_timeout: float | None = None
    ) -> bytes:
        return job_event(
            address=address,
            port=port,
            ca=self._keys.ca,
            pair=self._keys.for_job(self._name, timeout),
            bucket=self._settings["bucket"],
            region=self._settings["regions"][0],
            job=None if self._keys.shared else self._name,
            s3_endpoint=cloud.s3_endpoint,
            orphan_timeout=orphan_timeout,
        )

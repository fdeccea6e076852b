"""One job from its options to its result: look at what can be wrong first, then launch, run and report."""

import re
import secrets
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from mu_twisted.coordinator import (
    Hall,
    JobRun,
    Launching,
    Peers,
    Progress,
    RendezvousLink,
    StateTimes,
    diagnosis,
    job_event,
    with_launch_id,
)
from mu_twisted.daemons._address import own_address
from mu_twisted.daemons._cloud import Cloud, open_cloud
from mu_twisted.daemons._keys import Keys
from mu_twisted.daemons._log import console
from mu_twisted.daemons._rendezvous import open_link, peers, rendezvous_address
from mu_twisted.jobs import Job, in_turn
from mu_twisted.launch import Launch, Launcher, LaunchOutcome
from mu_twisted.pipelines import Pipeline
from mu_twisted.wire import MuError

DIAGNOSIS_PATIENCE = 3.0
"""Seconds that the worker of a diagnosis tries to reach us."""
SHOWN_FAILURES = 10
"""Failed tasks that are listed one by one."""


def job_name(pipeline: str) -> str:
    """A new name for a job: it stands in certificates, so only some characters may."""
    return f"{re.sub(r'[^A-Za-z0-9._-]', '-', pipeline)[:40]}-{secrets.token_hex(4)}"


class OneShot:
    """The job of a one-shot coordinator.

    :param reactor: Twisted's.
    :param options: the daemon options.
    :param pipeline: the job's pipeline, with its ``settings``.
    :param keys: what workers are given.
    :param hall: where workers come in.
    :param port: that it listens on.
    :param local_state: the embedded stack's state directory; None: the default one.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        *,
        options: Mapping[str, Any],
        pipeline: Pipeline,
        settings: Any,
        keys: Keys,
        hall: Hall,
        port: int,
        local_state: Path | None,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._pipeline = pipeline
        self._settings = settings
        self._keys = keys
        self._hall = hall
        self._port = port
        self._local_state = local_state
        self._cloud: Cloud | None = None
        self._launcher: Launcher | None = None
        self._link: RendezvousLink | None = None
        self._run: JobRun | None = None

    async def run(self) -> str | None:
        """Do the job.

        :returns: None if every task is done, else what went wrong, for the user.
        """
        try:
            self._run = run = await self._prepare()
        except MuError as error:
            return str(error)
        started = time.monotonic()
        progress = Progress(console, self._reactor, lambda: run.counts)
        self._hall.add(run)
        if self._link is not None:
            self._link.add(run.name, run)
        progress.start()
        run.start()
        try:
            await run.finished
        finally:
            progress.stop()
            self._hall.remove(run)
            if self._link is not None:
                self._link.remove(run.name)
        self._report(run, time.monotonic() - started)
        return run.job.error

    def abort(self) -> None:
        """End the job where it stands; ``run`` then returns."""
        if self._run is not None:
            self._run.abort("interrupted")

    async def close(self) -> None:
        """Give back what ``run`` has opened."""
        if self._link is not None:
            self._link.close()
        if self._launcher is not None:
            await self._launcher.close()
        if self._cloud is not None:
            await deferToThread(self._cloud.close)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _prepare(self) -> JobRun:
        settings = self._settings
        order = self._pipeline.task_order(settings)
        self._cloud = cloud = await deferToThread(open_cloud, self._options, self._local_state)
        function_timeout = await deferToThread(
            cloud.check, settings["regions"], settings["function"], settings["bucket"], self._pipeline.programs
        )
        endpoint = cloud.lambda_endpoint(settings["regions"][0])
        address = self._options["host-addr"] or own_address(endpoint)
        name = job_name(self._pipeline.name)
        found_peers = await self._find_peers(name, endpoint, function_timeout)
        event = self._event(name, address, function_timeout)
        self._launcher = launcher = Launcher(
            self._reactor,
            endpoint=cloud.lambda_endpoint,
            credentials=cloud.credentials,
            ca_bundle=cloud.ca_bundle,
        )
        return JobRun(
            self._reactor,
            Job(
                name,
                order,
                overprovision=settings["overprovision"],
                start_timeout=settings["start-timeout"],
            ),
            self._pipeline,
            settings,
            launching=self._launching(launcher, event()),
            stop_launching=launcher.cancel,
            diagnose=lambda: self._diagnose(cloud, event(orphan_timeout=DIAGNOSIS_PATIENCE), address),
            times=self._times(),
            peers=found_peers,
        )

    async def _find_peers(self, job: str, lambda_endpoint: str, function_timeout: timedelta) -> Peers | None:
        if self._pipeline.consumes is None:
            return None
        address = rendezvous_address(self._settings, lambda_endpoint)
        self._link = await open_link(self._reactor, self._keys, self._settings, address)
        return peers(self._keys, job, address, function_timeout)

    def _event(self, name: str, address: str, function_timeout: timedelta) -> Callable[..., bytes]:
        pair = self._keys.for_job(name, function_timeout)

        def event(**more: Any) -> bytes:
            return job_event(
                address=address,
                port=self._port,
                ca=self._keys.ca,
                pair=pair,
                bucket=self._settings["bucket"],
                region=self._settings["regions"][0],
                job=None if self._keys.shared else name,
                s3_endpoint=self._cloud.s3_endpoint if self._cloud is not None else None,
                **more,
            )

        return event

    def _launching(self, launcher: Launcher, template: bytes) -> Launching:
        regions, function = self._settings["regions"], self._settings["function"]

        def launching(launch_ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
            places = zip(launch_ids, in_turn(len(launch_ids), regions), strict=True)
            launches = [Launch(launch_id, region, function, template) for launch_id, region in places]
            return launcher.launch(launches, on_outcome)

        return launching

    async def _diagnose(self, cloud: Cloud, template: bytes, address: str) -> str:
        function = self._settings["function"]
        event = with_launch_id(template, "diagnosis")
        invocation = await deferToThread(cloud.invoke_with_tail, self._settings["regions"][0], function, event)
        return diagnosis(
            address=address,
            port=self._port,
            function=function,
            timeout=self._settings["start-timeout"],
            error=invocation.error,
            result=invocation.result,
            log_tail=invocation.log_tail,
        )

    def _times(self) -> StateTimes | None:
        path = self._settings["times"]
        if path is None:
            return None
        try:
            return StateTimes(Path(path), self._reactor)
        except OSError as error:
            raise MuError(f"-O {path}: {error.strerror}") from None

    def _report(self, run: JobRun, seconds: float) -> None:
        counts = run.counts
        failures = sorted(run.job.failures.items())
        for task, error in failures[:SHOWN_FAILURES]:
            console.print(f"task {task} failed: {error}", markup=False, soft_wrap=True)
        if len(failures) > SHOWN_FAILURES:
            console.print(f"and {len(failures) - SHOWN_FAILURES} more", markup=False)
        result = f"{run.name}: {counts.done} of {counts.tasks} tasks done in {seconds:.1f} s"
        print(result, file=sys.__stdout__, flush=True)  # noqa: T201 - twistd redirects sys.stdout into the log

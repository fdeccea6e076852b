"""The daemon's opener provides what jobs need: pipelines, Lambda and S3, the rendezvous; checked before any launch."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThread
from twisted.python import usage

from mu_twisted.aws import AccessDenied
from mu_twisted.aws.placement import Deployment, cost_of
from mu_twisted.base import MuError
from mu_twisted.coordinator import JobLinks, LaunchTokens, Opened, Peers, Request, Slices, Usage, without
from mu_twisted.daemons._address import find_address
from mu_twisted.daemons._cloud import Cloud, open_cloud
from mu_twisted.daemons._exit import usage_text
from mu_twisted.daemons._inputs import examine_inputs
from mu_twisted.daemons._keys import Keys
from mu_twisted.daemons._launches import JobLaunching, LaunchParts
from mu_twisted.daemons._limits import check_workers_fit
from mu_twisted.daemons._rendezvous import LinkOpener, peers, rendezvous_addresses
from mu_twisted.daemons._threads import thread_pool
from mu_twisted.jobs import JobPolicy, LaunchPolicy
from mu_twisted.launch import Launcher
from mu_twisted.pipelines import (
    MAX_TASKS,
    JobSettings,
    Pipeline,
    PipelineError,
    PipelineOptions,
    job_policy,
    load_pipeline,
    load_source,
)
from mu_twisted.statuses import Cost

T = TypeVar("T")

LAUNCHING = 16
"""Threads for launches: regions that are launched in at the same moment."""
CLOSING = 3.0
"""Seconds that launches in flight and the embedded stack have to end; with this process it ends at the latest."""


class CoalescedCalls:
    """Makes a call that takes long once, for all that want the same at the same time."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[Deferred[Any]]] = {}

    def __contains__(self, what: object) -> bool:
        return what in self._waiting

    def call(self, what: Hashable, begin: Callable[[], Deferred[T]]) -> Deferred[T]:
        """Wait for this call; it is begun if it is not under way.

        :param what: calls with equal ones are the same.
        :param begin: makes the call.
        :returns: ends as the call does. Cancelling gives up waiting only.
        """
        waiting = self._waiting.get(what)
        begun = waiting is not None
        waiting = self._waiting.setdefault(what, [])
        mine: Deferred[T] = Deferred(waiting.remove)
        waiting.append(mine)
        if not begun:
            begin().addBoth(self._ended, what)
        return mine

    def _ended(self, result: Any, what: Hashable) -> None:
        for waiting in self._waiting.pop(what):
            waiting.callback(result)  # a Failure fails it


class CloudOpener:
    """Opens jobs on one Lambda and S3.

    :param reactor: Twisted's.
    :param options: the daemon options.
    :param keys: of which workers are given theirs.
    :param port: that they dial.
    :param local_state: the embedded stack's state directory; None: the default one.
    :param descriptors: file descriptors that the process may have.
    :param in_thread: calls a function that blocks, with arguments.
    """

    def __init__(
        self,
        reactor: Any,
        options: Mapping[str, Any],
        keys: Keys,
        *,
        port: int,
        local_state: Path | None,
        descriptors: int,
        in_thread: Callable[..., Deferred[Any]] = deferToThread,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._keys = keys
        self._port = port
        self._local_state = local_state
        self._descriptors = descriptors
        self._in_thread = in_thread
        self._calls = CoalescedCalls()
        self._slices = Slices(reactor)
        self._cloud: Cloud | None = None
        self._launcher: Launcher | None = None
        self._addresses: dict[str, str] = {}
        self._links = LinkOpener(reactor, keys)

    # -- what the coordinator asks ---------------------------------------------------------------------------------

    def parse(self, request: Request) -> tuple[Pipeline, PipelineOptions]:
        """As :class:`mu_twisted.coordinator.Opener` says."""
        if request.source is None:
            pipeline = load_pipeline(request.pipeline)
        else:
            pipeline = load_source(request.source, request.pipeline)
        try:
            return pipeline, pipeline.parse(request.words, request.inputs)
        except usage.UsageError as error:
            raise PipelineError(f"{pipeline.name}: {usage_text(error)}") from None

    def policy(self, settings: JobSettings) -> JobPolicy:
        """How hard the job tries, by its options, if it fits here at all."""
        tasks = settings["tasks"]
        check_workers_fit(min(tasks, settings["max-workers"] or tasks) + settings["overprovision"], self._descriptors)
        if tasks > MAX_TASKS:  # a pipeline may have an -n of its own
            raise PipelineError(f"-n: a job has at most {MAX_TASKS} tasks, not {tasks}; submit several")
        return job_policy(settings)

    async def open(
        self,
        name: str,
        pipeline: Pipeline,
        settings: JobSettings,
        edges: Mapping[int, Sequence[int]],
    ) -> Opened:
        """Look at all that can be missing: function, programs, bucket, rendezvous, room for the workers."""
        cloud = await self.cloud()
        deployment = await self._look(cloud, pipeline, settings)
        if settings["max-cost"] is not None and cost_of(Usage(), deployment, settings["regions"]).price is None:
            raise MuError(f"--max-cost cannot be kept: no price is known of {', '.join(settings['regions'])}")
        if settings["retry-memory"] is not None:
            await self._look(cloud, pipeline, _larger(settings))
        with suppress(AccessDenied):  # the workers' role may read them: they will see
            await examine_inputs(cloud, pipeline, settings, self._in_thread)
        skipped: frozenset[int] = frozenset()
        if settings["skip-existing"]:
            skipped = await self._existing(cloud, pipeline, settings, edges)
        job_peers = self._peers(name, settings, without(edges, skipped), cloud)
        if job_peers is not None:
            await self._links.open(job_peers)
        links = self._links.links(job_peers) if job_peers is not None else None
        return self._opened(name, pipeline, settings, deployment, job_peers, links, skipped)

    def reopen(
        self, name: str, pipeline: Pipeline, settings: JobSettings, edges: Mapping[int, Sequence[int]]
    ) -> Opened:
        """The same without looking: a worker may come before Lambda can be asked."""
        job_peers = self._peers(name, settings, edges, None)
        links = self._links.links(job_peers) if job_peers is not None else None
        return self._opened(name, pipeline, settings, None, job_peers, links)

    # -- what the daemon asks --------------------------------------------------------------------------------------

    async def cloud(self) -> Cloud:
        """Lambda and S3; the embedded ones are started if they are wanted and do not run.

        :raises MuError: what is missing, on one line.
        """
        if self._cloud is None:
            cloud: Cloud = await self._calls.call(
                open_cloud, lambda: self._in_thread(open_cloud, self._options, self._local_state)
            )
            self._cloud = cloud
        return self._cloud

    def launch_rate(self) -> float | None:
        """Launches a second, where Lambda's throttling has slowed them down."""
        paces = self._launcher.paces() if self._launcher is not None else []
        return min((pace.rate for pace in paces if pace.throttled), default=None)

    async def close(self) -> None:
        """Give back what was opened, or is being opened."""
        self._links.close()
        self._slices.stop()
        closed: Deferred[None] = Deferred()
        Deferred.fromCoroutine(self._close()).addBoth(closed.callback)
        with suppress(DeferredTimeout):
            await closed.addTimeout(CLOSING, self._reactor)

    # -- inside ----------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        if self._launcher is not None:
            await self._launcher.close()
        if self._cloud is not None or open_cloud in self._calls:
            with suppress(MuError):
                cloud = await self.cloud()
                await self._in_thread(cloud.close)

    def _opened(
        self,
        name: str,
        pipeline: Pipeline,
        settings: JobSettings,
        deployment: Deployment | None,
        job_peers: Peers | None,
        links: JobLinks | None,
        skipped: frozenset[int] = frozenset(),
    ) -> Opened:
        known, found_larger = deployment, None

        async def ready() -> LaunchParts:
            nonlocal known
            cloud = await self.cloud()
            if known is None:
                known = await self._look(cloud, pipeline, settings)
            address = await self._address(cloud, settings)
            return LaunchParts(cloud, self._launcher_of(cloud), known, address, self._port)

        async def ready_larger() -> LaunchParts:
            nonlocal known, found_larger
            cloud = await self.cloud()
            if found_larger is None:
                # From now on all that was used is taken for the larger one's, which costs more.
                known = found_larger = await self._look(cloud, pipeline, _larger(settings))
            address = await self._address(cloud, settings)
            return LaunchParts(cloud, self._launcher_of(cloud), found_larger, address, self._port)

        def cost(usage: Usage) -> Cost:
            return cost_of(usage, known, settings["regions"])

        key = self._keys.token_key
        tokens = LaunchTokens(key, name) if key is not None else None
        larger = ready_larger if settings["retry-memory"] is not None else None
        launching = JobLaunching(name, settings, self._keys, ready, larger=larger)
        return Opened(launching, job_peers, links, skipped, cost, tokens)

    def _launcher_of(self, cloud: Cloud) -> Launcher:
        if self._launcher is None:
            rate = self._options["launch-rate"]
            self._launcher = Launcher(
                self._reactor,
                endpoint=cloud.lambda_endpoint,
                credentials=cloud.credentials,
                ca_bundle=cloud.ca_bundle,
                policy=LaunchPolicy(rate=rate, burst=max(1, int(rate))) if rate else None,
                threads=lambda: thread_pool("launching", LAUNCHING),
            )
        return self._launcher

    async def _address(self, cloud: Cloud, settings: JobSettings) -> str:
        endpoint, given = cloud.lambda_endpoint(settings["regions"][0]), self._options["host-addr"]
        if endpoint not in self._addresses:
            self._addresses[endpoint] = await self._calls.call(
                endpoint, lambda: Deferred.fromCoroutine(find_address(self._reactor, endpoint, given))
            )
        return self._addresses[endpoint]

    def _look(self, cloud: Cloud, pipeline: Pipeline, settings: JobSettings) -> Deferred[Deployment]:
        """Whether all is there that a job needs; jobs that need the same at the same time share a look."""
        regions, programs = tuple(settings["regions"]), pipeline.needs(settings)
        needed = (regions, settings["function"], settings["bucket"], programs, settings["copies"], pipeline.made_by)
        return self._calls.call(needed, lambda: self._in_thread(cloud.check, *needed))

    def _peers(
        self, name: str, settings: JobSettings, edges: Mapping[int, Sequence[int]], cloud: Cloud | None
    ) -> Peers | None:
        if not edges:
            return None
        addresses = rendezvous_addresses(settings, cloud.lambda_endpoint(settings["regions"][0]) if cloud else None)
        direct = settings["peer"] == "auto"
        return peers(self._keys, name, addresses, settings["tasks"], edges, direct=direct)

    async def _existing(
        self,
        cloud: Cloud,
        pipeline: Pipeline,
        settings: JobSettings,
        edges: Mapping[int, Sequence[int]],
    ) -> frozenset[int]:
        """The tasks whose objects are all there, and whose messages no other task needs.

        Only S3 is asked in a thread: the pipeline's code is called here, where it can be interrupted.
        """
        wanted = await self._slices.run(pipeline.reading_outputs(settings))
        if wanted is None:
            raise MuError(f"pipeline {pipeline.name} does not say what its tasks store: --skip-existing is of no use")
        find = cloud.existing
        region, bucket = settings["regions"][0], settings["bucket"]

        def done() -> set[int]:
            there = find(region, bucket, {key for keys in wanted.values() for key in keys})
            skipped = {task for task, keys in wanted.items() if keys and there.issuperset(keys)}
            needed = [task for task in wanted if task not in skipped]
            while needed:
                senders = skipped.intersection(edges.get(needed.pop(), ()))
                skipped -= senders
                needed += senders
            return skipped

        return frozenset(await self._in_thread(done))


def _larger(settings: JobSettings) -> JobSettings:
    """A job's options with its larger function."""
    found: Any = copy(settings)
    found["function"] = settings["retry-memory"]
    return found  # type: ignore[no-any-return]

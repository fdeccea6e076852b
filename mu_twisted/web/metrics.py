"""Metrics of a coordinator are read for Prometheus when they are asked for, from what its service says of itself.

Names and units are by Prometheus' conventions. What is counted for them while jobs run are plain integers.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from mu_twisted.coordinator import CoordinatorCounts, DaemonStatus
from mu_twisted.jobs import OUTCOMES
from mu_twisted.statuses import JobState, JobStatus
from mu_twisted.transport import HANDSHAKE_FAULTS
from mu_twisted.wire.byte_counts import KINDS

KIND = CONTENT_TYPE_PLAIN_0_0_4
STATES = get_args(JobState)
TASK_STATES = ("waiting", "active", "done", "failed")
"""Of which a job's status has counts."""
LAUNCH_OUTCOMES = ("accepted", "failed", "cancelled")
WORKER_STATES = ("idle", "working", "warming", "leaving")


def metrics_text(daemon: DaemonStatus, jobs: Sequence[JobStatus], counts: CoordinatorCounts) -> bytes:
    """All metrics, as text.

    :param daemon: how the coordinator is.
    :param jobs: all on record.
    :param counts: what it has counted.
    """
    return exposition(_Collector(daemon, jobs, counts))


def exposition(collector: Collector) -> bytes:
    """What a collector of prometheus-client collects, as text."""
    registry = CollectorRegistry()
    registry.register(collector)
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    def __init__(self, daemon: DaemonStatus, jobs: Sequence[JobStatus], counts: CoordinatorCounts) -> None:
        self._daemon = daemon
        self._jobs = jobs
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        daemon, counts = self._daemon, self._counts
        running = [job for job in self._jobs if job.state == "running"]
        yield InfoMetricFamily(
            "mu_coordinator", "The coordinator.", {"version": daemon.version, "transport": daemon.transport}
        )
        states = Counter(job.state for job in self._jobs)
        yield gauges("mu_jobs", "Jobs on record.", "state", {state: states[state] for state in STATES})
        tasks = {state: sum(getattr(job, state) for job in running) for state in TASK_STATES}
        yield gauges("mu_tasks", "Tasks of the jobs that run.", "state", tasks)
        ended = {outcome: counts.attempts.get(outcome, 0) for outcome in OUTCOMES[1:]}  # the first runs
        yield counters("mu_attempts", "Attempts at tasks that have ended.", "outcome", ended)
        yield gauge("mu_workers_connected", "Workers that are connected.", daemon.workers)
        workers = {state: counts.workers.get(state, 0) for state in WORKER_STATES}
        yield gauges("mu_workers", "Workers of the jobs that run.", "state", workers)
        yield counter("mu_worker_handshakes", "Connections of workers whose handshake was done.", counts.handshakes)
        failed = {reason: counts.failed_handshakes.get(reason, 0) for reason in HANDSHAKE_FAULTS}
        yield counters("mu_worker_failed_handshakes", "Handshakes that have failed.", "reason", failed)
        yield counter("mu_worker_messages", "Messages that workers have sent.", counts.messages)
        moved = {kind: counts.bytes.get(kind, 0) for kind in KINDS}
        yield counters("mu_task_bytes", "Bytes that tasks have moved.", "kind", moved)
        settled = {outcome: counts.launches.get(outcome, 0) for outcome in LAUNCH_OUTCOMES}
        yield counters("mu_launches", "Launches that are settled.", "outcome", settled)
        yield gauge("mu_launches_queued", "Launches that wait for their turn.", counts.launches_queued)
        pending = sum(job.launches for job in running)
        yield gauge("mu_launches_pending", "Launches whose workers have not come yet.", pending)
        if daemon.launch_rate is not None:
            yield gauge(
                "mu_launch_rate_limit_per_second",
                "Launches a second that the coordinator allows itself, as Lambda throttles.",
                daemon.launch_rate,
            )
        yield gauge("mu_accepts_jobs", "Whether new jobs are taken.", daemon.note is None)
        yield gauge("mu_journal_records_waiting", "Records that are not on disk yet.", counts.journal_waiting)
        yield gauge("mu_journal_lag_seconds", "Age of the first record that is not on disk.", counts.journal_lag)
        if counts.spans is not None:
            yield counters(
                "mu_trace_spans", "Spans of traces that the collector took or refused.", "outcome", counts.spans
            )
        if daemon.loop_lag is not None:
            yield gauge(
                "mu_event_loop_lag_seconds", "The latest that a timer came in the last 15 seconds.", daemon.loop_lag
            )
        costs = {job.job: job.cost for job in running if job.cost is not None}
        used = {job: cost.gb_seconds for job, cost in costs.items()}
        yield gauges("mu_job_lambda_gb_seconds", "GB-seconds that a job that runs has used.", "job", used)
        prices = {job: cost.price for job, cost in costs.items() if cost.price is not None}
        yield gauges("mu_job_cost_dollars", "US dollars that a job that runs has cost, by the list.", "job", prices)


def gauge(name: str, text: str, value: float) -> Metric:
    """One number that goes up and down."""
    return GaugeMetricFamily(name, text, value=float(value))


def counter(name: str, text: str, value: float) -> Metric:
    """One number that only goes up, called ``NAME_total``."""
    return CounterMetricFamily(name, text, value=float(value))


def gauges(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Such numbers, by a label."""
    return _labelled(GaugeMetricFamily(name, text, labels=[label]), values)


def counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    """Such numbers, by a label."""
    return _labelled(CounterMetricFamily(name, text, labels=[label]), values)


def _labelled(family: GaugeMetricFamily | CounterMetricFamily, values: Mapping[str, float]) -> Metric:
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family

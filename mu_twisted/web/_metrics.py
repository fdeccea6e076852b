"""Metrics of a coordinator are read for Prometheus when they are asked for, from what its service says of itself.

Names and units are by Prometheus' conventions. Nothing is counted for them while jobs run.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from mu_twisted.coordinator import DaemonStatus, JobStatus, State

KIND = CONTENT_TYPE_PLAIN_0_0_4
STATES = get_args(State)
TASK_STATES = ("waiting", "active", "done", "failed")
"""Of which a job's status has counts."""


def metrics_text(daemon: DaemonStatus, jobs: Sequence[JobStatus]) -> bytes:
    """All metrics, as text.

    :param daemon: how the coordinator is.
    :param jobs: all on record.
    """
    registry = CollectorRegistry()
    registry.register(_Collector(daemon, jobs))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    def __init__(self, daemon: DaemonStatus, jobs: Sequence[JobStatus]) -> None:
        self._daemon = daemon
        self._jobs = jobs

    def collect(self) -> Iterator[Any]:
        daemon = self._daemon
        running = [job for job in self._jobs if job.state == "running"]
        yield InfoMetricFamily(
            "mu_coordinator", "The coordinator.", {"version": daemon.version, "transport": daemon.transport}
        )
        states = Counter(job.state for job in self._jobs)
        yield _labelled("mu_jobs", "Jobs on record.", "state", {state: states[state] for state in STATES})
        tasks = {state: sum(getattr(job, state) for job in running) for state in TASK_STATES}
        yield _labelled("mu_tasks", "Tasks of the jobs that run.", "state", tasks)
        yield _gauge("mu_workers_connected", "Workers that are connected.", daemon.workers)
        pending = sum(job.launches for job in running)
        yield _gauge("mu_launches_pending", "Launches whose workers have not come yet.", pending)
        if daemon.launch_rate is not None:
            yield _gauge(
                "mu_launch_rate_limit_per_second",
                "Launches a second that the coordinator allows itself, as Lambda throttles.",
                daemon.launch_rate,
            )
        yield _gauge("mu_accepts_jobs", "Whether new jobs are taken.", daemon.note is None)
        if daemon.loop_lag is not None:
            yield _gauge(
                "mu_event_loop_lag_seconds", "The latest that a timer came in the last 15 seconds.", daemon.loop_lag
            )
        costs = {job.job: job.cost for job in running if job.cost is not None}
        used = {job: cost.gb_seconds for job, cost in costs.items()}
        yield _labelled("mu_job_lambda_gb_seconds", "GB-seconds that a job that runs has used.", "job", used)
        prices = {job: cost.price for job, cost in costs.items() if cost.price is not None}
        yield _labelled("mu_job_cost_dollars", "US dollars that a job that runs has cost, by the list.", "job", prices)


def _gauge(name: str, text: str, value: float) -> Any:
    return GaugeMetricFamily(name, text, value=float(value))


def _labelled(name: str, text: str, label: str, values: dict[str, Any]) -> Any:
    family = GaugeMetricFamily(name, text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family

"""Metrics are what Prometheus can read, and say what the coordinator says."""

from prometheus_client.parser import text_string_to_metric_families

from mu_twisted.coordinator import DaemonStatus, JobStatus
from mu_twisted.jobs import Cost
from mu_twisted.web._metrics import metrics_text

DAEMON = DaemonStatus(1, "0.2.0", 13579, 2, 7, transport="core", loop_lag=0.25)
COST = Cost(3, 10.0, 15.0, 0.5, "USD", "2026-01-01")
JOBS = [
    JobStatus("a", "exec", "running", 1.0, 10, waiting=1, active=2, done=3, failed=4, launches=5, cost=COST),
    JobStatus('b"\n', "exec", "running", 1.0, 10, waiting=10, cost=COST),
    JobStatus("c", "exec", "failed", 1.0, 10, failed=10),
]


def samples(daemon: DaemonStatus = DAEMON) -> dict[tuple[str, ...], float]:
    text = metrics_text(daemon, JOBS).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_they_say_what_the_statuses_say() -> None:
    found = samples()
    assert found["mu_jobs", "running"] == 2
    assert found["mu_jobs", "failed"] == 1
    assert found["mu_jobs", "held"] == 0
    tasks = {state: found["mu_tasks", state] for state in ("waiting", "active", "done", "failed")}
    assert tasks == {"waiting": 11, "active": 2, "done": 3, "failed": 4}
    assert found["mu_workers_connected",] == 7
    assert found["mu_launches_pending",] == 5
    assert found["mu_accepts_jobs",] == 1
    assert found["mu_event_loop_lag_seconds",] == 0.25
    assert found["mu_job_lambda_gb_seconds", 'b"\n'] == 15.0
    assert ("mu_launch_rate_limit_per_second",) not in found


def test_trouble_is_seen() -> None:
    found = samples(DaemonStatus(1, "0.2.0", 13579, 2, 7, note="the disk is full", launch_rate=31.5))
    assert found["mu_accepts_jobs",] == 0
    assert found["mu_launch_rate_limit_per_second",] == 31.5
    assert ("mu_event_loop_lag_seconds",) not in found

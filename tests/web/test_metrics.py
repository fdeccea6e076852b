"""Metrics are what Prometheus can read, and say what the coordinator says."""

from prometheus_client.parser import text_string_to_metric_families

from mu_twisted.coordinator import CoordinatorCounts, DaemonStatus
from mu_twisted.statuses import Cost, JobStatus
from mu_twisted.web.metrics import metrics_text

DAEMON = DaemonStatus(1, "0.2.0", 13579, 2, 7, transport="core", loop_lag=0.25)
COST = Cost(3, 10.0, 15.0, 0.5, "USD", "2026-01-01")
COUNTS = CoordinatorCounts(
    {"accepted": 9, "failed": 2},
    {"done": 5, "beaten": 1},
    8,
    70,
    {"idle": 1, "working": 6},
    3,
    0.5,
    bytes={"retrieved": 4_000_000_000, "sent": 5},
    failed_handshakes={"certificate": 3},
    launches_queued=17,
)
JOBS = [
    JobStatus("a", "exec", "running", 1.0, 10, waiting=1, active=2, done=3, failed=4, launches=5, cost=COST),
    JobStatus('b"\n', "exec", "running", 1.0, 10, waiting=10, cost=COST),
    JobStatus("c", "exec", "failed", 1.0, 10, failed=10),
]


def samples(daemon: DaemonStatus = DAEMON) -> dict[tuple[str, ...], float]:
    text = metrics_text(daemon, JOBS, COUNTS).decode()
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


def test_they_say_what_was_counted() -> None:
    found = samples()
    launches = {outcome: found["mu_launches_total", outcome] for outcome in ("accepted", "failed", "cancelled")}
    assert launches == {"accepted": 9, "failed": 2, "cancelled": 0}
    attempts = {outcome: found["mu_attempts_total", outcome] for outcome in ("done", "failed", "beaten", "withdrawn")}
    assert attempts == {"done": 5, "failed": 0, "beaten": 1, "withdrawn": 0}
    assert (found["mu_worker_handshakes_total",], found["mu_worker_messages_total",]) == (8, 70)
    moved = {kind: found["mu_task_bytes_total", kind] for kind in ("retrieved", "uploaded", "sent", "received")}
    assert moved == {"retrieved": 4_000_000_000, "uploaded": 0, "sent": 5, "received": 0}
    assert found["mu_worker_failed_handshakes_total", "certificate"] == 3
    assert found["mu_worker_failed_handshakes_total", "timeout"] == 0
    assert found["mu_launches_queued",] == 17
    assert not any(name == "mu_trace_spans_total" for name, *_ in found)  # none are sent
    workers = {state: found["mu_workers", state] for state in ("idle", "working", "warming", "leaving")}
    assert workers == {"idle": 1, "working": 6, "warming": 0, "leaving": 0}
    assert (found["mu_journal_records_waiting",], found["mu_journal_lag_seconds",]) == (3, 0.5)


def test_trouble_is_seen() -> None:
    found = samples(DaemonStatus(1, "0.2.0", 13579, 2, 7, note="the disk is full", launch_rate=31.5))
    assert found["mu_accepts_jobs",] == 0
    assert found["mu_launch_rate_limit_per_second",] == 31.5
    assert ("mu_event_loop_lag_seconds",) not in found

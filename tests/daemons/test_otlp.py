"""Traces arrive at a collector as OpenTelemetry has them, and what a collector does harms no job."""

import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from control_server import Loop, control_loop  # noqa: F401 - a fixture
from daemon_processes import Coordinate, Ended, Local
from encoder_jobs import environment
from free_ports import refusing_port
from gate import Gate
from trace_collector import Collector, attributes
from twisted.internet.defer import Deferred
from warm_processes import LIMIT, MU, TWISTD, Process
from warm_processes import run as run_warm

from mu_twisted.coordinator import SpanDelivery
from mu_twisted.daemons._otlp import OtlpCollector, OtlpError, check_url
from mu_twisted.jobs import Span

SPANS = [
    Span(b"t" * 16, b"a" * 8, None, "job", 1_800_000_000.25, 1_800_000_002.0, {"mu.job.price": 0.5, "x": True}),
    Span(b"t" * 16, b"b" * 8, b"a" * 8, "task", 1_800_000_001.0, 1_800_000_001.5, {"n": 7}, [b"c" * 8], "no\udcff"),
]


@pytest.fixture
def collector() -> Iterator[Collector]:
    one = Collector()
    yield one
    one.close()


def sent(loop: Loop, url: str, spans: list[Span] = SPANS, **environ: str) -> SpanDelivery:
    sink = loop.do(OtlpCollector, loop.reactor, check_url(url), environ)
    delivery: SpanDelivery = loop.do(sink.send, spans)
    loop.do(sink.close)
    return delivery


def test_spans_arrive_with_all_that_they_have(loop: Loop, collector: Collector) -> None:
    environ = {
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=a%20b,service.name=unused",
        "OTEL_SERVICE_NAME": "film",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc%3D, other=1",
    }
    assert sent(loop, collector.url, **environ) == SpanDelivery()
    job, task = collector.taken
    path, headers = collector.requests[0]
    assert (path, headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
    assert (headers["X-Key"], headers["Other"]) == ("abc=", "1")
    resource = collector.resources[0]
    assert (resource["service.name"], resource["deployment.environment"]) == ("film", "a b")
    assert (job.trace_id, job.span_id, job.parent_span_id, job.name) == (b"t" * 16, b"a" * 8, b"", "job")
    assert (job.start_time_unix_nano, job.end_time_unix_nano) == (1_800_000_000_250_000_000, 1_800_000_002_000_000_000)
    assert attributes(job) == {"mu.job.price": 0.5, "x": True}
    assert (job.status.code, task.status.code) == (0, 2)
    assert (task.parent_span_id, task.links[0].span_id, attributes(task)) == (b"a" * 8, b"c" * 8, {"n": 7})
    assert task.status.message == "no\\udcff"


@pytest.mark.parametrize(("status", "again"), [(400, False), (401, False), (429, True), (503, True), (302, False)])
def test_what_may_be_sent_again_is_by_the_specification(
    loop: Loop, collector: Collector, status: int, *, again: bool
) -> None:
    collector.status = status
    delivery = sent(loop, collector.url)
    assert (delivery.again, delivery.refused) == (again, 0 if again else 2)
    assert f"HTTP {status}" in str(delivery.fault)
    assert "\n" not in str(delivery.fault)


def test_a_part_that_is_refused_is_counted(loop: Loop, collector: Collector) -> None:
    collector.rejected = 1
    delivery = sent(loop, f"{collector.url}/other/path?x=1")
    assert (delivery.refused, delivery.again) == (1, False)
    assert str(delivery.fault).endswith("too old")
    assert collector.requests[0][0] == "/other/path?x=1"


def test_one_that_does_not_answer_until_the_request_is_given_up_is_tried_again(
    loop: Loop, collector: Collector
) -> None:
    collector.stuck = threading.Event()
    sink = loop.do(OtlpCollector, loop.reactor, check_url(collector.url), {})
    sending: list[Deferred[SpanDelivery]] = []

    def given_up() -> Deferred[SpanDelivery]:
        sending[0].cancel()
        return sending[0]

    loop.do(lambda: sending.append(Deferred.fromCoroutine(sink.send(SPANS))))
    loop.until(lambda: collector.requests)
    delivery = loop.do(given_up)
    collector.stuck.set()
    loop.do(sink.close)
    said = f"the collector at 127.0.0.1:{collector.port}: no answer has come in time"
    assert delivery == SpanDelivery(said, again=True)


def test_one_that_is_not_there_is_tried_again(loop: Loop) -> None:
    with refusing_port() as port:
        delivery = sent(loop, f"http://127.0.0.1:{port}")
    assert delivery.again
    assert "\n" not in str(delivery.fault)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "localhost:4318",
        "ftp://a",
        "http://",
        "http://u:p@a",
        "http://a:99999",
        "http://a b",
        "http://ä",
        "http://a..b:1",
        "http://-",
    ],
)
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"URL|[Pp]ort"):
        check_url(text)


@pytest.mark.process
def test_a_wrong_url_is_one_line(coordinate: Coordinate) -> None:
    for url, shown in (("localhost:4318", "localhost:4318"), ("http://me:s3cret@host", "http://...@host")):
        ended = coordinate("--otlp", url)
        said = f"--otlp: expected http://HOST:PORT or https://HOST, perhaps with a path, got '{shown}'"
        assert said in ended.complained()


def test_what_the_environment_says_wrongly_is_not_shown(loop: Loop) -> None:
    for variable in ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES"):
        with pytest.raises(OtlpError, match=f"^{variable}: expected KEY=VALUE,KEY=VALUE$"):
            OtlpCollector(loop.reactor, "http://localhost/", {variable: "s3cret"})
    for name in ("x y", "authorization: s3cret", "\u00e9"):
        with pytest.raises(OtlpError, match="^OTEL_EXPORTER_OTLP_HEADERS: expected NAME=VALUE, NAME that of a header$"):
            OtlpCollector(loop.reactor, "http://localhost/", {"OTEL_EXPORTER_OTLP_HEADERS": f"{name}=s3cret"})
    with pytest.raises(OtlpError, match=r"^OTEL_EXPORTER_OTLP_CERTIFICATE=/nowhere: "):
        OtlpCollector(loop.reactor, "https://localhost/", {"OTEL_EXPORTER_OTLP_CERTIFICATE": "/nowhere"})


@pytest.mark.process
def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    program = "import sys; from mu_twisted.cli import main; sys.exit(main())"
    words = ["coordinator", "-t", "tcp:0", "--state-dir", str(tmp_path / "state")]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words, "--otlp", "http://localhost:4318"],
        env=environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr == ("error: --otlp needs the package opentelemetry-proto: pip install 'mu-twisted[otlp]'\n")


@pytest.fixture
def patient(tmp_path: Path) -> Coordinate:
    """The same as ``coordinate``, and at its end it waits for the collector as long as that may take here."""
    limit = f"from mu_twisted.coordinator.observation import _traces; _traces.PARTING = {LIMIT}; "

    def run(*words: str) -> Ended:
        code, *options = TWISTD
        env = environment(tmp_path, {})
        done = run_warm(limit + code, *options, "mu-coordinator", *words, env=env, cwd=tmp_path)
        return Ended(done.returncode, done.stdout, done.stderr)

    return run


def kinds(collector: Collector) -> Counter[str]:
    return Counter("state" if "mu.state.name" in attributes(span) else span.name for span in collector.taken)


@pytest.mark.process
def test_a_job_of_the_plugin_arrives_before_the_command_ends(
    patient: Coordinate, local: Local, collector: Collector
) -> None:
    words = local.words("exec", "-n", "3", "--retries", "1", "--retry-exit", "3", "--out", "otlp/{n}")
    ended = patient("--otlp", collector.url, *words, "--", "[ {n} != 1 ] || exit 3; echo 12345 > {out}")
    assert ended.status == 1
    assert kinds(collector) == {"attempt": 4, "task": 3, "job": 1, "state": 6}
    for attempt in collector.named("attempt"):
        states = [span for span in collector.taken if span.parent_span_id == attempt.span_id]
        assert len(states) == (1 if attempt.status.code == 2 else 2)  # its command is run, what that made is stored
        assert {span.name for span in states} == {attributes(span)["mu.state.name"] for span in states}
        ends = [attempt.start_time_unix_nano, *(span.end_time_unix_nano for span in states)]
        assert [span.start_time_unix_nano for span in states] == ends[:-1]
        assert ends == sorted(ends)
        assert ends[-1] <= attempt.end_time_unix_nano
        assert states[-1].status.code == attempt.status.code
    failed = [span for span in collector.named("attempt") if span.status.code == 2]
    assert [attributes(span)["process.exit.code"] for span in failed] == [3, 3]
    assert {attributes(span)["mu.task.number"] for span in failed} == {1}
    job = collector.named("job")[0]
    done = [attributes(span) for span in collector.named("attempt") if span.status.code == 0]
    assert [one["mu.attempt.uploaded_bytes"] for one in done] == [6, 6]
    assert attributes(job)["mu.job.uploaded_bytes"] == 12
    assert "1 of 3 tasks failed" in job.status.message
    secret = local.stack.secret_key.encode()
    assert all(secret not in span.SerializeToString() for span in collector.taken)


@pytest.mark.process
@pytest.mark.parametrize("trouble", ["away", "stuck", "refuses"])
def test_a_collector_in_trouble_costs_a_job_a_line_of_its_log(
    coordinate: Coordinate, patient: Coordinate, local: Local, collector: Collector, trouble: str
) -> None:
    words = [*local.words("exec", "-n", "2"), "--", "true"]
    if trouble == "away":
        with refusing_port() as port:
            ended = coordinate("--otlp", f"http://127.0.0.1:{port}", *words)
    elif trouble == "stuck":
        collector.stuck = threading.Event()
        ended = coordinate("--otlp", collector.url, *words)
        collector.stuck.set()
    else:
        collector.status = 403
        ended = patient("--otlp", collector.url, *words)
    assert ended.status == 0
    assert "2 of 2 tasks done" in ended.out
    [line] = [line for line in ended.err.splitlines() if "traces" in line]
    assert "403" in line if trouble == "refuses" else "wait in the journal" in line
    assert "Traceback" not in ended.err


def serve(home: Path, local: Local, url: str) -> Process:
    state = ["--state-dir", str(home / "state"), "--local", "--local-state-dir", str(local.state_dir / "local")]
    process = Process(
        *(*MU, "coordinator", "-t", "tcp:0:interface=127.0.0.1", *state, "--otlp", url),
        env=environment(home, {}),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "ready for workers" not in (line := process.stderr.readline()):
        assert line
    return process


def mu(home: Path, command: str, *words: str) -> str:
    done = run_warm(*MU, command, "--state-dir", str(home / "state"), *words, env=environment(home, {}))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.process
def test_a_daemon_that_was_killed_says_the_same_as_before(tmp_path: Path, local: Local, collector: Collector) -> None:
    first = serve(tmp_path, local, collector.url)
    with Gate() as gate:
        command = f"[ {{n}} = 0 ] || {gate.command}"
        job = mu(tmp_path, "submit", "exec", "-n", "2", "-b", Local.BUCKET, "-l", Local.FUNCTION, "--", command)
        gate.await_arrivals(1)
        assert _seen(collector, "task")
        first.send_signal(signal.SIGKILL)
        first.communicate(timeout=LIMIT)
    second = serve(tmp_path, local, collector.url)
    try:
        mu(tmp_path, "wait", job)
        assert _seen(collector, "job")
    finally:
        second.send_signal(signal.SIGTERM)
        second.communicate(timeout=LIMIT)
    found = collector.taken
    # What was sent in the moment of the kill may come again: it is the same span then.
    assert len({span.span_id for span in found}) == len({span.SerializeToString() for span in found})
    assert len({span.trace_id for span in found}) == 1
    assert {attributes(span)["mu.task.number"] for span in collector.named("task")} == {0, 1}
    ended = [span for span in collector.named("attempt") if attributes(span)["mu.attempt.outcome"] == "withdrawn"]
    assert {attributes(span)["mu.task.number"] for span in ended} == {1}


def _seen(collector: Collector, name: str) -> bool:
    waiting = threading.Event()
    for _ in range(int(LIMIT / 0.05)):
        if collector.named(name):
            return True
        waiting.wait(0.05)
    return False

"""``twistd mu-coordinator`` as a process: a user's mistakes are one line, and a job runs from end to end."""

import contextlib
import json
import pstats
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from free_ports import refusing_port
from twisted.python.usage import UsageError

from mu_twisted.daemons._cloud import other_stack
from mu_twisted.daemons._options import apply_environment, daemon_keys
from mu_twisted.daemons.coordinator import Options
from mu_twisted.local import Stack
from mu_twisted.tls import Authority

pytestmark = pytest.mark.process

GIVEN = dict.fromkeys(daemon_keys())
NO_KEYS = {"AWS_CONFIG_FILE": "/nonexistent", "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--nosuch png2y4m", "--nosuch"),
        (f"-c {__file__} -s s.pem -k k.pem png2y4m", "--share-key"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(coordinate: Any, words: str, said: str) -> None:
    ended = coordinate(*words.split())
    assert ended.status == 2
    assert said in ended.complained()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("png2y4m -n 0", "-n: expected a whole number of at least 1"),
        ("nosuch", "no pipeline is called 'nosuch'"),
        ("png2y4m -n many", "-n: expected a whole number"),
        ("png2y4m --nosuch", "--nosuch"),
        ("png2y4m -n 3 video", "only options are expected here, not 'video'"),
        ("./nosuch.py", "no pipeline module"),
        ("exec -n 2", "exec needs a command"),
        ("-t 65536 png2y4m", "-t: expected a port"),
        ("-t x png2y4m", "-t: expected a port"),
        ("-t tcp:x png2y4m", "-t: expected a port"),
        ("-s s.pem png2y4m", "without the CA certificate"),
        ("png2y4m -n 1000001", "-n: a job has at most 1000000 tasks, not 1000001"),
        ("--endpoint-url http://192.0.2.1 png2y4m", "--endpoint-url: http://192.0.2.1: plain http"),
        ("png2y4m --s3-endpoint-url ftp://x", "--s3-endpoint-url: expected an endpoint like https://"),
        ("--host-addr a:1 png2y4m", "--host-addr: expected a host name"),
    ],
)
def test_what_is_wrong_with_options_is_said(words: str, said: str, capfd: pytest.CaptureFixture[str]) -> None:
    status: object = None
    try:
        Options().parseOptions(words.split())
    except UsageError as error:  # which twistd prints
        error_line = str(error)
    except SystemExit as end:
        status, error_line = end.code, capfd.readouterr().err.rstrip("\n")
    assert status in (None, 2)
    assert said in error_line
    assert "\n" not in error_line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-t 0 png2y4m", "no AWS credentials: set AWS_ACCESS_KEY_ID"),
        ("-t 0 png2y4m -n 1000000 --max-workers 100000000", "file descriptors"),
        ("-t 0 -c nosuch.pem --ca-key nosuch.pem png2y4m", "nosuch.pem"),
        ("-t 0 --state-dir /proc/none png2y4m", "/proc/none"),
        ("-t systemd:domain=INET:index=0 png2y4m", "no such socket"),
        ("-t unix:socket png2y4m", "over TCP"),
        ("-t 0 -P /nonexistent/profile png2y4m", "/nonexistent/profile"),
    ],
)
def test_what_cannot_start_is_one_line_and_status_1(coordinate: Any, words: str, said: str) -> None:
    ended = coordinate(*words.split(), **NO_KEYS)
    assert ended.status == 1
    assert said in ended.complained()


@pytest.mark.parametrize(
    ("region", "said"), [("us-esat-1", "did you mean us-"), ("mars-1", "expected one such as us-")]
)
def test_a_region_that_there_is_not_is_wrong_use(coordinate: Any, region: str, said: str) -> None:
    ended = coordinate("-t", "0", "png2y4m", "-r", region, **NO_KEYS)
    assert ended.status == 2
    assert f"no region '{region}': {said}" in ended.complained()


@pytest.mark.parametrize("host", ["no such host", "a..b", "-a", "1.2.3", "1.2.3.4:5", "http://a", "a" * 64, "ü"])
def test_what_can_be_no_host_is_no_host_address(host: str) -> None:
    with pytest.raises(UsageError, match="--host-addr: expected a host name or an address"):
        apply_environment({**GIVEN, "host-addr": host}, {})


@pytest.mark.parametrize("host", ["a", "a-b.example.com.", "a_b", "127.0.0.1", "::1", "[::1]", "1a.example"])
def test_what_may_be_a_host_is_a_host_address(host: str) -> None:
    apply_environment({**GIVEN, "host-addr": host}, {})


def test_missing_credentials_name_the_way_without_any(coordinate: Any) -> None:
    assert "--local" in coordinate("-t", "0", "png2y4m", **NO_KEYS).complained()


def test_a_port_in_use_is_one_line_and_status_1(coordinate: Any) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        ended = coordinate("-t", str(taken.getsockname()[1]), "png2y4m")
    assert ended.status == 1
    assert "cannot listen" in ended.complained()


def test_a_state_directory_in_use_names_the_process_that_has_it(coordinate: Any, daemon: Any, tmp_path: Path) -> None:
    first = daemon("-t", "0", "--state-dir", str(tmp_path / "state"))
    ended = coordinate("-t", "0", "--state-dir", str(tmp_path / "state"))
    assert ended.status == 1
    assert f"process {first.pid}" in ended.complained()


def test_a_state_directory_and_a_key_that_are_for_others_too_are_warned_of(coordinate: Any, tmp_path: Path) -> None:
    Authority.open(tmp_path / "state" / "tls")
    (tmp_path / "state").chmod(0o777)
    (tmp_path / "state" / "tls" / "ca_key.pem").chmod(0o644)
    ended = coordinate("-t", "0", "--state-dir", str(tmp_path / "state"), "png2y4m", **NO_KEYS)
    for exposed in ("others can write to the directory", "others can read the key"):
        assert ended.err.count(exposed) == 1


def test_without_a_pipeline_it_idles_until_it_is_told_to_stop(daemon: Any, tmp_path: Path) -> None:
    process = daemon("-t", "0", "--state-dir", str(tmp_path / "state"))
    process.send_signal(signal.SIGTERM)
    assert process.wait(180) in (0, -signal.SIGTERM)


@pytest.mark.parametrize(
    ("switch", "said"),
    [
        (
            "-l",
            "there is no function nosuch in us-east-1 of the local stack in {}/local: make it with `mu lambdaize EXE",
        ),
        ("-b", "there is no bucket nosuch in the local stack in {}/local: check -b"),
    ],
)
def test_a_missing_function_or_bucket_is_found_before_the_launch(
    coordinate: Any, local: Any, switch: str, said: str
) -> None:
    ended = coordinate(*local.words("png2y4m"), switch, "nosuch")
    assert ended.status == 1
    assert said.format(local.state_dir) in ended.complained()


def test_a_stack_that_the_environment_names_is_told_where_local_uses_another() -> None:
    stack = Stack("http://127.0.0.1:1", "http://127.0.0.1:2", "a", "s", "us-east-1")
    assert other_stack(stack, {}) is None
    assert other_stack(stack, stack.environment()) is None
    assert other_stack(stack, {"AWS_ENDPOINT_URL": "http://127.0.0.1:1/"}) is None
    another = Stack("http://127.0.0.1:3", "http://127.0.0.1:4", "a", "s", "us-east-1")
    assert other_stack(stack, another.environment()) == "http://127.0.0.1:3"
    assert other_stack(stack, {"AWS_ENDPOINT_URL": "http://127.0.0.1:5"}) == "http://127.0.0.1:5"


def test_a_missing_program_is_found_before_the_launch(coordinate: Any, local: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mu_twisted.fsm import TerminalState\n"
        "from mu_twisted.pipelines import Pipeline\n"
        "pipeline = Pipeline(name='m', summary='', first=TerminalState, programs=('mu_command', './xc-enc'))\n"
    )
    ended = coordinate(*local.words("./mine.py"))
    assert ended.status == 1
    assert "lacks ./xc-enc" in ended.complained()


def test_a_job_runs_from_end_to_end(coordinate: Any, local: Any, tmp_path: Path) -> None:
    for number in range(3):
        local.control.put_object(local.BUCKET, f"in/{number}", b"%d" % number * 10)
    words = ["-n", "3", "--in", "in/{n}", "--out", "out/{n}", "-O", "times", "-P", "profile"]
    ended = coordinate(*local.words("exec"), *words, "--", "rev < {in} > {out}; echo {n} >> {out}")
    assert ended.status == 0, ended.err
    assert "3 of 3 tasks done" in ended.out
    for number in range(3):
        assert local.control.get_object(local.BUCKET, f"out/{number}") == b"%d" % number * 10 + b"%d\n" % number
    records = [json.loads(line) for line in (tmp_path / "times").read_text().splitlines()]
    assert sorted(record["task"] for record in records) == [0, 1, 2]
    assert pstats.Stats(str(tmp_path / "profile")).total_calls  # type: ignore[attr-defined]


def test_a_users_own_module_is_run_with_its_own_options(coordinate: Any, local: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from mu_twisted.pipelines import Pipeline, PipelineOptions\n"
        "class Options(PipelineOptions):\n"
        "    optParameters = [['word', 'w', 'none', 'what to write']]\n"
        "async def task(w):\n"
        "    await w.run(f\"echo {w.settings['word']} > ##TMPDIR##/f\")\n"
        "    await w.upload(f'mine/{w.task}', '##TMPDIR##/f')\n"
        "pipeline = Pipeline(name='mine: a name with blanks', summary='', first=task, options=Options)\n"
    )
    ended = coordinate(*local.words("./mine.py"), "-n", "2", "-w", "hello")
    assert ended.status == 0, ended.err
    assert local.control.get_object(local.BUCKET, "mine/1") == b"hello\n"


def test_a_task_that_fails_fails_the_job_and_no_other_task(coordinate: Any, local: Any) -> None:
    ended = coordinate(*local.words("exec"), "-n", "3", "--", "test {n} != 1")
    assert ended.status == 1
    assert "1 of 3 tasks failed" in ended.complained()
    assert "task 1 failed" in ended.err
    assert "2 of 3 tasks done" in ended.out


def test_spare_workers_change_nothing_in_the_result(coordinate: Any, local: Any) -> None:
    ended = coordinate(*local.words("exec"), "-n", "4", "--overprovision", "2", "--", "true")
    assert ended.status == 0, ended.err
    assert "4 of 4 tasks done" in ended.out


def test_where_no_worker_reaches_us_the_end_of_its_log_is_printed(coordinate: Any, local: Any) -> None:
    words = ["--host-addr", "127.0.0.1", "--start-timeout", "1"]
    local.control.create_function("broken", broken_package())
    ended = coordinate(*local.words("exec"), *words, "-l", "broken", "--", "true")
    assert ended.status == 1
    assert "error: no worker reached 127.0.0.1:" in ended.err
    assert "no module of that name here" in ended.err


def test_workers_that_find_no_listener_at_the_address_say_so(coordinate: Any, local: Any) -> None:
    with refusing_port() as port:
        words = ["-t", f"tcp:{port}:interface=127.0.0.2", "--host-addr", "127.0.0.1", "--start-timeout", "1"]
        ended = coordinate(*local.words("exec"), *words, "--", "true")
    assert ended.status == 1
    assert f"no worker reached 127.0.0.1:{port}" in ended.complained()
    assert "Connection refused" in ended.err
    assert "--host-addr" in ended.err


def test_the_originals_shared_key_serves_workers_that_know_nothing_else(
    coordinate: Any, local: Any, tmp_path: Path
) -> None:
    from mu_twisted.tls import generate_keys

    generate_keys(tmp_path / "ssl", rsa=True)
    keys = {
        "CA_CERT": str(tmp_path / "ssl" / "ca_cert.pem"),
        "SRV_CERT": str(tmp_path / "ssl" / "server_cert.pem"),
        "SRV_KEY": str(tmp_path / "ssl" / "server_key.pem"),
    }
    ended = coordinate("--share-key", *local.words("exec"), "-n", "2", "--", "true", **keys)
    assert ended.status == 0, ended.err


def test_keys_of_the_users_own_ca_are_used_with_its_key_beside_it(coordinate: Any, local: Any, tmp_path: Path) -> None:
    from mu_twisted.tls import generate_keys

    generate_keys(tmp_path / "ssl")
    ended = coordinate("-c", str(tmp_path / "ssl" / "ca_cert.pem"), *local.words("exec"), "-n", "2", "--", "true")
    assert ended.status == 0, ended.err


def test_an_interrupt_ends_the_job_and_its_programs(daemon: Any, local: Any) -> None:
    mark = f"sleep {86400 + time.monotonic():.6f}"
    process = daemon(*local.words("exec"), "-n", "2", "--", mark, ready=None)
    _until(lambda: len(_running(mark)) == 2)
    process.send_signal(signal.SIGINT)
    process.wait(180)
    _until(lambda: not _running(mark))


def _running(mark: str) -> list[Path]:
    """Processes whose command is exactly this."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == mark.replace(" ", "\0").encode() + b"\0":
                found.append(path)
    return found


def _until(condition: Any) -> None:
    deadline = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def broken_package() -> bytes:
    """A function whose module cannot be imported."""
    import io
    import zipfile

    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("worker_lambda/__init__.py", "")
        archive.writestr("worker_lambda/lambda_function.py", "raise ImportError('no module of that name here')\n")
    return held.getvalue()

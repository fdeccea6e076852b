"""Start and end: of one stack, of two, by request and by force."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.local import LocalError, find, start

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
HANGS = (
    "import subprocess\ndef handler(e, c):\n    subprocess.run(['sleep', '600'], env=dict(MU_TEST_MARK=e['mark']))\n"
)


def marked(state: Path) -> list[int]:
    """Processes that say in their environment or their arguments that they are of this state directory."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and int(path.name) != os.getpid():
                text = (path / "environ").read_bytes() + (path / "cmdline").read_bytes()
                if os.fsencode(state) in text:
                    found.append(int(path.name))
        except OSError:
            continue
    return found


def groups(pid: int) -> list[Path]:
    """Control groups that a stack made."""
    return [path for path in Path("/sys/fs/cgroup").rglob(f"mu-local-{pid}-*") if path.is_dir()]


def mounts(state: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]


def until(condition: Callable[[], bool], limit: float) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def hang(running: Any, connector: Callable[..., Any], package: Callable[..., bytes], state: Path) -> None:
    """Have an invocation under way."""
    client = connector(running.stack, "lambda")
    client.create_function(
        FunctionName="hangs",
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="m.handler",
        Timeout=300,
        Code={"ZipFile": package(m=HANGS)},
    )
    client.invoke(FunctionName="hangs", InvocationType="Event", Payload=json.dumps({"mark": str(state)}))
    client.close()
    until(lambda: any(b"MU_TEST_MARK" in environ(pid) for pid in marked(state)), 5.0)


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


@pytest.mark.parametrize("options", [[], ["--isolation=none", "--no-cgroups"]], ids=["strong", "weak"])
def test_nothing_is_left_after_sigkill_and_a_new_start_and_sigterm(
    request: pytest.FixtureRequest,
    options: list[str],
    tmp_path: Path,
    connector: Callable[..., Any],
    package: Callable[..., bytes],
) -> None:
    state = tmp_path / "state"
    running = start(state, options=options)
    request.addfinalizer(running.stop)
    hang(running, connector, package, state)
    os.kill(running.pid, signal.SIGKILL)
    until(lambda: not marked(state), 2.0)
    assert find(state) is None
    again = start(state, options=options)
    request.addfinalizer(again.stop)
    assert not groups(running.pid)
    assert again.stack.access_key == running.stack.access_key
    client = connector(again.stack, "lambda")
    assert [found["FunctionName"] for found in client.list_functions()["Functions"]] == ["hangs"]
    client.invoke(FunctionName="hangs", InvocationType="Event", Payload=json.dumps({"mark": str(state)}))
    client.close()
    until(lambda: any(b"MU_TEST_MARK" in environ(pid) for pid in marked(state)), 5.0)
    running.stop()
    began = time.monotonic()
    os.kill(again.pid, signal.SIGTERM)
    until(lambda: not marked(state), 2.0)
    again.stop()
    assert time.monotonic() - began < 2.0
    assert not groups(again.pid)
    assert not mounts(state)
    assert sorted(path.name for path in state.iterdir()) == ["functions", "keys.json", "local.log", "lock", "s3"]
    assert not list(Path("/tmp").glob("seaweedfs-*-grpc-*.sock"))  # noqa: S108


def test_the_stacks_address_is_private_and_found(stacks: dict[str, Any], tmp_path: Path) -> None:
    state = stacks["zygote"]._state_dir
    assert (state / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (state / "keys.json").stat().st_mode & 0o777 == 0o600
    assert find(state) == stacks["zygote"].stack
    assert find(tmp_path) is None
    assert stacks["zygote"].stack.secret_key not in repr(stacks["zygote"].stack)


def test_stacks_that_run_at_once_do_not_share_anything(stacks: dict[str, Any]) -> None:
    running = [stack.stack for stack in stacks.values()]
    addresses = {stack.lambda_endpoint for stack in running} | {stack.s3_endpoint for stack in running}
    assert len(addresses) == 6
    assert len({stack.access_key for stack in running}) == 3


def test_a_second_stack_on_one_state_directory_names_the_first(stacks: dict[str, Any]) -> None:
    first = stacks["zygote"]
    with pytest.raises(LocalError, match=rf"in use by process {first.pid}") as caught:
        start(first._state_dir.parent / "zygote")
    assert "\n" not in str(caught.value)


def test_a_zygote_that_is_killed_is_replaced(one: Any, stacks: dict[str, Any]) -> None:
    name = one.make("def handler(e, c):\n    return 1\n")
    assert one.call(name)[0] == 1
    for pid in children(stacks["zygote"].pid):
        if b"_zygote.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)

    def served() -> bool:
        return one.call(name)[0] == 1

    until(served, 5.0)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def run(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "twisted.scripts.twistd", "-n", "--pidfile=", "mu-local", *arguments]
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    command[1:3] = ["-c", code]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=30, check=False, **more)


@pytest.mark.parametrize("bad", [["--lambda-port", "x"], ["--spawn", "x"], ["--isolation", "x"], ["--nothing"]])
def test_wrong_usage_is_one_line_and_status_2(bad: list[str]) -> None:
    ended = run(*bad)
    assert ended.returncode == 2
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ended.stderr + ended.stdout


def test_a_port_in_use_is_one_line_and_status_1(stacks: dict[str, Any], tmp_path: Path) -> None:
    port = stacks["zygote"].stack.lambda_endpoint.rpartition(":")[2]
    ended = run("--state-dir", str(tmp_path), "--lambda-port", port)
    assert ended.returncode == 1
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1
    assert port in lines[0]
    assert "--lambda-port" in lines[0]
    assert not (tmp_path / "run").exists()

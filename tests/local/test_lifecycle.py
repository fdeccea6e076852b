"""Start and end: of one stack, of two, by request and by force."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from warm_processes import LIMIT, TWISTD
from warm_processes import run as run_warm

from mu_twisted.local import LocalError, Stack, ensure, find, start, stop
from mu_twisted.local.environments.isolation import descendants, parents

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
    return [Path(path) for path, _, _ in os.walk("/sys/fs/cgroup") if Path(path).name.startswith(f"mu-local-{pid}-")]


def mounts(state: Path) -> list[str]:
    return [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(state) in line]


def until(condition: Callable[[], bool], limit: float = LIMIT) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def hang(stack: Stack, connector: Callable[..., Any], package: Callable[..., bytes], state: Path) -> None:
    """Have an invocation under way."""
    client = connector(stack, "lambda")
    client.create_function(
        FunctionName="hangs",
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="m.handler",
        Timeout=300,
        Code={"ZipFile": package(m=HANGS)},
    )
    call_hangs(client, state)
    client.close()
    until(lambda: any(b"MU_TEST_MARK" in environ(pid) for pid in marked(state)))


def call_hangs(client: Any, state: Path) -> None:
    sent = client.invoke(FunctionName="hangs", InvocationType="Event", Payload=json.dumps({"mark": str(state)}))
    sent["Payload"].close()


def environ(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


WEAK = ["--isolation=none", "--no-cgroups"]
KEPT = ["functions", "keys.json", "local.log", "lock", "s3"]


def left(state: Path, pid: int) -> list[object]:
    """Everything that a stack that is over has left, but what it is to keep."""
    strays = [path.name for path in state.iterdir() if path.name not in KEPT]
    return [*marked(state), *groups(pid), *mounts(state), *strays]


def dead_sockets() -> set[Path]:
    return {path for path in Path("/tmp").glob("seaweedfs-*-grpc-*.sock") if dead(path)}


def dead(path: Path) -> bool:
    """Whether no process listens at this socket, as at those of stacks that run."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(str(path))
        except ConnectionRefusedError:
            return True
        except OSError:
            pass
    return False


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(["--s3=moto"], id="strong"),
        pytest.param([*WEAK, "--s3=moto"], id="weak", marks=pytest.mark.long),
    ],
)
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
    hang(running.stack, connector, package, state)
    os.kill(running.pid, signal.SIGKILL)
    # A process loses its environment before its files, when it is killed.
    until(lambda: not marked(state) and find(state) is None)
    again = start(state, options=options)
    request.addfinalizer(again.stop)
    assert not groups(running.pid)
    assert again.stack.access_key == running.stack.access_key
    client = connector(again.stack, "lambda")
    assert [found["FunctionName"] for found in client.list_functions()["Functions"]] == ["hangs"]
    call_hangs(client, state)
    client.close()
    until(lambda: any(b"MU_TEST_MARK" in environ(pid) for pid in marked(state)))
    running.stop()
    os.kill(again.pid, signal.SIGTERM)
    until(lambda: not marked(state))
    again.stop()
    assert not left(state, again.pid)
    assert sorted(path.name for path in state.iterdir()) == KEPT
    assert "Traceback" not in (state / "local.log").read_text()


def test_the_stacks_address_is_private_and_found(stacks: dict[str, Any], tmp_path: Path) -> None:
    state = stacks["zygote"].state_dir
    assert (state / "stack.json").stat().st_mode & 0o777 == 0o600
    assert (state / "keys.json").stat().st_mode & 0o777 == 0o600
    assert find(state) == stacks["zygote"].stack
    assert find(tmp_path) is None
    assert stacks["zygote"].stack.secret_key not in repr(stacks["zygote"].stack)


def test_a_stack_has_as_many_descriptors_as_it_may(stacks: dict[str, Any]) -> None:
    for stack in stacks.values():
        found = re.search(r"Max open files +(\w+) +(\w+)", Path(f"/proc/{stack.pid}/limits").read_text())
        assert found is not None
        assert found[1] == found[2]


def test_stacks_that_run_at_once_do_not_share_anything(stacks: dict[str, Any]) -> None:
    running = [stack.stack for stack in stacks.values()]
    addresses = {stack.lambda_endpoint for stack in running} | {stack.s3_endpoint for stack in running}
    assert len(addresses) == 2 * len(running)
    assert len({stack.access_key for stack in running}) == len(running)


def test_a_second_stack_on_one_state_directory_names_the_first(stacks: dict[str, Any]) -> None:
    first = stacks["zygote"]
    with pytest.raises(LocalError, match=rf"in use by process {first.pid}") as caught:
        start(first.state_dir.parent / "zygote")
    assert "\n" not in str(caught.value)


@pytest.mark.long
def test_programs_that_want_a_stack_at_the_same_time_have_the_same(tmp_path: Path) -> None:
    (tmp_path / "local.log").write_text("error: of the one before\n")
    together = threading.Barrier(2)

    def begin(_: int) -> tuple[Stack, int | None]:
        together.wait()
        return ensure(tmp_path)

    try:
        with ThreadPoolExecutor(2) as threads:
            (one, _), (other, _) = threads.map(begin, range(2))
        assert one == other == find(tmp_path)
    finally:
        stop(tmp_path)
    assert (tmp_path / "local.log").read_text().startswith("error: of the one before\n")


def test_a_zygote_that_is_killed_is_replaced(one: Any, stacks: dict[str, Any]) -> None:
    name = one.make("def handler(e, c):\n    return 1\n")
    assert one.call(name)[0] == 1
    for pid in children(stacks["zygote"].pid):
        if b"\0_zygote\0" in cmdline(pid):
            os.kill(pid, signal.SIGKILL)

    def served() -> bool:
        return one.call(name)[0] == 1

    until(served)


def children(pid: int) -> list[int]:
    """Its own that live. The kernel's list of them leaves some out while others end."""
    return [child for child, (parent, state) in parents().items() if parent == pid and state not in "ZX"]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run_warm(*TWISTD, "mu-local", *arguments, cwd=ROOT)


@contextmanager
def launched(state: Path, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """A stack as a user starts it, a job of its own on a terminal."""
    code = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
    whole = [*prefix, sys.executable, "-c", code, "-n", "--pidfile=", "mu-local", "--state-dir", str(state), *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(whole, stdout=pipe, stderr=pipe, text=True, cwd=ROOT, process_group=0) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def ready(state: Path) -> Stack:
    until(lambda: find(state) is not None)
    found = find(state)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "options", [pytest.param([], id="strong"), pytest.param(WEAK, id="weak", marks=pytest.mark.long)]
)
def test_ctrl_c_ends_all_of_it(
    options: list[str], tmp_path: Path, connector: Callable[..., Any], package: Callable[..., bytes]
) -> None:
    with launched(tmp_path, "--s3=moto", *options) as process:
        hang(ready(tmp_path), connector, package, tmp_path)
        os.killpg(process.pid, signal.SIGINT)
        said, errors = process.communicate(timeout=LIMIT)
        # twistd ends as if the signal had killed it, which tells a shell to stop too.
        assert process.returncode in (0, -signal.SIGINT)
        assert "Traceback" not in said + errors
        assert not left(tmp_path, process.pid)


@pytest.mark.long
def test_a_caller_is_answered_while_others_hold_all_descriptors(
    tmp_path: Path, connector: Callable[..., Any], package: Callable[..., bytes]
) -> None:
    with launched(tmp_path, "--s3=moto", prefix=("sh", "-c", 'ulimit -n 256; exec "$@"', "sh")) as process:
        held: list[socket.socket] = []
        try:
            stack = ready(tmp_path)
            port = int(stack.lambda_endpoint.rpartition(":")[2])
            for said in (b"", b"GET /2015-03-31/functions HTTP/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nContent-"):
                for _ in range(200):
                    held.append(socket.create_connection(("127.0.0.1", port), LIMIT))
                    with suppress(OSError):
                        held[-1].send(said)
            with closing(connector(stack, "lambda")) as client:
                client.create_function(
                    FunctionName="f",
                    Runtime="python3.12",
                    Role="arn:aws:iam::000000000000:role/any",
                    Handler="m.handler",
                    Code={"ZipFile": package(m="def handler(event, context):\n    return 7\n")},
                )
                with client.invoke(FunctionName="f")["Payload"] as payload:
                    assert payload.read() == b"7"
        finally:
            for end in held:
                end.close()
            process.terminate()
            said, errors = process.communicate(timeout=LIMIT)
    assert "Traceback" not in said + errors
    assert (said + errors).count("idle connections") == 1


def test_a_seaweedfs_that_is_killed_comes_back_with_its_objects(
    one: Any, stacks: dict[str, Any], connector: Callable[..., Any]
) -> None:
    s3 = connector(one.stack, "s3")
    s3.create_bucket(Bucket="outlives")
    s3.put_object(Bucket="outlives", Key="a", Body=b"kept")
    killed = [pid for pid in children(stacks["zygote"].pid) if b"weed" in cmdline(pid)]
    assert len(killed) == 1
    os.kill(killed[0], signal.SIGKILL)

    def kept() -> bool:
        try:
            with closing(s3.get_object(Bucket="outlives", Key="a")["Body"]) as body:
                return bool(body.read() == b"kept")
        except (BotoCoreError, ClientError):
            return False

    until(lambda: killed[0] not in children(stacks["zygote"].pid))
    until(kept)
    s3.close()


@pytest.mark.long
def test_a_moto_that_is_killed_ends_the_stack_with_one_line(tmp_path: Path) -> None:
    with launched(tmp_path, "--s3=moto") as process:
        ready(tmp_path)
        for pid in children(process.pid):
            if b"moto" in cmdline(pid):
                os.kill(pid, signal.SIGKILL)
        said, errors = process.communicate(timeout=LIMIT)
        assert process.returncode == 1
        complaints = [line for line in errors.splitlines() if line.startswith("error: ")]
        assert complaints == ["error: the local S3 (moto) ended, and its objects with it; start the stack again"]
        assert "Traceback" not in said + errors
        assert not left(tmp_path, process.pid)


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


PARTS = "import subprocess, time\ndef handler(e, c):\n    subprocess.run(['sleep', str(e)])\n    return 'whole'\n"


KINDS = ("mu-zygote", "mu-init", "mu-runtime", "sleep")


def comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def kill_parts(state: Path, options: list[str], seed: int, rounds: int, caller_of: Callable[[Stack], Any]) -> None:
    """Kill anything but the daemon and its S3 at random moments, while it works; then it works.

    Each kind of part in turn, if there is one then: what forks, an environment's first process, its runtime, and what
    that has started.
    """
    chance = random.Random(seed)
    killed = set()
    running = start(state, options=["--s3=moto", *options])
    try:
        caller = caller_of(running.stack)
        name = caller.make(PARTS, Timeout=4)
        with ThreadPoolExecutor(4) as threads:
            for number in range(rounds):
                calls = [threads.submit(caller.call, name, chance.uniform(0.01, 0.3)) for _ in range(4)]
                time.sleep(chance.uniform(0.0, 0.4))
                parts = {pid: comm(pid) for pid in descendants(running.pid) if b"moto" not in cmdline(pid)}
                wanted = KINDS[number % len(KINDS)]
                # What forks is killed in its turn only: if it ends again and again, the stack does too.
                others = {pid: kind for pid, kind in parts.items() if kind != KINDS[0]}
                parts = {pid: kind for pid, kind in parts.items() if kind == wanted} or others or parts
                for pid in chance.sample(sorted(parts), min(len(parts), 1)):  # there may be none as they begin anew
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                        killed.add(parts[pid])
                for call in calls:
                    payload, answer = call.result(timeout=LIMIT)
                    assert payload == "whole" or answer["FunctionError"] == "Unhandled"
                # One that was killed while it was idle may be found out by the next call only.
                until(lambda: caller.call(name, 0.01)[0] == "whole")
        caller.client.close()
    finally:
        running.stop()
    assert not left(state, running.pid)
    assert {"mu-zygote", "mu-init"} <= killed


def kill_daemons(state: Path, options: list[str], seed: int, rounds: int) -> None:
    """Kill daemons at random moments from their birth on; the next one that is let live leaves nothing of them."""
    chance = random.Random(seed)
    pids = []
    earlier = dead_sockets()  # of whatever program
    for _ in range(rounds):
        with launched(state, *options) as process:
            pids.append(process.pid)
            time.sleep(chance.uniform(0.2, 1.0))
            process.kill()
    start(state, options=[*options, "--s3=moto"]).stop()
    assert not [found for pid in pids for found in left(state, pid)]
    until(lambda: not dead_sockets() - earlier)  # there may be some of stacks that others have killed and start again


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("options", [[], WEAK, ["--spawn=plain"]], ids=["strong", "weak", "plain"])
def test_any_part_may_be_killed_at_any_moment(
    options: list[str], seed: int, tmp_path: Path, caller_of: Callable[[Stack], Any]
) -> None:
    kill_parts(tmp_path / "parts", options, 100 + seed, 30, caller_of)
    kill_daemons(tmp_path / "daemons", options, 100 + seed, 10)


@pytest.mark.parametrize("bad", [["--lambda-port", "x"], ["--spawn", "x"], ["--isolation", "x"], ["--nothing"], ["x"]])
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

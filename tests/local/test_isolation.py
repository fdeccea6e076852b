"""What an environment sees, what it may use, and what is left of it. On real stacks."""

from __future__ import annotations

import base64
import io
import os
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from warm_processes import LIMIT

pytestmark = pytest.mark.process

PLAIN, WEAK = (pytest.param(name, marks=pytest.mark.long) for name in ("plain", "weak"))
everywhere = pytest.mark.parametrize("caller", ["zygote", PLAIN, WEAK, "user"], indirect=True)

LOOK = """
import os, sys, mu_twisted.wire, worker_lambda
def handler(event, context):
    return {
        "environ": dict(os.environ), "path": sys.path, "cwd": os.getcwd(),
        "wire": mu_twisted.wire.__file__, "worker": worker_lambda.__file__, "root": os.environ["LAMBDA_TASK_ROOT"],
        "modules": [n for n in sys.modules if n.startswith("twisted")],
        "fds": len(os.listdir("/proc/self/fd")),
    }
"""
TEMPORARY = """
import os, tempfile
def handler(event, context):
    directory = tempfile.gettempdir()
    before = sorted(os.listdir(directory))
    if "write" in event:
        open(os.path.join(directory, event["write"]), "w").close()
    if event.get("port"):
        import socket
        with socket.create_connection(("127.0.0.1", event["port"])) as held:
            held.recv(1)
    return {"before": before, "directory": directory}
"""
NATIVE = """
import contextlib, glob, subprocess, time
SLEEP = "exec -a {0} sleep 300"
SCRIPT = "(" + SLEEP + ") & setsid bash -c '(" + SLEEP + ") & " + SLEEP + "' & wait"
def begun(mark):
    count = 0
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with contextlib.suppress(OSError), open(path, "rb") as command:
            count += command.read().startswith(mark)
    return count
def handler(event, context):
    print("deadline", time.time() + context.get_remaining_time_in_millis() / 1000)
    subprocess.Popen(["bash", "-c", SCRIPT.format(event["mark"])])
    while begun(event["mark"].encode()) < 3: time.sleep(0.01)
    if event.get("wait"): time.sleep(600)
"""
MEMORY = """
import time
def handler(event, context):
    if event.get("take"):
        held = bytearray(event["take"] << 20)
        for place in range(0, len(held), 4096): held[place] = 1
    time.sleep(event.get("for", 0))
    return "alive"
"""


def named(mark: str) -> list[int]:
    """Processes that call themselves this."""
    found = []
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and (path / "cmdline").read_bytes().startswith(mark.encode()):
                found.append(int(path.name))
        except OSError:
            continue
    return found


def until(condition: Callable[[], bool], limit: float = LIMIT) -> float:
    """Wait for it; the seconds that it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < limit, "it did not happen in time"
        time.sleep(0.005)
    return time.monotonic() - began


def log_of(caller: Any) -> str:
    state = caller.call(caller.make("import os\ndef handler(e, c):\n    return os.environ['LAMBDA_RUNTIME_DIR']\n"))[0]
    return (Path(state).parents[1] / "local.log").read_text()


@everywhere
def test_an_environment_sees_the_zips_worker_and_nothing_of_the_hosts(
    caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {"mu_twisted__slash____init__": "", "mu_twisted__slash__wire": "", "worker_lambda": ""}
    payload, _ = caller.call(caller.make(LOOK, files=files, Environment={"Variables": {"MINE": "yes"}}))
    root = payload["root"]
    assert payload["wire"].startswith(root)
    assert payload["worker"].startswith(root)
    assert (payload["path"][0], payload["cwd"], payload["modules"]) == (root, root, [])
    environ = payload["environ"]
    assert environ["MINE"] == "yes"
    assert environ["AWS_ENDPOINT_URL_S3"] == caller.stack.s3_endpoint
    assert environ["AWS_ACCESS_KEY_ID"] == caller.stack.access_key
    assert environ["AWS_LAMBDA_FUNCTION_VERSION"] == "$LATEST"
    own = {"LANG", "LC_CTYPE", "PATH", "TZ", "TMPDIR", "PYTHONPATH", "PWD"}
    strangers = {name for name in os.environ if name in environ} - own
    assert not {name for name in strangers if not name.startswith(("AWS_", "_", "LD_"))}
    assert "site-packages" not in " ".join(payload["path"])
    assert payload["fds"] < 8


@everywhere
def test_temporary_files_are_one_environments_own_and_survive_warm_reuse(caller: Any, tmp_path: Path) -> None:
    name = caller.make(TEMPORARY)
    mark = f"mark-{name}-{os.getpid()}"
    first, _ = caller.call(name, {"write": mark})
    assert mark not in first["before"]
    again, _ = caller.call(name)
    assert mark in again["before"]
    with ThreadPoolExecutor(2) as threads, socket.create_server(("127.0.0.1", 0)) as held:
        held.settimeout(LIMIT)
        calls = [threads.submit(caller.call, name, {"port": held.getsockname()[1]}) for _ in range(2)]
        for connection in [held.accept()[0] for _ in calls]:  # both run now
            connection.close()
        both = [call.result()[0] for call in calls]
    assert sorted(mark in found["before"] for found in both) == [False, True]
    assert not Path("/tmp", mark).exists()  # noqa: S108
    assert not Path("/var/tmp", mark).exists()  # noqa: S108


@everywhere
def test_nothing_is_left_after_the_time_limit(caller: Any) -> None:
    mark = f"mu-native-{caller.stack.access_key}"
    name = caller.make(NATIVE, Timeout=10)
    with ThreadPoolExecutor(1) as threads:
        found: list[int] = []
        end = time.monotonic() + LIMIT
        while len(found) != 3:  # so busy is the machine that they have not begun by then
            assert time.monotonic() < end, "it did not happen in time"
            under_way = threads.submit(caller.call, name, {"mark": mark, "wait": True}, LogType="Tail")
            while len(found) != 3 and not under_way.done():
                time.sleep(0.005)
                found = named(mark)
        until(lambda: not named(mark))
        gone = time.time()
        payload, answer = under_way.result()
    assert "timed out" in payload["errorMessage"]
    printed = base64.b64decode(answer["LogResult"]).decode()
    deadline = float(printed.partition("deadline ")[2].split()[0])
    assert deadline <= gone + 0.1, "two clocks measure it"


@everywhere
def test_what_runs_on_ends_with_its_environment(caller: Any) -> None:
    mark = f"mu-onward-{caller.stack.access_key}"
    name = caller.make(NATIVE)
    caller.call(name, {"mark": mark})
    assert len(named(mark)) == 3
    caller.client.delete_function(FunctionName=name)
    until(lambda: not named(mark))


@everywhere
def test_the_memory_limit_ends_one_invocation_only(caller: Any) -> None:
    name = caller.make(MEMORY, MemorySize=128)
    with ThreadPoolExecutor(1) as threads:
        beside = threads.submit(caller.call, name, {"for": 0.6})
        payload, answer = caller.call(name, {"take": 400})
        assert answer["FunctionError"] == "Unhandled"
        assert payload["errorType"] in ("Runtime.ExitError", "MemoryError")
        assert beside.result()[0] == "alive"
    assert caller.call(name)[0] == "alive"


@pytest.mark.parametrize("caller", ["zygote", PLAIN, "user"], indirect=True)
def test_an_environment_does_not_see_the_stacks_keys(caller: Any) -> None:
    source = "import os\ndef handler(e, c):\n    return [p for p in e if os.path.exists(p)]\n"
    root = caller.call(caller.make("import os\ndef handler(e, c):\n    return os.environ['LAMBDA_RUNTIME_DIR']\n"))[0]
    state = Path(root).parents[1]
    assert (state / "keys.json").exists()
    paths = [str(state / "keys.json"), str(state / "stack.json"), str(state / "run" / "tmp"), sys.prefix]
    assert caller.call(caller.make(source), paths)[0] == [sys.prefix]


WRITE = """
import os
def handler(event, context):
    found = {}
    for path in event:
        try:
            with open(path, "a") as file: file.write("x")
            found[path] = "written"
        except OSError as error:
            found[path] = error.strerror
    return found
"""
namespaces = pytest.mark.parametrize("caller", ["zygote", PLAIN, "user"], indirect=True)


@namespaces
def test_nothing_but_the_temporary_directories_may_be_written_to(caller: Any) -> None:
    name = caller.make(WRITE, MemorySize=256)
    mark = f"mu-test-{os.getpid()}-{name}"
    places = [
        "/",
        "/opt",
        "/etc",
        "/usr",
        "/var",
        "/var/lib",
        "/var/task",
        "/sys/fs/cgroup",
        "/home",
        "/dev",
        sys.prefix,
    ]
    try:
        refused, _ = caller.call(name, [f"{place}/{mark}" for place in places])
        assert {path: said for path, said in refused.items() if said not in ("Read-only file system",)} == {}
    finally:
        for place in places:
            with suppress(OSError):
                Path(place, mark).unlink()
    taken, _ = caller.call(name, [f"{place}/{mark}" for place in ("/tmp", "/var/tmp", "/dev/shm")])
    assert set(taken.values()) == {"written"}


REMOUNT = """
import ctypes, os
def handler(event, context):
    libc = ctypes.CDLL(None, use_errno=True)
    tried = [libc.mount(None, place.encode(), None, 32 | 4096, None) for place in ("/", "/usr", "/etc", "/var/task")]
    tried.append(libc.umount2(b"/opt", 2))
    return tried + [libc.unshare(0x20000), os.access("/etc/mu-test", os.W_OK)]
"""


@namespaces
def test_what_may_not_be_written_to_cannot_be_mounted_anew(caller: Any) -> None:
    assert caller.call(caller.make(REMOUNT))[0] == [-1, -1, -1, -1, -1, -1, False]


LAYOUT = """
import os, sys, subprocess
def handler(event, context):
    return {
        "root": os.environ["LAMBDA_TASK_ROOT"], "cwd": os.getcwd(), "first": sys.path[0], "file": __file__,
        "task": sorted(os.listdir("/var/task")), "opt": os.path.isdir("/opt"), "layers": os.listdir("/opt"),
        "ran": subprocess.run(["/var/task/run"], capture_output=True, text=True).stdout,
        "var": sorted(os.listdir("/var")),
    }
"""


@namespaces
def test_the_code_is_where_it_is_on_aws_and_the_hosts_var_is_beside_it(caller: Any) -> None:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        archive.writestr("m.py", LAYOUT)
        program = zipfile.ZipInfo("run")
        program.external_attr = 0o100755 << 16
        archive.writestr(program, "#!/bin/sh\necho $0\n")
    name = caller.make("")
    caller.client.update_function_code(FunctionName=name, ZipFile=held.getvalue())
    found, _ = caller.call(name)
    assert {found[key] for key in ("root", "cwd", "first")} == {"/var/task"}
    assert (found["file"], found["ran"]) == ("/var/task/m.py", "/var/task/run\n")
    assert [name for name in found["task"] if name != "__pycache__"] == ["m.py", "run"]
    outside = {str(path) for path in (Path(sys.prefix), Path(sys.base_prefix)) if path.is_relative_to("/opt")}
    assert found["opt"]
    assert bool(found["layers"]) == bool(outside)
    assert set(found["var"]) == {"task", *(path.name for path in Path("/var").iterdir())}


THREADS = """
import threading
def handler(event, context):
    threading.stack_size(65536)
    stop, threads = threading.Event(), []
    try:
        while len(threads) < event["most"]:
            threads.append(threading.Thread(target=stop.wait))
            threads[-1].start()
    except RuntimeError:
        threads.pop()
    stop.set()
    for thread in threads: thread.join()
    return len(threads)
"""


@namespaces
def test_an_environment_has_a_thousand_processes_at_most(caller: Any) -> None:
    if "processes are not limited" in log_of(caller):
        pytest.skip("this machine lets no process limit them")
    name = caller.make(THREADS, MemorySize=1024, Timeout=120)
    assert caller.call(name, {"most": 900})[0] == 900
    assert 1000 <= caller.call(name, {"most": 1200})[0] < 1024


@pytest.mark.parametrize(
    ("name", "said"),
    [
        pytest.param(
            *("weak", "processes are swept, files may be written wherever this user may; memory limits by rlimit"),
            marks=pytest.mark.long,
        ),
        ("user", "process and mount namespaces inside a user namespace; memory limits by "),
        pytest.param("plain", "environments: python -m awslambdaric each", marks=pytest.mark.long),
        ("zygote", "environments: forked from a zygote"),
    ],
)
def test_which_isolation_is_in_force_is_said_at_the_start(stacks: dict[str, Any], name: str, said: str) -> None:
    if name not in stacks:
        pytest.skip("this machine can have no stack of an ordinary user's")
    found = [line for line in (stacks[name].state_dir / "local.log").read_text().splitlines() if "isolation: " in line]
    assert len(found) == 1
    assert said in found[0]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an ordinary user")
@pytest.mark.parametrize("name", [WEAK, "user"])
def test_a_stack_of_an_ordinary_users_has_no_process_of_roots(stacks: dict[str, Any], name: str) -> None:
    if name not in stacks:
        pytest.skip("this machine can have no stack of an ordinary user's")
    state = stacks[name].state_dir
    owners = set()
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdecimal() and os.fsencode(state) in (path / "environ").read_bytes():
                owners.add((path / "status").read_text().partition("Uid:")[2].split()[1])
        except OSError:
            continue
    if not owners:
        pytest.skip("this root may not look at others' processes")
    assert owners == {"65534"}


SHARED = """
import os, sys
from pathlib import Path
from mu_twisted.local.environments import isolation
here = Path(sys.argv[1])
try:
    if os.geteuid():
        isolation.enter_user_namespace()
    isolation.prepare_root()
except OSError:
    sys.exit(77)
isolation.private_mounts(sys.argv[2], str(here), [str(here / "shown")], task=sys.argv[2])
print(sorted(path.name for path in here.iterdir()), (here / "shown" / "file").read_text(), os.listdir("/dev/shm"))
"""


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="there is no /dev/shm")  # noqa: S108
def test_a_state_directory_in_shared_memory_is_covered_but_for_what_is_needed(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:  # noqa: S108
        place = Path(name)
        (place / "shown").mkdir()
        (place / "shown" / "file").write_text("seen")
        (place / "keys.json").touch()
        ended = subprocess.run(
            [sys.executable, "-c", SHARED, name, str(tmp_path)], capture_output=True, text=True, check=False
        )
        if ended.returncode == 77:
            pytest.skip("no namespaces are allowed here")
        assert ended.stdout == f"['shown'] seen {[place.name]}\n", ended.stderr

"""Disks that are full, directories that are not ours, functions that have little memory."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from s3_server import Handler, Server, etag_of

ROOT = Path(__file__).parents[2]
SIZE = 6_000_000
UNPRIVILEGED = 65534

GET = """
import os, sys
from worker_lambda.s3 import S3, S3Error
directory, range_size = sys.argv[1:]
client = S3("us-east-1", range_size=int(range_size), back_off=0.001)
open(directory + "/out", "w").write("old")
try:
    client.get("b", b"k", directory + "/out", lambda: False)
except S3Error as error:
    print(error)
print(open(directory + "/out").read(), *os.listdir(directory))
"""


def run(server: Server, *command: str) -> list[str]:
    """The lines that a program says that uses this S3."""
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": server.url, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=180)
    assert not said.stderr
    return said.stdout.splitlines()


@pytest.fixture(scope="module")
def on_small_disk(tmp_path_factory):
    """Begins a command line that has a disk of 4 MB at ``$1`` to itself; its mount ends with it."""
    directory = tmp_path_factory.mktemp("disk")
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    mount = 'mount -t tmpfs -o size=4m none "$0" && exec "$@"'
    begin = [*unshare, "sh", "-c", mount, str(directory)]
    tried = subprocess.run([*begin, "true"], capture_output=True, text=True, check=False)
    if tried.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {tried.stderr.strip()}")
    return begin


def chunked(h: Handler) -> None:
    h.send_response(200)
    h.send_header("transfer-encoding", "chunked")
    h.end_headers()
    for _ in range(SIZE // 100_000):
        h.wfile.write(b"186a0\r\n" + bytes(100_000) + b"\r\n")
    h.wfile.write(b"0\r\n\r\n")


@pytest.mark.parametrize("how", ["plain", "chunked", "ranged", "ranged to its last byte"])
def test_a_full_disk_is_one_line_and_leaves_what_was_there(server, on_small_disk, how):
    server.objects[b"/b/k"] = os.urandom(SIZE if how != "ranged to its last byte" else 4 * 1024 * 1024)
    server.choose = lambda h: chunked if how == "chunked" else None
    path = Path(on_small_disk[-1])
    range_size = SIZE if how in ("plain", "chunked") else 500_000
    reason, left = run(server, *on_small_disk, sys.executable, "-c", GET, str(path), str(range_size))
    assert reason.startswith(f"cannot get b/k: cannot write {path}/out: No space left on device")
    assert left == "old out"
    assert len(server.requests) == 1, "it is said at once, and before more is asked for"
    assert not list(path.iterdir())


def test_a_disk_that_cannot_be_reserved_on_and_is_full_ends_all_ranges(server, tmp_path):
    # RLIMIT_FSIZE in place of a disk: only what is written beyond it fails, which the last ranges do first.
    server.objects[b"/b/k"] = os.urandom(SIZE)
    limit = (
        "import os, resource, signal\n"
        "def none(*_): raise OSError(95, 'Operation not supported')\n"
        "os.posix_fallocate = none\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4000000, 4000000))\n"
    )
    reason, left = run(server, sys.executable, "-c", limit + GET, str(tmp_path), "500000")
    assert reason.startswith("cannot get b/k: ")
    assert reason.endswith(f": cannot write {tmp_path / 'out'}: File too large")
    assert left == "old out"


@pytest.mark.parametrize("verb", ["get", "put"])
def test_a_file_without_permission_is_one_line(server, verb):
    program = (
        "import os, sys\n"
        "import worker_lambda.s3._transfer\n"
        "from worker_lambda.s3 import S3, S3Error\n"
        "verb, path = sys.argv[1:]\n"
        f"if os.geteuid() == 0:\n    os.setgroups([])\n    os.setuid({UNPRIVILEGED})\n"
        "try:\n    getattr(S3('us-east-1'), verb)('b', b'k', path, lambda: False)\n"
        "except S3Error as error:\n    print(error)\n"
    )
    with tempfile.TemporaryDirectory(prefix="mu-test-") as name:  # not below a directory that is its owner's alone
        path = Path(name) / "file"
        path.touch(mode=0)
        path.parent.chmod(0o555)
        said = run(server, sys.executable, "-c", program, verb, str(path))
        path.parent.chmod(0o755)
    doing = "write" if verb == "get" else "read"
    assert said == [f"cannot {verb} b/k: cannot {doing} {path}: Permission denied"]
    assert not server.requests


def test_a_small_function_has_room_for_eight_large_transfers_at_once(server, tmp_path):
    size = 40_000_000
    server.objects[b"/b/k"] = bytes(size)
    etag = {"etag": etag_of(bytes(size))}

    def choose(h: Handler):
        """As the object, without the sum that costs us time."""
        if h.range is None:
            return lambda h: h.answer(200, server.objects[b"/b/k"], etag)
        return None

    server.choose = choose
    program = (
        "import re, sys, threading\n"
        "from worker_lambda.s3 import S3\n"
        "def most():\n"
        "    return int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
        "client = S3('us-east-1', range_size=4_000_000)\n"
        "client.get('b', b'k', sys.argv[1] + '/out', lambda: False)\n"
        "one = most()\n"
        "threads = [threading.Thread(target=client.get, args=('b', b'k', f'{sys.argv[1]}/{number}', lambda: False))\n"
        "    for number in range(8)]\n"
        "[thread.start() for thread in threads]\n"
        "[thread.join() for thread in threads]\n"
        "print(one, most())\n"
    )
    one, many = map(int, run(server, sys.executable, "-c", program, str(tmp_path))[0].split())
    assert {path.stat().st_size for path in tmp_path.iterdir()} == {size}
    assert one < 40_000, "kB"
    assert many < 60_000, "kB"

"""The worker on every other Python that is here: vectors, handler and S3 as whole processes, any warning an error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from free_ports import refusing_port
from pythons import SUPPORTED, others, summary

from mu_twisted.tls import Authority

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parent.parent.parent
VECTORS = ROOT / "tests" / "vectors"
PLAYERS = 2
STEP = 10
"""Of so many scenarios one is played; all are, on our own Python."""

HANDLER = """
import json, os, sys
from worker_lambda.lambda_function import lambda_handler
done = [lambda_handler({"mode": 0, "quality": 5}), lambda_handler({"addr": "127.0.0.1", "port": int(sys.argv[1])})]
known = {*sys.stdlib_module_names, "mu_twisted", "worker_lambda", "__main__"}
print(json.dumps([done, sorted({name.partition(".")[0] for name in sys.modules} - known)]))
"""
TRANSFER = """
import os, sys
from worker_lambda.s3 import S3, S3Error
url, directory = sys.argv[1:]
s3 = S3("us-east-1", url, back_off=0.001, timeout=180.0, range_size=100_000)
never = lambda: False
path = os.path.join(directory, "in")
s3.put("bucket", b"a key/+", path, never)
s3.get("bucket", b"a key/+", os.path.join(directory, "out"), never)
try:
    s3.get("bucket", b"nothing", os.path.join(directory, "none"), never)
except S3Error as error:
    print(error)
s3.close()
"""


@pytest.fixture(
    scope="module", params=[each for each in SUPPORTED if each != sys.version_info[:2]], ids="{0[0]}.{0[1]}".format
)
def python(request: pytest.FixtureRequest) -> str:
    """Each other interpreter in turn."""
    if request.param not in others():
        pytest.skip("no Python {}.{} here".format(*request.param))
    return others()[request.param][0]


def run(python: str, *arguments: str, **variables: str) -> str:
    """What a program says on this Python."""
    environment = {**os.environ, **variables}
    made = subprocess.run(
        [python, "-W", "error", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def test_the_summary_says_on_which_pythons_the_worker_ran(remark: Callable[[str], None]) -> None:
    assert sys.version_info[:2] in SUPPORTED
    remark(summary())


def test_the_handler_needs_the_standard_library_and_the_wire_only(python: str, tmp_path: Path) -> None:
    task = tmp_path / "task"
    task.mkdir()
    (task / "mu_command").write_bytes(b"echo ##QUALITY##; exit 3")
    with refusing_port() as port:
        said = run(python, "-S", "-c", HANDLER, str(port), LAMBDA_TASK_ROOT=str(task), TMPDIR=str(tmp_path))
    done, strangers = json.loads(said.splitlines()[-1])
    assert done == [
        {"retval": 3, "output": "5\n", "command": "echo 5; exit 3"},
        {"error": f"could not reach 127.0.0.1:{port}: Connection refused"},
    ]
    assert strangers == []
    assert [path.name for path in tmp_path.iterdir()] == ["task"]


def test_objects_come_and_go_though_the_server_misbehaves(python: str, server: Any, tmp_path: Path) -> None:
    data = os.urandom(350_000)
    (tmp_path / "in").write_bytes(data)
    server.script = [lambda h: h.refuse(503, "SlowDown", "later"), None, lambda h: h.reset()]
    said = run(python, "-c", TRANSFER, server.url, str(tmp_path))
    assert (tmp_path / "out").read_bytes() == data
    assert said == "cannot get bucket/nothing: 404 NoSuchKey: The specified key does not exist.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_workers_answer_as_the_recorded_one(python: str, tmp_path: Path) -> None:
    scenarios = json.loads((VECTORS / "worker.json").read_text(encoding="utf-8"))["scenarios"]
    played = [each["id"] for each in scenarios if each.get("replay", True) and each["protocol"] != "info"][::STEP]
    authority = Authority.generate()
    ours = authority.issue(None, lifetime=timedelta(hours=1))
    for name, content in (("ca", authority.certificate), ("cert", ours.certificate), ("key", ours.key)):
        (tmp_path / name).write_bytes(content)
    tls = ["--tls", *(str(tmp_path / name) for name in ("ca", "cert", "key"))]
    players = []
    for share in range(PLAYERS):
        # Every other one plays over TLS.
        command = [
            *(sys.executable, str(VECTORS / "replay_worker.py"), str(VECTORS / "worker.json"), "-v"),
            *("--launch", f"{python} -W error -m worker_lambda {{event}} {{cmd}}", "--s3-endpoint"),
            *("--profile", "protocol", "--only", ",".join(played[share::PLAYERS]), *(tls if share % 2 else [])),
            *("--timeout", "120", "--exit-wait", "120"),
        ]
        players.append(
            subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(tmp_path)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    said = "".join(player.communicate(timeout=600)[0] for player in players)
    assert "BAD" not in said, said
    assert len(re.findall(r"^ok ", said, re.MULTILINE)) >= len(played) - 1, said

"""Disks that are full, directories that are not ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from s3_server import failure, never

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_without_permission_is_one_line(server, s3, tmp_path):
    tmp_path.chmod(0o500)
    assert "Permission denied" in failure(s3.get, "b", b"k", str(tmp_path / "out"), never)


def test_a_full_disk_is_one_line_and_leaves_nothing(server, tmp_path):
    server.objects[b"/b/k"] = bytes(2_000_000)
    # RLIMIT_FSIZE stands for the disk: the system refuses the write in the same way, with another reason.
    program = (
        "import resource, signal, sys\n"
        "from worker_lambda._s3 import S3, S3Error\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000000, 1000000))\n"
        "try:\n    S3('us-east-1').get('b', b'k', sys.argv[1], lambda: False)\n"
        "except S3Error as error:\n    print(error)\n"
    )
    environment = {**os.environ, "AWS_ENDPOINT_URL_S3": server.url}
    said = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "out")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert said.stdout == f"cannot get b/k: cannot write {tmp_path / 'out'}: File too large\n", said.stderr
    assert not list(tmp_path.iterdir())

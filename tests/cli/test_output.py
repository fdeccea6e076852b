"""A command whose output nothing takes: one line or none, its status, and no traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MU = [sys.executable, "-W", "error", "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]
FULL = "error: cannot write to standard output: No space left on device\n"
CLOSED = "error: cannot write to standard output: Bad file descriptor\n"


def run(tmp_path: Path, redirection: str, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", "-c", f'exec 3> >(:); wait $!; "$@" {redirection}', "bash", *MU, *words],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "redirection", "status", "err"),
    [
        (["genkeys", "keys"], ">/dev/full", 1, FULL),
        (["genkeys", "keys"], ">&-", 1, CLOSED),
        (["genkeys", "keys"], ">&3", 1, ""),  # a pipe whose reader has gone
        (["genkeys", "keys"], "2>/dev/full", 0, ""),
        (["--help"], ">/dev/full", 1, FULL),
        (["jobs", "--help"], ">/dev/full", 1, FULL),
        (["--version"], ">/dev/full", 1, FULL),
        (["jobs", "--state-dir", "."], "2>/dev/full", 1, ""),
        (["jobs", "--state-dir", "."], "2>&- >&-", 1, ""),
        (["jobs", "--nosuch"], "2>/dev/full", 2, ""),
        (["genkeys"], "2>&- >&-", 2, ""),
    ],
)
def test_nothing_but_its_status_and_a_line_comes_of_output_that_is_not_taken(
    tmp_path: Path, words: list[str], redirection: str, status: int, err: str
) -> None:
    done = run(tmp_path, redirection, *words)
    assert (done.returncode, done.stderr) == (status, err)


def test_an_endpoint_that_is_none_is_usage(tmp_path: Path) -> None:
    for option in ("--endpoint-url", "--s3-endpoint-url"):
        done = run(tmp_path, "", "lambdaize", option, "ftp://x", "/bin/true")
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: argument {option}: expected an endpoint like https://")

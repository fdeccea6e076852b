"""``mu doctor --real``: the script it prints is sound, tells its bound, and works on the embedded stack and moto."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_command import CommandLine, serve
from free_ports import free_ports
from moto_account import run_mu

from mu_twisted.aws import AWSError, price_in
from mu_twisted.cli._real_check import cost_bounds, script
from mu_twisted.local import RunningStack, start

REGIONS = ("us-east-1", "eu-central-1", "ap-southeast-2", "us-gov-west-1")


@pytest.mark.parametrize("region", REGIONS)
def test_the_script_is_bash(region: str) -> None:
    subprocess.run(["bash", "-n"], input=script(region), text=True, check=True)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (Debian: shellcheck)")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", "-"], input=script("us-east-1"), text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("region", REGIONS)
def test_every_step_has_a_bound_and_all_are_below_a_dollar(region: str) -> None:
    text = script(region)
    price = price_in(region, "x86_64")
    assert price is not None
    bounds = cost_bounds(price)
    assert sum(bounds.values()) < 1
    steps = re.findall(r"^ *step .*?(?:\"\$(\w+)\"| 0)$", text, re.MULTILINE)
    assert sorted(filter(None, steps)) == sorted(bounds)
    for name, bound in {**bounds, "TOTAL_COST": sum(bounds.values())}.items():
        [told] = re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)
        assert float(told) == pytest.approx(bound, abs=1e-6)
    assert price.date in text


def test_a_dearer_price_is_a_higher_bound() -> None:
    cheap, dear = price_in("us-east-1", "x86_64"), price_in("af-south-1", "x86_64")
    assert cheap is not None
    assert dear is not None
    assert dear.gb_second > cheap.gb_second
    assert cost_bounds(dear)["JOB_COST"] > cost_bounds(cheap)["JOB_COST"]


@pytest.mark.parametrize("region", ["xx", "", "cn-north-1"])
def test_a_region_without_a_price_is_one_line(region: str) -> None:
    with pytest.raises(AWSError):
        script(region)


def test_the_command_prints_it_and_takes_no_pipeline(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}
    printed = run_mu(["doctor", "--real"], {**home, "REGION": "eu-central-1"}, tmp_path)
    assert (printed.returncode, printed.stdout) == (0, script("eu-central-1"))
    wrong = run_mu(["doctor", "--real", "exec", "--", "true"], home, tmp_path)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    running = start(tmp_path / "local", options=["--s3", "moto"])
    yield running
    running.stop()


@pytest.mark.long
@pytest.mark.process
def test_it_passes_and_leaves_nothing_also_where_it_fails(
    stack: RunningStack, moto_server: str, tmp_path: Path
) -> None:
    known = stack.stack
    endpoints = {"": moto_server, "s3": known.s3_endpoint, "lambda": known.lambda_endpoint}
    line = CommandLine(endpoints, aws_access_key_id=known.access_key, aws_secret_access_key=known.secret_key)
    tools, scratch = tmp_path / "bin", tmp_path / "scratch"
    tools.mkdir()
    scratch.mkdir()
    environment = {
        **{name: value for name, value in known.environment().items() if "REGION" not in name},
        "AWS_ENDPOINT_URL": moto_server,
        "AWS_EC2_METADATA_DISABLED": "true",
        "HOME": str(tmp_path),
        "TMPDIR": str(scratch),
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
    }

    def run(port: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["bash", "-s"],
            input=script("us-east-1"),
            env={**environment, "MU_CHECK_PORT": str(port)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,  # some twenty commands, each a Python of its own
            check=False,
        )

    def left() -> list[str]:
        questions = [
            ("lambda", "list-functions", "--query", "Functions"),
            ("s3api", "list-buckets", "--query", "Buckets"),
            ("iam", "list-roles", "--query", "Roles"),
        ]
        return [line.run("/", "us-east-1", *words) for words in questions]

    before = left()
    with serve(line, tools / "aws"):
        done = run(free_ports())
        assert done.returncode == 0, done.stdout + done.stderr
        assert "4 of 4 tasks done" in done.stdout + done.stderr
        assert re.search(r"cost .* GB-seconds, 4 requests: \d\.\d{6} USD", done.stdout)
        assert done.stdout.splitlines()[-1].startswith("all is well, and nothing is left; at most 0.")
        assert left() == before
        assert list(scratch.glob("tmp.*")) == []
        with socket.create_server(("0.0.0.0", 0)) as taken:
            failed = run(taken.getsockname()[1])
        assert failed.returncode == 1, failed.stdout + failed.stderr
        assert "-- clean up" in failed.stdout
        assert "all is well" not in failed.stdout
        assert "not removed" not in failed.stderr
        assert left() == before
        assert list(scratch.glob("tmp.*")) == []

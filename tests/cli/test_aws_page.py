"""docs/aws.md: its commands are run line by line, with mu-local and moto in place of AWS."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from aws_command import CommandLine, serve
from free_ports import free_ports

from mu_twisted.cli.demo.fake_encoders import SOURCE, TOOLS
from mu_twisted.local import RunningStack, start

HERE = Path(__file__).resolve().parent
PAGE = (HERE.parents[1] / "docs" / "aws.md").read_text(encoding="utf-8")
LIMIT = 300
CHANGING = [
    (r"-[0-9a-f]{8}\b", "-NAME"),
    (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+\+0000)?", "TIME"),
    (r"(in|after) \d+\.\d s", "SECONDS"),
    (r'"CodeSize": \d+', '"CodeSize": BYTES'),
    (r'"CodeSha256": "[^"]{44}"', '"CodeSha256": DIGEST'),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:PORT"),
    (r"first start, in /\S+", "first start, in DIRECTORY"),
    (r"cost .* GB-seconds, 4 requests: \d\.\d{6} USD", "cost USD"),
]


def settled(text: str) -> str:
    """Without what differs from run to run."""
    for pattern, word in CHANGING:
        text = re.sub(pattern, word, text)
    return text


FENCED = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands() -> str:
    """What is indented and stands in no fence."""
    blocks = re.findall(r"(?:^    .*\n)+", FENCED.sub("", PAGE), re.MULTILINE)
    return "\n".join(line[4:] for block in blocks for line in block.splitlines())


def outputs() -> list[str]:
    """All lines that the page says are printed: those in fences."""
    return [line for block in FENCED.findall(PAGE) for line in block.splitlines()]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[RunningStack]:
    running = start(tmp_path / "local", options=["--s3", "moto"])
    yield running
    running.stop()


def line_of(stack: RunningStack, moto_server: str) -> CommandLine:
    known = stack.stack
    endpoints = {"": moto_server, "s3": known.s3_endpoint, "lambda": known.lambda_endpoint}
    return CommandLine(endpoints, aws_access_key_id=known.access_key, aws_secret_access_key=known.secret_key)


@pytest.fixture
def environment(tmp_path: Path, stack: RunningStack, moto_server: str) -> Iterator[dict[str, str]]:
    """A user's who has credentials, the command line of AWS, and the static programs that ExCamera needs."""
    tools, programs = tmp_path / "bin", tmp_path / "home" / "xc"
    tools.mkdir()
    programs.mkdir(parents=True)
    (tools / "curl").write_text("#!/bin/sh\necho 127.0.0.1\n")
    (tools / "curl").chmod(0o755)
    flags = ["-std=gnu11", "-O1", "-static", "-DSTATE_BYTES=1000"]
    subprocess.run(["cc", *flags, "-o", programs / TOOLS[0], SOURCE], check=True)
    for name in TOOLS[1:]:
        (programs / name).hardlink_to(programs / TOOLS[0])
    kept = {name: value for name, value in stack.stack.environment().items() if "REGION" not in name}
    with serve(line_of(stack, moto_server), tools / "aws"):
        yield {
            **kept,
            "AWS_ENDPOINT_URL": moto_server,
            "AWS_EC2_METADATA_DISABLED": "true",
            "HOME": str(tmp_path / "home"),
            "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }


@pytest.mark.process
@pytest.mark.long
def test_from_an_empty_account_to_excamera_and_back(
    environment: dict[str, str], stack: RunningStack, moto_server: str, tmp_path: Path
) -> None:
    home, port = tmp_path / "home", free_ports()
    script = commands()
    # Ports that no other test has: the page's may be taken on a machine that runs tests.
    for plain, chosen in {
        "mu run png2y4m": "mu run -t 0 png2y4m",
        "mu coordinator --state-dir": "mu coordinator -t 0 --state-dir",
        "mu rendezvous --state-dir": f"mu rendezvous -t {port} --state-dir",
        "mu doctor": "mu doctor -t 0",
        "xcenc -n 4": f"xcenc -T {port} -n 4",
    }.items():
        assert script.count(plain) == 1, plain
        script = script.replace(plain, chosen)
    aws = line_of(stack, moto_server)
    for name in ("png2y4m", "xcenc"):  # as Lambda does with a function's first line
        aws.client("logs", "us-east-1").create_log_group(logGroupName=f"/aws/lambda/{name}")
    try:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            env=environment,
            cwd=home,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    finally:
        for pidfile in home.glob("*.pid"):
            with suppress(ProcessLookupError, FileNotFoundError, ValueError):
                os.kill(int(pidfile.read_text()), signal.SIGTERM)
    logs = "".join(path.read_text() for path in home.glob("*.log"))
    assert done.returncode == 0, done.stdout + logs
    said = settled(done.stdout)
    assert [line for line in outputs() if settled(line) not in said] == []
    assert "4 of 4 tasks done" in done.stdout.partition("xcenc-")[2]
    assert done.stdout.splitlines()[-1].split()[:2] == ["FUNCTION", "REGION"]
    assert left(aws) == {}
    assert not (home / "mu").exists()
    assert not (home / ".local" / "state" / "mu").exists()


def left(aws: CommandLine) -> dict[str, object]:
    """What is in the account."""
    found = {
        (service, operation): getattr(aws.client(service, "us-east-1"), operation)(**parameters)[key]
        for service, operation, key, parameters in [
            ("s3", "list_buckets", "Buckets", {}),
            ("lambda", "list_functions", "Functions", {}),
            ("logs", "describe_log_groups", "logGroups", {}),
            ("iam", "list_roles", "Roles", {}),
            ("iam", "list_instance_profiles", "InstanceProfiles", {}),
            ("iam", "list_policies", "Policies", {"Scope": "Local"}),
            ("ec2", "describe_volumes", "Volumes", {}),
        ]
    }
    return {" ".join(name): listed for name, listed in found.items() if listed}

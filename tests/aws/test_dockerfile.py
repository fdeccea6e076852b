"""etc/Dockerfile makes an image whose entry is the worker: its files, under AWS's runtime interface emulator."""

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import pytest
from free_ports import free_ports
from moto_account import run_mu
from warm_processes import LIMIT

from mu_twisted.aws._function_settings import HANDLER

DOCKERFILE = Path(__file__, "../../../etc/Dockerfile").resolve()
MACHINE = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
EMULATORS = ("aws-lambda-rie", f"aws-lambda-rie-{MACHINE}")


def test_the_images_command_is_the_workers_handler() -> None:
    lines = DOCKERFILE.read_text().splitlines()
    command = next(line.removeprefix("CMD ") for line in lines if line.startswith("CMD "))
    assert json.loads(command) == [HANDLER]


@pytest.fixture
def emulator(tmp_path: Path) -> Path:
    """AWS's runtime interface emulator: that on PATH, else that in the wheel of aws-sam-cli, where it can be had."""
    installed = next((found for name in EMULATORS if (found := shutil.which(name))), None)
    if installed is not None:
        return Path(installed)
    wheels = tmp_path / "wheels"
    words = ["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest", wheels, "aws-sam-cli"]
    pip = subprocess.run(
        [sys.executable, "-m", "pip", *words], capture_output=True, text=True, timeout=300, check=False
    )
    if pip.returncode != 0:
        pytest.skip(f"aws-lambda-rie is not on PATH, and the wheel of aws-sam-cli cannot be had: {pip.stderr[-200:]}")
    [wheel] = wheels.iterdir()
    with zipfile.ZipFile(wheel) as package:
        [name] = [name for name in package.namelist() if name.endswith(f"/{EMULATORS[1]}")]
        program = Path(package.extract(name, tmp_path))
    program.chmod(0o755)
    return program


@pytest.mark.long
@pytest.mark.process
def test_the_workers_files_run_under_the_emulator(emulator: Path, tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text('#!/bin/sh\necho "made by $1"\n')
    packed = run_mu(
        ["lambdaize", str(tool), "", "##QUALITY##", "--skip-upload", "--name", "worker"], dict(os.environ), tmp_path
    )
    assert packed.returncode == 0, packed.stderr
    root = tmp_path / "worker"
    with zipfile.ZipFile(tmp_path / "worker.zip") as package:
        package.extractall(root)
    (root / "tool").chmod(0o755)
    port = free_ports(2)
    api = port + 1
    running = subprocess.Popen(
        [
            *(emulator, "--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
            *("--runtime-api-address", f"127.0.0.1:{api}", sys.executable, "-m", "awslambdaric", HANDLER),
        ],
        cwd=root,
        env={**os.environ, "LAMBDA_TASK_ROOT": str(root), "TMPDIR": str(tmp_path)},
        start_new_session=True,
    )
    try:
        answer = _invoked(port, {"mode": 0, "quality": 7})
    finally:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert (answer["retval"], answer["output"]) == (0, "made by 7\n"), answer


def _invoked(port: int, event: object) -> dict[str, object]:
    url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
    until = time.monotonic() + LIMIT
    while True:
        try:
            with urllib.request.urlopen(url, json.dumps(event).encode(), timeout=LIMIT) as answer:
                found: dict[str, object] = json.load(answer)
                return found
        except urllib.error.URLError:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)

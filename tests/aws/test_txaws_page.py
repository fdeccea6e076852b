"""docs/txaws.md: its program is run against the embedded Lambda, which checks signatures."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mu_twisted.aws import AwsControl, Clients, aws_session, build_package
from mu_twisted.base.access_keys import AccessKeys
from mu_twisted.local import start

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "txaws.md").read_text(encoding="utf-8")


def program() -> str:
    [text] = re.findall(r"^    import os\n(?:(?:    .*)?\n)+", PAGE, re.MULTILINE)
    return "".join(line[4:] + "\n" for line in text.splitlines())


@pytest.mark.long
@pytest.mark.process
def test_the_pages_program_signs_as_lambda_wants_it(tmp_path: Path) -> None:
    (tmp_path / "functions.py").write_text(program())
    running = start(tmp_path / "local", options=["--s3", "moto"])
    try:
        known = running.stack
        session = aws_session(AccessKeys(known.access_key, known.secret_key))
        AwsControl(Clients(session, "us-east-1", lambda_endpoint=known.lambda_endpoint)).create_function(
            "squeeze", build_package([])
        )
        said = []
        for secret in (known.secret_key, "another"):
            environment = {**known.environment(), "AWS_SECRET_ACCESS_KEY": secret, "HOME": str(tmp_path)}
            done = subprocess.run(
                [sys.executable, "-W", "error", "functions.py"],
                env=environment,
                cwd=tmp_path,
                capture_output=True,
                text=True,
                timeout=180,
                check=False,
            )
            said.append((done.returncode, done.stdout))
    finally:
        running.stop()
    assert said == [(0, "squeeze\n"), (1, "")], done.stderr

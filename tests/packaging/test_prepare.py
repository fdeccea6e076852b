"""What the set-up says of a machine that lacks something, before anything is built."""

import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = Path(__file__).parents[2] / "etc" / "prepare.sh"


def prepare(bare: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run it where there is nothing but a shell, as a user who may not install anything."""
    for name, script in (("id", "echo 1000"), ("python3", f'exec {sys.executable} "$@"')):
        (bare / name).write_text(f"#!/bin/sh\n{script}\n")
        (bare / name).chmod(0o755)
    return subprocess.run(
        ["/bin/sh", str(PREPARE), *words],
        env={"PATH": str(bare)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def test_without_root_the_missing_packages_are_named(tmp_path: Path) -> None:
    done = prepare(tmp_path, "python3", "vpxenc=vpx-tools")
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith("error: these packages are needed to build and are not installed: ")
    packages = first.rpartition(": ")[2].split()
    assert {"gcc", "libc6-dev", "libcurl4-openssl-dev", "libssl-dev", "vpx-tools"} <= set(packages)
    assert second.split() == ["as", "root:", "apt-get", "install", *packages]


@pytest.mark.parametrize(
    ("said", "version"), [("there is no", None), ("is Python 3.9.2, 3.11 or later is needed", "3.9.2")]
)
def test_another_python_that_will_not_do_is_named(tmp_path: Path, said: str, version: str | None) -> None:
    python = tmp_path / "other"
    if version is not None:
        python.write_text(f'#!/bin/sh\n[ "$1" != --version ] || {{ echo Python {version}; exit 0; }}\nexit 1\n')
        python.chmod(0o755)
    done = prepare(tmp_path, str(python))
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "PYTHON=" in done.stderr
    assert len(done.stderr.splitlines()) == 1

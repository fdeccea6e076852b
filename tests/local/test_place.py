"""A stack whose Python and packages live under the temporary directory, which environments have for themselves."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client*.so")
BIND = """
import os, sys
from mu_twisted.local import _isolation as isolation
isolation.unshare(isolation.CLONE_NEWNS)
isolation._mount(None, "/", None, isolation._MS_REC | isolation._MS_PRIVATE)
isolation._mount(sys.argv[1], sys.argv[2], None, isolation._MS_BIND)
os.execv(sys.argv[3], sys.argv[3:])
"""
SERVE = """
import contextlib, json, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import boto3
from mu_twisted.local import start
import importlib.util
conftest = importlib.util.spec_from_file_location("conftest", sys.argv[2] + "/tests/local/conftest.py")
module = importlib.util.module_from_spec(conftest)
conftest.loader.exec_module(module)
running = start(Path(sys.argv[1]), options=["--s3=moto"])
caller = module.Caller(running.stack)
source = "import sys, os, awslambdaric\\ndef handler(e, c):\\n    return [sys.base_prefix, "
source += "os.path.realpath(awslambdaric.__file__), os.listdir('/tmp')]\\n"
print(json.dumps(caller.call(caller.make(source))[0]))
caller.client.close()
running.stop()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="mu-place-", dir="/tmp"))
    yield place
    shutil.rmtree(place)


def test_python_and_its_packages_may_live_under_the_temporary_directory(place: Path) -> None:
    packages = Path(sysconfig.get_path("purelib"))
    venv, python = place / "venv", sys.executable
    held: list[str] = []
    if os.geteuid() == 0:
        # The Python below the environment too, without a copy of it.
        (place / "python").mkdir()
        base = Path(sys.base_prefix)
        python = str(place / "python" / Path(os.path.realpath(sys.executable)).relative_to(base.resolve()))
        held = [sys.executable, "-c", BIND, str(base), str(place / "python")]
    make = [*held, python, "-m", "venv", "--without-pip", str(venv)]
    made = subprocess.run(make, capture_output=True, text=True, check=False, cwd=ROOT)
    if held and "Operation not permitted" in made.stderr:
        held, made = [], subprocess.run([sys.executable, *make[-4:]], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    own = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for pattern in COPIED:
        for path in packages.glob(pattern):
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, own / path.name)
    (own / "rest.pth").write_text(f"{packages}\n")
    serve = [*held, str(venv / "bin" / "python"), "-c", SERVE, str(place / "state"), str(ROOT)]
    served = subprocess.run(serve, capture_output=True, text=True, check=False, cwd=ROOT, timeout=30)
    assert served.returncode == 0, served.stderr
    base_prefix, client, seen = json.loads(served.stdout)
    assert base_prefix == (str(place / "python") if held else sys.base_prefix)
    assert client == str(own / "awslambdaric" / "__init__.py")
    assert place.name in seen
    assert set(seen) <= {place.name}

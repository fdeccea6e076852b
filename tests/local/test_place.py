"""A stack that lives below the temporary directory whole: its Python, its packages, the project and its state.

Environments, and the S3 too, have that directory for themselves.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from warm_processes import LIMIT

from mu_twisted.local._s3_programs import find_weed

pytestmark = [pytest.mark.process, pytest.mark.long]

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("awslambdaric", "simplejson", "snapshot_restore_py", "runtime_client*.so")
BIND = """
import json, os, sys
from mu_twisted.local.environments import isolation
isolation.unshare(isolation.CLONE_NEWNS)
isolation.mount(None, "/", None, isolation.MS_REC | isolation.MS_PRIVATE)
for source, target in json.loads(sys.argv[1]):
    isolation.mount(source, target, None, isolation.MS_BIND)
os.execv(sys.argv[2], sys.argv[2:])
"""
SERVE = """
import json, sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from mu_twisted.local import start
sys.path.append(str(Path(sys.argv[3]).parent))
conftest = spec_from_file_location("conftest", sys.argv[3])
module = module_from_spec(conftest)
conftest.loader.exec_module(module)
running = start(Path(sys.argv[1]), options=sys.argv[4:])
try:
    caller = module.Caller(running.stack)
    s3 = module.connect(running.stack, "s3")
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="p.zip", Body=module.make_zip(m='''
import awslambdaric, os, sys
def handler(e, c):
    return [sys.base_prefix, os.path.realpath(awslambdaric.__file__), os.listdir("/tmp")]
'''))
    name = caller.make("")
    caller.client.update_function_code(FunctionName=name, S3Bucket="bucket", S3Key="p.zip")
    print(json.dumps(caller.call(name)[0]))
    caller.client.close()
    s3.close()
finally:
    running.stop()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="mu-place-", dir="/tmp"))
    yield place
    shutil.rmtree(place)


def moved(place: Path) -> tuple[list[str], str, str]:
    """Have Python and its packages below the temporary directory without a copy of them, where we may.

    :returns: what to put before a command, Python, and the directory of its packages.
    """
    base, packages = Path(sys.base_prefix).resolve(), sysconfig.get_path("purelib")
    if os.geteuid() == 0:
        mounts = [(str(base), str(place / "python")), (packages, str(place / "packages"))]
        for _, target in mounts:
            Path(target).mkdir()
        held = [sys.executable, "-c", BIND, json.dumps(mounts)]
        tried = subprocess.run([*held, "/bin/true"], capture_output=True, text=True, check=False, cwd=ROOT)
        if tried.returncode == 0:
            inside = Path(os.path.realpath(sys.executable)).relative_to(base)
            return held, str(place / "python" / inside), str(place / "packages")
        assert "Operation not permitted" in tried.stderr, tried.stderr
    return [], sys.executable, packages


def test_all_that_a_stack_is_made_of_may_live_under_the_temporary_directory(place: Path) -> None:
    held, python, packages = moved(place)
    venv, project = place / "venv", place / "project"
    make = [*held, python, "-m", "venv", "--without-pip", str(venv)]
    subprocess.run(make, capture_output=True, text=True, check=True, cwd=ROOT)
    own = venv / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    for pattern in COPIED:
        for path in Path(sysconfig.get_path("purelib")).glob(pattern):
            copy = shutil.copytree if path.is_dir() else shutil.copy2
            copy(path, own / path.name)
    (own / "rest.pth").write_text(f"{packages}\n")
    for name in ("mu_twisted", "twisted"):
        shutil.copytree(ROOT / name, project / name)
    conftest = shutil.copy2(ROOT / "tests" / "local" / "conftest.py", project)
    shutil.copy2(ROOT / "tests" / "support" / "botocore_models.py", project)  # which it imports
    programs, weed = ["moto"], find_weed()
    if weed is not None:
        (venv / "bin" / "weed").symlink_to(weed)
        programs.append("seaweedfs")

    def serve(s3: str) -> subprocess.CompletedProcess[str]:
        command = [*held, str(venv / "bin" / "python"), "-c", SERVE, str(place / s3), str(project), conftest]
        return subprocess.run(
            [*command, f"--s3={s3}"], capture_output=True, text=True, check=False, cwd=ROOT, timeout=LIMIT
        )

    with ThreadPoolExecutor() as threads:
        served = list(threads.map(serve, programs))
    for each in served:
        assert each.returncode == 0, each.stderr
        base_prefix, client, seen = json.loads(each.stdout)
        assert base_prefix == (str(place / "python") if held else sys.base_prefix)
        assert client == str(own / "awslambdaric" / "__init__.py")
        assert place.name in seen
        if not ROOT.is_relative_to("/tmp"):
            assert seen == [place.name]

"""A wheel of the project in an empty virtual environment: daemons, command, extension, the worker's files."""

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

pytestmark = [pytest.mark.process, pytest.mark.long]


def run(words: Sequence[str | Path], cwd: Path) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run([str(word) for word in words], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's files, without what was made of them."""
    source = tmp_path_factory.mktemp("clone") / "source"
    made = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "*.so", "dropin.cache", "build", "dist")
    shutil.copytree(PROJECT, source, ignore=made)
    return source


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    """The environment's directory. What the project depends on is lent by the one that runs the tests."""
    work = tmp_path_factory.mktemp("wheel")
    pip = [*PIP, "--quiet"]
    run([*pip, "wheel", "--no-deps", "--wheel-dir", work, source], work)
    [wheel] = work.glob("*.whl")
    empty = work / "venv"
    venv.create(empty, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(empty), "platbase": str(empty)}))
    run([*pip, "--python", empty / "bin" / "python", "install", "--no-deps", wheel], work)
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return empty


def test_twistd_shows_the_daemons_without_a_warning(installed: Path, tmp_path: Path) -> None:
    twistd = [installed / "bin" / "python", "-W", "error", "-c", "from twisted.scripts.twistd import run; run()"]
    done = run([*twistd, "--help"], tmp_path)
    assert "mu-coordinator" in done.stdout
    assert "mu-local" in done.stdout
    assert "mu-rendezvous" in done.stdout
    assert done.stderr == ""


def test_the_mu_command_and_the_extension_are_there(installed: Path, tmp_path: Path) -> None:
    assert "genkeys" in run([installed / "bin" / "mu", "--help"], tmp_path).stdout
    where = run(
        [installed / "bin" / "python", "-c", "import mu_twisted.launch._launch as l; print(l.__file__)"], tmp_path
    )
    assert where.stdout.startswith(str(installed))


def test_it_ships_the_workers_files(installed: Path, tmp_path: Path) -> None:
    code = "from mu_twisted.aws import build_package; open('p.zip', 'wb').write(build_package([], b''))"
    run([installed / "bin" / "python", "-c", code], tmp_path)
    listed = run([installed / "bin" / "python", "-m", "zipfile", "-l", "p.zip"], tmp_path).stdout
    for name in ("worker_lambda/lambda_function.py", "mu_twisted/wire/_frames.py", "mu_command"):
        assert name in listed


def test_the_licence_travels_with_it(installed: Path) -> None:
    [licence] = installed.rglob("mu_twisted-*.dist-info/licenses/LICENSE")
    assert licence.read_text() == (PROJECT / "LICENSE").read_text()


def test_the_pipelines_are_found_by_their_entry_points(installed: Path, tmp_path: Path) -> None:
    code = "from mu_twisted.pipelines import load_pipeline; print(load_pipeline('exec').summary)"
    assert run([installed / "bin" / "python", "-c", code], tmp_path).stdout.strip()


def test_pip_takes_what_the_readme_says(source: Path) -> None:
    [told] = re.findall(r"`pip install '([^']+)'`", (source / "README.md").read_text(encoding="utf-8"))
    said = run([*PIP, "install", "--dry-run", "--ignore-installed", "--no-deps", told], source).stdout
    assert "Would install mu-twisted-" in said
    assert "does not provide the extra" not in said


def test_the_units_and_the_template_are_where_their_page_says(installed: Path) -> None:
    shipped = {path.name for path in (installed / "share" / "mu").iterdir()}
    known = {path.name for path in (PROJECT / "etc").iterdir()} - {"prepare.sh", "wheels.sh"}
    assert shipped == known

"""What setup.cfg ships beside modules is all that there is; test_wheel looks at the wheel itself."""

import configparser
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MADE = (".py", ".pyc", ".so")
SOURCES = {"mu_twisted/pipelines/_watchdog.c"}
"""Of extensions."""
TOOLS = {"prepare.sh", "wheels.sh"}
"""Of a clone."""


@pytest.fixture(scope="module")
def setup() -> configparser.ConfigParser:
    read = configparser.ConfigParser()
    read.read(PROJECT / "setup.cfg", "utf-8")
    return read


def test_each_file_beside_modules_is_shipped_with_its_package(setup: configparser.ConfigParser) -> None:
    for path in (PROJECT / "mu_twisted").rglob("*"):
        name = path.relative_to(PROJECT)
        # In __pycache__ Python also makes files of passing names, which it renames once they are whole.
        if "__pycache__" not in name.parts and path.is_file() and path.suffix not in MADE and str(name) not in SOURCES:
            patterns = setup.get("options.package_data", ".".join(name.parts[:-1]), fallback="").split(",")
            assert any(fnmatch(path.name, pattern.strip()) for pattern in patterns), name


def test_each_file_of_etc_is_shipped_but_tools_of_a_clone(setup: configparser.ConfigParser) -> None:
    patterns = setup.get("options.data_files", "share/mu").split()
    shipped = {path.name for pattern in patterns for path in PROJECT.glob(pattern)}
    assert all(list(PROJECT.glob(pattern)) for pattern in patterns)
    assert shipped == {path.name for path in (PROJECT / "etc").iterdir()} - TOOLS


def test_a_commit_is_looked_at_with_the_tools_of_make_check() -> None:
    recipe = re.search(r"^check:.*\n((?:\t.*\n)+)", (PROJECT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert recipe is not None
    commands = [line.strip().removesuffix(" .") for line in recipe[1].replace("$(BIN)", ".venv/bin").splitlines()]
    hooks = (PROJECT / ".pre-commit-config.yaml").read_text("utf-8")
    entries = [line.removesuffix(" --force-exclude") for line in re.findall(r"entry: (.*)", hooks)]
    assert entries == commands

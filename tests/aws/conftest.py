"""Programs of all kinds, and an AWS in this process that others have written."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import botocore_models
import pytest
from elf_files import make_elf
from moto_here import moto_account

botocore_models.share()


@pytest.fixture
def elf(tmp_path: Path) -> Callable[..., Path]:
    """Writes an ELF file."""

    def write(name: str = "program", **how: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_elf(**how))  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Compiles a program that says what it is called by and its arguments."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    directory = tmp_path_factory.mktemp("compiled")
    says = (
        "#include <stdio.h>\nint main(int n, char **words) { for (int i = 0; i < n; i++) puts(words[i]); return 7; }\n"
    )

    def compile_it(name: str, *flags: str, source: str = says) -> Path:
        path = directory / name
        if not path.exists():
            (directory / "program.c").write_text(source)
            subprocess.run([compiler, "-o", path, directory / "program.c", *flags], check=True)
        return path

    return compile_it


@pytest.fixture
def moto(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """moto in place of AWS, in this process."""
    with moto_account(monkeypatch):
        yield


@pytest.fixture(scope="session")
def pythons() -> list[str]:
    """The Pythons on this machine that Lambda has a runtime for, besides the tests' own."""
    found = {f"{sys.version_info.major}.{sys.version_info.minor}": sys.executable}
    for minor in range(11, 15):
        for place in (shutil.which(f"python3.{minor}"), *Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/python3")):
            if place is not None and f"3.{minor}" not in found and _runs(str(place), minor):
                found[f"3.{minor}"] = str(place)
    return list(found.values())


def _runs(python: str, minor: int) -> bool:
    command = [python, "-c", "import ssl, sys; print(sys.version_info.minor)"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout == f"{minor}\n"

"""This module builds the zip that a function is created from: worker, wire, executables, the function's command.

It reads the installed packages' files and imports none of them: the worker is shipped, not imported.
"""

from __future__ import annotations

import importlib.util
import io
import stat
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mu_twisted.aws._bytecode import compiled, own_runtime
from mu_twisted.base import MuError

MAX_UNZIPPED = 250 * 1024 * 1024
"""Bytes that a function's package may have, unzipped (AWS: "Lambda quotas")."""
COMMAND_NAME = "mu_command"
"""Name of the file with the command that ``run:`` without argument runs."""

_DATE = (1980, 1, 1, 0, 0, 0)
_LEVEL = 1
"""The fastest: the highest sensible one makes a static ffmpeg of 80 MB 8 % smaller in three times the time."""
_BLOCK = 1024 * 1024


class PackageError(MuError):
    """The package cannot be built; the text is one line."""


def build_package(
    executables: Sequence[Path],
    command: bytes = b"",
    *,
    names: Mapping[Path, str] | None = None,
    members: Mapping[str, Path | bytes] | None = None,
    runtime: str | None = None,
) -> bytes:
    """Build the zip of a function. The same input gives the same bytes.

    :param executables: files that go to the zip's root, which is the commands' working directory, with mode 0755.
    :param command: the command that ``run:`` without argument runs.
    :param names: names in the zip of those executables that should not keep their own.
    :param members: further files with mode 0755, by their names in the zip, which may have directories.
    :param runtime: Lambda's identifier of the function's Python; None: this interpreter, on this machine. Where it is
        this interpreter's, the worker's bytecode is packed too: that spares each new environment the compiling.
    :raises PackageError: a file is missing or no regular file, two want one name, or all are more than Lambda takes.
    """
    own: dict[str, bytes] = {**dict(worker_files()), COMMAND_NAME: command}
    if runtime in (None, own_runtime()):
        own.update(compiled(worker_files()))
    programs: dict[str, Path | bytes] = {}
    for path in executables:
        name = (names or {}).get(path, path.name)
        if not name or "/" in name or name in (".", ".."):
            raise PackageError(f"{path} cannot be packed as {name!r}: give a plain file name")
        _check_free(name, path, own, programs)
        programs[name] = path
    for name, content in (members or {}).items():
        if not name or any(part in ("", ".", "..") for part in name.split("/")):
            raise PackageError(f"{name!r} cannot be a file's name in a package")
        _check_free(name, content if isinstance(content, Path) else Path(name), own, programs)
        programs[name] = content
    sizes = {name: len(content) if isinstance(content, bytes) else _size(content) for name, content in programs.items()}
    total = sum(map(len, own.values())) + sum(sizes.values())
    if total > MAX_UNZIPPED:
        biggest = max(sizes, key=lambda name: sizes[name])
        raise PackageError(
            f"the package would have {total} bytes unzipped, more than the {MAX_UNZIPPED} that Lambda takes; leave out "
            f"files (the biggest is {biggest}, {sizes[biggest]} bytes)"
        )
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for name, member in sorted({**own, **programs}.items()):
            _add(archive, name, member, 0o755 if name in programs else 0o644)
    return target.getvalue()


def _check_free(name: str, path: Path, own: Mapping[str, bytes], programs: Mapping[str, Path | bytes]) -> None:
    top = name.split("/")[0]
    if name in programs or name in own or any(member.startswith(f"{top}/") for member in own):
        holder = programs.get(name, "the worker")
        other = "another" if isinstance(holder, bytes) else holder
        raise PackageError(f"{path} and {other} would both be {name} in the package; rename one of them")


def _add(archive: zipfile.ZipFile, name: str, member: bytes | Path, mode: int) -> None:
    entry = zipfile.ZipInfo(name, _DATE)
    entry.create_system = 3  # Unix, on any system: only then the modes have an effect
    entry.external_attr = (stat.S_IFREG | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    if isinstance(member, bytes):
        archive.writestr(entry, member, compresslevel=_LEVEL)
        return
    entry.file_size = _size(member)
    # A ZipInfo of our own brings its own level, which zipfile names differently from 3.13 on.
    setattr(entry, "compress_level" if hasattr(entry, "compress_level") else "_compresslevel", _LEVEL)
    try:
        with member.open("rb") as source, archive.open(entry, "w") as sink:
            while block := source.read(_BLOCK):
                sink.write(block)
    except OSError as error:
        raise PackageError(f"cannot read {member}: {error.strerror or error}") from None


def _size(path: Path) -> int:
    try:
        status = path.stat()
    except OSError as error:
        raise PackageError(f"cannot pack {path}: {error.strerror or error}") from None
    if not stat.S_ISREG(status.st_mode):
        raise PackageError(f"cannot pack {path}: it is not a regular file")
    return status.st_size


def worker_files() -> Iterator[tuple[str, bytes]]:
    """Name and content of each of the project's files that a worker needs."""
    worker = _root("worker_lambda")
    for path in sorted(worker.rglob("*.py")):
        yield f"worker_lambda/{path.relative_to(worker).as_posix()}", path.read_bytes()
    project = _root("mu_twisted")
    for path in (
        project / "__init__.py",
        *sorted((project / "base").glob("*.py")),
        *sorted((project / "wire").glob("*.py")),
    ):
        yield f"mu_twisted/{path.relative_to(project).as_posix()}", path.read_bytes()


def _root(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise PackageError(f"the package {package} is not installed as files; install mu-twisted from its wheel")
    return Path(next(iter(spec.submodule_search_locations)))

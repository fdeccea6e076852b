"""Deployment packages: is a zip one that Lambda would take, and its unpacked tree, made once per version."""

from __future__ import annotations

import compileall
import io
import os
import shutil
import stat
import zipfile
from pathlib import Path
from py_compile import PycInvalidationMode

from mu_twisted.local._errors import LocalError, invalid

LARGEST_UNPACKED = 262_144_000
"""Bytes that a package may hold unpacked, as at AWS."""

_MOST_FILES = 50_000
_MOST_COMPILED = 400


def check_zip(code: bytes) -> None:
    """Look at a package without unpacking it.

    :raises ApiError: 400 where it is no zip, too large unpacked, or has names that lead out of it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(code)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError):
        raise invalid("Could not unzip uploaded file. Please check your file, then try to upload again.") from None
    if not entries:
        raise invalid("Uploaded file must be a non-empty zip")
    if sum(entry.file_size for entry in entries) > LARGEST_UNPACKED or len(entries) > _MOST_FILES:
        raise invalid(f"Unzipped size must be smaller than {LARGEST_UNPACKED} bytes")
    for entry in entries:
        parts = entry.filename.split("/")
        if entry.filename.startswith("/") or ".." in parts or "\0" in entry.filename:
            raise invalid(f"The zip holds a name that leads out of it: {entry.filename[:200]!r}")


def unpack(package: Path, target: Path) -> None:
    """Unpack a package to a directory that appears only when it is whole. Blocks; for a thread.

    Modes are kept as Lambda keeps them, since executables need theirs; byte code is compiled ahead, so that no
    environment pays for it.

    :param package: the zip, already checked.
    :param target: the directory to make; left alone if it exists.
    :raises LocalError: where the disk refuses.
    """
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        partial.mkdir(parents=True, mode=0o755)
        with zipfile.ZipFile(package) as archive:
            for entry in archive.infolist():
                _extract(archive, entry, partial)
        if sum(1 for _ in partial.rglob("*.py")) <= _MOST_COMPILED:
            _compile(partial, target)
        partial.replace(target)
    except (OSError, zipfile.BadZipFile, EOFError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        if not target.exists():
            raise LocalError(f"cannot unpack {package}: {error}") from error


def _extract(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, root: Path) -> None:
    mode = entry.external_attr >> 16
    path = root / entry.filename
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISLNK(mode):
        link = archive.read(entry).decode()
        inside = os.path.normpath(Path(entry.filename).parent / link)
        if not link.startswith("/") and not inside.startswith(".."):
            path.symlink_to(link)
        return
    with archive.open(entry) as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
    path.chmod((mode & 0o777) | 0o400 if mode else 0o755)


def _compile(partial: Path, target: Path) -> None:
    compileall.compile_dir(
        partial,
        quiet=2,
        stripdir=str(partial),
        prependdir=str(target),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )

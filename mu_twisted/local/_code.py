"""A deployment package is checked as Lambda checks it, and unpacked once for each version.

Nothing in a package can lead out of its tree: names are sorted into a tree in memory before any file is made, and
links are made last, so that there is none to follow.
"""

from __future__ import annotations

import compileall
import errno
import os
import shutil
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import IO, TYPE_CHECKING, Any, Union

from botocore.exceptions import BotoCoreError, ClientError

from mu_twisted.local._errors import ApiError, LocalError, invalid

if TYPE_CHECKING:  # botocore makes its clients of data files; what they look like is only known to stubs
    from types_boto3_s3 import S3Client

LARGEST_UNPACKED = 262_144_000
"""Bytes that a package may hold unpacked, as at AWS."""

_MOST_FILES = 50_000
_DEEPEST = 128
_MOST_COMPILED = 400
_LONGEST_NAME = 255
_LONGEST_LINK = 4095
_UNREADABLE = "Could not unzip uploaded file. Please check your file, then try to upload again."
_FAULTS_OF_PACKAGE = frozenset(
    (None, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
)
"""What the system says of names and data that cannot be; all else is the disk's."""

_Tree = dict[str, Union["_Tree", zipfile.ZipInfo]]
"""A directory: its directories and its entries by name."""


def unpack(package: IO[bytes], target: Path) -> None:
    """Unpack a package to a directory that appears only when it is whole. Blocks; for a thread.

    Modes are kept as Lambda keeps them, since executables need theirs, and links as they are, wherever they lead;
    byte code is compiled ahead, so that no environment pays for it. Where it fails nothing is left.

    :param package: the zip.
    :param target: the directory to make; left alone if it exists.
    :raises ApiError: 400 where it is no zip, too large unpacked, or holds what cannot be unpacked or leads out of it.
    :raises LocalError: where the disk refuses.
    """
    if target.exists():
        return
    partial = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        partial.mkdir(parents=True, mode=0o755)
        with zipfile.ZipFile(package) as archive:
            links = list(_extract(archive, _sorted(archive.infolist()), partial))
            if sum(name.endswith(".py") for name in archive.namelist()) <= _MOST_COMPILED:
                _compile(partial, target)
            for path, entry in links:
                path.symlink_to(_link(archive, entry))
        partial.replace(target)
    except Exception as error:
        shutil.rmtree(partial, ignore_errors=True)
        if isinstance(error, ApiError):
            raise
        if isinstance(error, OSError) and error.errno not in _FAULTS_OF_PACKAGE:
            if target.exists():
                return  # another thread was first
            raise LocalError(f"cannot unpack a function's code below {target.parent}: {error.strerror}") from error
        # zipfile has no root of its errors: a damaged zip raises some ten classes.
        raise _unreadable(str(error)) from None


def read_package(s3: S3Client, bucket: str, key: str, version: str | None) -> bytes:
    """Read a deployment package that a caller has put into the local S3. Blocks; for a thread.

    :param s3: a boto3 client.
    :param bucket: the package's bucket.
    :param key: its key.
    :param version: its version, or None for the newest.
    :returns: the package's bytes.
    :raises ApiError: 400 where it does not exist or exceeds :data:`LARGEST_UNPACKED` bytes.
    """
    more: Any = {} if version is None else {"VersionId": version}
    try:
        answer = s3.get_object(Bucket=bucket, Key=key, **more)
        with answer["Body"] as body:
            if answer["ContentLength"] > LARGEST_UNPACKED:
                raise invalid("The package in S3 is too large.")
            data: bytes = body.read()
    except (ClientError, BotoCoreError) as error:
        raise invalid(f"Error occurred while GetObject. {error}") from None
    return data


def _unreadable(why: str) -> ApiError:
    return invalid(f"{_UNREADABLE} ({' '.join(why.split())[:200]})")


def _sorted(entries: list[zipfile.ZipInfo]) -> _Tree:
    """All entries as a tree.

    :raises ApiError: 400 where there are none or too many, they are too large together, one cannot be read or made, or
        two are at odds.
    """
    if not entries:
        raise invalid("Uploaded file must be a non-empty zip")
    if sum(entry.file_size for entry in entries) > LARGEST_UNPACKED or len(entries) > _MOST_FILES:
        raise invalid(f"Unzipped size must be smaller than {LARGEST_UNPACKED} bytes")
    tree: _Tree = {}
    names_left = 2 * _MOST_FILES
    for entry in entries:
        *parents, name = _parts(entry) or [""]
        directory = tree
        for part in [*parents, name] if entry.is_dir() and name else parents:
            names_left -= part not in directory
            below = directory.setdefault(part, {})
            if isinstance(below, zipfile.ZipInfo):
                raise _at_odds(entry)
            directory = below
        if names_left < 0:
            raise invalid("The zip holds too many directories")
        if not entry.is_dir():
            before = directory.setdefault(name, entry)
            if isinstance(before, dict) or _is_link(before) != _is_link(entry):
                raise _at_odds(entry)
            # Of two files of one name the later one counts, as for every unzip.
            directory[name] = entry
    return tree


def _at_odds(entry: zipfile.ZipInfo) -> ApiError:
    return _unreadable(f"{entry.filename[:100]!r} is a file or a link, and a directory too")


def _parts(entry: zipfile.ZipInfo) -> list[str]:
    """The names on the way to an entry.

    :raises ApiError: 400 where they lead out, cannot be made, or the entry cannot be read.
    """
    shown = repr(entry.filename[:100])
    parts = [part for part in entry.filename.split("/") if part not in ("", ".")]
    if entry.filename.startswith("/") or ".." in parts or "\0" in entry.filename:
        raise invalid(f"The zip holds a name that leads out of it: {shown}")
    if not parts and not entry.is_dir():
        raise _unreadable(f"{shown} is no file's name")
    if len(parts) > _DEEPEST or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise _unreadable(f"{shown} is too long a name")
    if entry.flag_bits & 0x41:
        raise _unreadable(f"{shown} is encrypted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _unreadable(f"{shown} is neither stored nor deflated")
    return parts


def _is_link(entry: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(entry.external_attr >> 16)


def _extract(archive: zipfile.ZipFile, tree: _Tree, root: Path) -> Iterator[tuple[Path, zipfile.ZipInfo]]:
    """Make all directories and files; yield the links, still to be made."""
    waiting = [(root, tree)]
    while waiting:
        directory, entries = waiting.pop()
        for name, entry in entries.items():
            path = directory / name
            if isinstance(entry, dict):
                path.mkdir()
                waiting.append((path, entry))
            elif _is_link(entry):
                yield path, entry
            else:
                _write(archive, entry, path)


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> None:
    with archive.open(entry) as source, path.open("xb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
        if sink.tell() != entry.file_size:
            raise _unreadable(f"{entry.filename[:100]!r} is cut short")
    mode = entry.external_attr >> 16
    path.chmod((mode & 0o777) | 0o400 if mode else 0o755)


def _link(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> str:
    if not 0 < entry.file_size <= _LONGEST_LINK:
        raise _unreadable(f"{entry.filename[:100]!r} is a link to nothing, or too long a one")
    target = archive.read(entry).decode()
    if "\0" in target:
        raise _unreadable(f"{entry.filename[:100]!r} is a link to no name")
    return target


def _compile(partial: Path, target: Path) -> None:
    compileall.compile_dir(
        partial,
        quiet=2,
        stripdir=str(partial),
        prependdir=str(target),
        invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
    )

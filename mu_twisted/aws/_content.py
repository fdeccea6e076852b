"""A function named by its content is created when it is first needed, and found again by each job that needs it.

So a user need not create a function for a program before a job runs it.
"""

import hashlib
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from mu_twisted.aws._errors import AWSError
from mu_twisted.aws._function_settings import FunctionSpec
from mu_twisted.aws._functions import Functions
from mu_twisted.aws._package import PackageError, build_package, worker_files

PREFIX = "mu-"
_DIGITS = 16
_BLOCK = 1 << 20


def content_name(spec: FunctionSpec, members: Mapping[str, Path | bytes], command: bytes = b"") -> str:
    """The name of the function that has these files and settings: ``mu-`` and 16 hexadecimal digits.

    :param spec: its settings; its name and description do not count.
    :param members: the programs, as :class:`~mu_twisted.aws.Programs` has them.
    :param command: the packaged command.
    :raises PackageError: a file cannot be read.
    """
    whole = hashlib.sha256()

    def add(*parts: bytes) -> None:
        for part in parts:
            whole.update(len(part).to_bytes(8, "big") + part)

    settings = (spec.role, spec.runtime, spec.architecture, spec.memory_mb, spec.timeout.total_seconds(), spec.tmp_mb)
    add(*(str(setting).encode() for setting in settings), command)
    for name, content in sorted({**dict(worker_files()), **members}.items()):
        add(os.fsencode(name), content if isinstance(content, bytes) else _digest(content))
    return PREFIX + whole.hexdigest()[:_DIGITS]


def is_content_name(name: str) -> bool:
    """Whether a function's name may be one of :func:`content_name`."""
    digits = name.removeprefix(PREFIX)
    return digits != name and len(digits) == _DIGITS and not set(digits) - set("0123456789abcdef")


def ensure_function(
    functions: Functions,
    spec: FunctionSpec,
    members: Mapping[str, Path | bytes],
    command: bytes = b"",
    *,
    bucket: str | None = None,
) -> tuple[str, bool]:
    """Find the function that has these files and settings, or make it.

    :param functions: those of the region and account where it is to be.
    :param spec: its settings; it gets its name here.
    :param members: the files that it holds, by their names in the package.
    :param command: what it runs in mode 0; empty: nothing.
    :param bucket: as :meth:`Functions.create`.
    :returns: its name, and whether it was made now.
    :raises AWSError: it could not be made, or is not ready.
    :raises PackageError: as :func:`build_package`.
    """
    name = content_name(spec, members, command)
    if functions.find(name) is None:
        try:
            package = build_package([], command, members=members, runtime=spec.runtime)
            functions.create(replace(spec, name=name), package, bucket=bucket)
        except AWSError:
            if functions.find(name) is None:
                raise
            # Another caller was making the same at the same moment.
        else:
            return name, True
    functions.wait_until_ready(name)
    with suppress(AWSError):  # it is for `mu functions rm --unused` only
        functions.note_use(name)
    return name, False


def _digest(path: Path) -> bytes:
    found = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                found.update(block)
    except OSError as error:
        raise PackageError(f"cannot read {path}: {error.strerror or error}") from None
    return found.digest()

"""The inputs of ``mu map`` come from objects of S3, files here, lines, or rows of a table. Launches nothing."""

import csv
import hashlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mu_twisted.aws import AWSError, Clients, aws_errors, error_code
from mu_twisted.base import MuError, counted
from mu_twisted.client._errors import UsageError
from mu_twisted.pipelines import MAX_INPUTS, InputList, checked_inputs, shown_input

MAX_LINES = 64 << 20
"""Bytes of a list of lines or rows."""
MAX_FILE = 5 << 30
"""Bytes of a file that is uploaded: what S3 takes at once."""
UPLOADS = 8
"""Files that are uploaded at once."""
_WILD = re.compile(r"[*?\[]")
_PIECE = 1 << 20

ReportProgress = Callable[[str], None]


@dataclass(frozen=True)
class Limits:
    """How much is listed.

    :param matches: objects that the patterns may match.
    :param keys: that are looked at for one pattern, and ``page`` those of one request.
    """

    matches: int = MAX_INPUTS
    keys: int = 5_000_000
    page: int = 1000


class SourceError(MuError):
    """Inputs are not there, cannot be read, or are too many: one line that names what it is about."""


@dataclass(frozen=True)
class LocalFile:
    """A file that is to be uploaded.

    :param shown: its path as the user gave it, or found it in the folder that they gave.
    :param key: under which it is stored: by its content, so that what is there need not be sent again.
    """

    path: Path
    shown: str
    size: int
    key: str


def is_url(text: str) -> bool:
    """Whether it names objects of S3."""
    return text.startswith("s3://")


# -- objects -----------------------------------------------------------------------------------------------------------


def list_objects(
    clients: Clients, patterns: Sequence[str], progress: ReportProgress, limits: Limits | None = None
) -> InputList:
    """The objects of one bucket that some patterns match, in the order of the patterns, and then of keys.

    ``*`` and ``?`` match within a folder, ``**`` also below; what ends in ``/`` stands for all objects below it.

    :param patterns: ``s3://BUCKET/KEY``, with wildcards or without.
    :raises SourceError: one matches nothing, or too much.
    :raises AWSError: S3 does not answer.
    """
    buckets = {bucket_of(pattern) for pattern in patterns}
    if len(buckets) > 1:
        raise UsageError(f"the inputs are in two buckets, {' and '.join(sorted(buckets)[:2])}: map one after the other")
    bucket = buckets.pop()
    limits = limits or Limits()
    found: dict[str, None] = {}
    for pattern in patterns:
        before = len(found)
        for key in _matching(clients, bucket, pattern, progress, limits):
            found[key] = None
            if len(found) > limits.matches:
                raise SourceError(
                    f"{shown_input(pattern)} matches more than {limits.matches} objects, which is what a job takes: "
                    "map one part after the other, such as s3://BUCKET/a*"
                )
        if len(found) == before:
            raise SourceError(f"nothing matches {shown_input(pattern)}{clients.where_s3}")
    return checked_inputs(InputList((list(found),), bucket=bucket))


def bucket_of(pattern: str) -> str:
    """The bucket of ``s3://BUCKET/...``.

    :raises UsageError: it has none.
    """
    bucket = pattern[5:].partition("/")[0]
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,255}", bucket):
        raise UsageError(f"expected s3://BUCKET/KEY, got {shown_input(pattern)}")
    return bucket


def _matching(clients: Clients, bucket: str, pattern: str, progress: ReportProgress, limits: Limits) -> Iterator[str]:
    key = pattern[5:].partition("/")[2]
    wild = _WILD.search(key)
    if wild is None and key and not key.endswith("/"):
        yield from _exact(clients, bucket, key)
        return
    prefix = key if wild is None else key[: wild.start()]
    wanted = re.compile(".*" if wild is None else translate(key), re.DOTALL)
    within = wild is not None and "/" not in key[wild.start() :] and "**" not in key
    looked = 0
    for page in _pages(clients, bucket, prefix, within=within, size=limits.page):
        for item in page:
            if wanted.fullmatch(item) and not item.endswith("/"):
                yield item
        looked += len(page)
        progress(f"{counted(looked, 'key')} looked at below s3://{bucket}/{prefix}")
        if looked > limits.keys:
            raise SourceError(
                f"there are more than {limits.keys} keys below s3://{bucket}/{shown_input(prefix)}: give "
                f"{shown_input(pattern)} a longer beginning without wildcards"
            )


def _exact(clients: Clients, bucket: str, key: str) -> Iterator[str]:
    from botocore.exceptions import ClientError

    with aws_errors(f"look up s3://{bucket}/{shown_input(key)}"):
        try:
            clients.s3.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey", "NotFound"):
                return
            raise
    yield key


def _pages(clients: Clients, bucket: str, prefix: str, *, within: bool, size: int = 1000) -> Iterator[list[str]]:
    from botocore.exceptions import ClientError

    more: dict[str, Any] = {"Delimiter": "/"} if within else {}
    more["PaginationConfig"] = {"PageSize": size}
    pages = iter(clients.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, **more))
    while True:
        with aws_errors(f"list bucket {bucket}{clients.where_s3}"):
            try:
                page = next(pages)
            except StopIteration:
                return
            except ClientError as error:
                if error_code(error) == "NoSuchBucket":
                    raise AWSError(f"there is no bucket {bucket}{clients.where_s3}") from None
                raise
        yield [item["Key"] for item in page.get("Contents", ())]


def _one_character(inside: str) -> str:
    """The regular expression of what stands between brackets: letters and ranges, or with ``!`` none of them.

    A range that runs backwards has no characters, and a hyphen at either edge stands for itself, as with fnmatch.
    """
    negated, inside = inside.startswith("!"), inside.removeprefix("!")
    parts, index = [], 0
    while index < len(inside):
        low, high = inside[index], inside[index + 2 : index + 3] if inside[index + 1 : index + 2] == "-" else ""
        if high:
            parts += [f"{re.escape(low)}-{re.escape(high)}"] if low <= high else []
        else:
            parts.append(re.escape(low))
        index += 3 if high else 1
    if not parts:
        return "." if negated else "(?!)"
    return f"[{'^' if negated else ''}{''.join(parts)}]"


def translate(pattern: str) -> str:
    """The regular expression of a pattern of keys."""
    found, at = [], 0
    while at < len(pattern):
        here = pattern[at]
        if pattern.startswith("**", at):
            found.append(".*")
            at += 2
            continue
        closing = pattern.find("]", at + (3 if pattern.startswith("[!", at) else 2)) if here == "[" else -1
        if closing > 0:
            found.append(_one_character(pattern[at + 1 : closing]))
            at = closing + 1
            continue
        found.append({"*": "[^/]*", "?": "[^/]"}.get(here) or re.escape(here))
        at += 1
    return "".join(found)


# -- files here --------------------------------------------------------------------------------------------------------


def find_files(names: Sequence[str], prefix: str, progress: ReportProgress) -> list[LocalFile]:
    """Files, and all that lie in folders, each read once: their keys are made of what they contain.

    :raises SourceError: one is not there, cannot be read, or is too large; or there are none.
    """
    found: list[LocalFile] = []
    for path, called in _files(names):
        if len(found) >= MAX_INPUTS:
            raise SourceError(f"there are more than {MAX_INPUTS} files, which is what a job takes")
        found.append(_described(path, called, prefix))
        progress(f"{counted(len(found), 'file')} read")
    return found


def _files(names: Sequence[str]) -> Iterator[tuple[Path, str]]:
    for name in names:
        path = Path(name)
        if not path.is_dir():
            yield path, name
            continue
        some = False
        for folder, inside, files in os.walk(path, onerror=_unreadable):
            inside.sort()
            for file in sorted(files):
                some = True
                yield Path(folder, file), str(Path(folder, file))
        if not some:
            raise SourceError(f"the folder {shown_input(name)} has no files")


def _unreadable(error: OSError) -> None:
    raise SourceError(f"cannot read {shown_input(str(error.filename))}: {error.strerror}")


def _described(path: Path, called: str, prefix: str) -> LocalFile:
    try:
        if not path.is_file():
            what = "{} is no file" if path.exists() else "there is no file {}"
            raise SourceError(what.format(shown_input(called)))
        digest, size = hashlib.sha256(), 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                size += len(piece)
    except OSError as error:
        raise SourceError(f"cannot read {shown_input(called)}: {error.strerror}") from None
    if size > MAX_FILE:
        raise SourceError(f"{shown_input(called)} has {size} bytes; at most {MAX_FILE} can be uploaded")
    suffix = re.sub(r"[^A-Za-z0-9._-]", "_", path.name)[-100:]
    return LocalFile(path, called, size, f"{prefix}{digest.hexdigest()[:32]}/{suffix}")


def files_list(files: Sequence[LocalFile], bucket: str) -> InputList:
    """The inputs that they will be."""
    return checked_inputs(InputList(([file.shown for file in files], [file.key for file in files]), bucket=bucket))


def upload(clients: Clients, bucket: str, files: Sequence[LocalFile], progress: ReportProgress) -> int:
    """Store those that are not there yet, several at once.

    :returns: how many were stored.
    :raises SourceError: one cannot be read any more, or has changed.
    :raises AWSError: S3 does not take one.
    """
    once = {file.key: file for file in files}
    prefixes = {file.key.rsplit("/", 2)[0] + "/" for file in once.values()}
    there = {key for prefix in prefixes for page in _pages(clients, bucket, prefix, within=False) for key in page}
    missing = [file for file in once.values() if file.key not in there]
    pool = ThreadPoolExecutor(UPLOADS)
    try:
        for done, _ in enumerate(pool.map(lambda file: _store(clients, bucket, file), missing), 1):
            progress(f"{done} of {len(missing)} files uploaded to s3://{bucket}/")
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return len(missing)


def _store(clients: Clients, bucket: str, file: LocalFile) -> None:
    try:
        with file.path.open("rb") as content, aws_errors(f"upload {shown_input(file.shown)}"):
            if os.fstat(content.fileno()).st_size != file.size:
                raise SourceError(f"{shown_input(file.shown)} has changed while it was uploaded: try again")
            clients.s3.put_object(Bucket=bucket, Key=file.key, Body=content, ContentLength=file.size)
    except OSError as error:
        raise SourceError(f"cannot read {shown_input(file.shown)}: {error.strerror}") from None


# -- lines -------------------------------------------------------------------------------------------------------------


def read_lines(name: str, *, table: bool | None = None) -> InputList:
    """The lines of a file, empty ones left out; or the rows of a table whose first row names its columns.

    :param name: of the file; ``-``: standard input.
    :param table: whether it is one; None: where its name ends in ``.csv`` or ``.tsv``.
    :raises SourceError: it cannot be read, has too much in it, or nothing; or a row is not as long as the first.
    """
    called = "standard input" if name == "-" else shown_input(name)
    text = _text_of(name, called)
    suffix = Path(name).suffix.lower()
    if table or (table is None and suffix in (".csv", ".tsv")):
        return _table(text, called, "\t" if suffix == ".tsv" else ",")
    lines = [line for line in text.split("\n") if line]
    if not lines:
        raise SourceError(f"there are no lines in {called}")
    return checked_inputs(InputList((lines,)))


def _text_of(name: str, called: str) -> str:
    try:
        if name == "-":
            raw = sys.stdin.buffer.read(MAX_LINES + 1)
        else:
            with Path(name).open("rb") as file:
                raw = file.read(MAX_LINES + 1)
    except OSError as error:
        raise SourceError(f"cannot read {called}: {error.strerror}") from None
    if len(raw) > MAX_LINES:
        raise SourceError(f"{called} has more than {MAX_LINES} bytes: map one part after the other")
    return raw.decode("utf-8", "surrogateescape")


def _table(text: str, called: str, delimiter: str) -> InputList:
    rows = _rows(text.removeprefix("\ufeff"), called, delimiter)
    names = next(rows, None)
    if names is None:
        raise SourceError(f"{called} has no header: its first row is to name the columns")
    columns: list[list[str]] = [[] for _ in names]
    for number, row in enumerate(rows, 2):
        if len(row) != len(names):
            raise SourceError(f"row {number} of {called} has {counted(len(row), 'value')}, its header {len(names)}")
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    if not columns or not columns[0]:
        raise SourceError(f"there are no rows below the header of {called}")
    return checked_inputs(InputList(tuple(columns), tuple(name.strip() for name in names)))


def _rows(text: str, called: str, delimiter: str) -> Iterator[list[str]]:
    rows: Iterable[Any] = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from (row for row in rows if row)
    except csv.Error as error:
        raise SourceError(f"{called} is no table: {error}") from None

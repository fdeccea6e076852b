"""This module copies, lists and removes objects in S3, for ``mu cp``, ``mu ls``, ``mu mb`` and ``mu rm-bucket``.

What is copied where is decided before anything is copied, by functions that use neither S3 nor the disk.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from mu_twisted.aws._clients import Clients
from mu_twisted.aws._errors import AWSError, aws_errors, error_code
from mu_twisted.base import one_line

AT_ONCE = 8
"""Objects that are copied at the same time; a large one takes further threads of boto3's."""
SCHEME = "s3://"
STREAM = "-"
"""Stands for standard input or standard output."""


class ObjectsError(AWSError):
    """What is to be copied, listed or made is not named so that it can be."""


class WrongPlace(ObjectsError):
    """A word can name nothing that is copied or listed, whatever there is."""

    misuse = True


@dataclass(frozen=True)
class S3Place:
    """A bucket, and a key or the beginning of keys in it; the key is empty for the bucket as a whole."""

    bucket: str
    key: str = ""

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"


Place = S3Place | Path
"""Where something is copied from or to: in S3, or here."""


@dataclass(frozen=True)
class Copying:
    """One object or file that is to be copied.

    :param size: bytes; None: not known before it is read.
    """

    source: Place
    target: Place
    size: int | None = None


def place_of(text: str) -> Place:
    """What a word of a command names.

    :param text: ``s3://BUCKET/KEY``, or a path.
    :raises WrongPlace: it names no bucket, or nothing.
    """
    if not text:
        raise WrongPlace("expected a path or s3://BUCKET/KEY, got ''")
    return s3_place(text) if text.startswith(SCHEME) else Path(text)


def s3_place(text: str) -> S3Place:
    """A bucket and key.

    :param text: ``s3://BUCKET`` or ``s3://BUCKET/KEY``.
    :raises WrongPlace: it is not of that form.
    """
    bucket, _, key = text.removeprefix(SCHEME).partition("/")
    if not text.startswith(SCHEME) or not bucket:
        raise WrongPlace(f"expected s3://BUCKET or s3://BUCKET/KEY, got {text!r}")
    return S3Place(bucket, key)


def joined(target: Place, name: str) -> Place:
    """A place below another one.

    :param name: relative, with slashes.
    :raises ObjectsError: a file of this name would not be below the directory, or not be the only one of that name.
    """
    if isinstance(target, S3Place):
        return S3Place(target.bucket, f"{target.key}{'' if target.key.endswith('/') or not target.key else '/'}{name}")
    parts = name.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in name:
        raise ObjectsError(
            f"the key {name!r} cannot be a file's name below {target}: copy it by itself, to another name"
        )
    return target.joinpath(*parts)


def name_of(source: Place) -> str:
    """The name that a copy in a directory or below a key gets.

    :raises WrongPlace: it has none.
    """
    name = PurePosixPath(source.key).name if isinstance(source, S3Place) else source.name
    if not name or (isinstance(source, S3Place) and source.key.endswith("/")):
        raise WrongPlace(f"{source} names no object: copy what is below it with -r")
    return name


def copies_of_tree(source: Place, target: Place, found: Iterable[tuple[str, int]]) -> list[Copying]:
    """What is copied for a folder, or for all keys below one.

    :param found: of each file or object the name below the source, with slashes, and its bytes.
    :raises ObjectsError: two would become one, or a name cannot be kept.
    """
    copies = [Copying(_below(source, name), joined(target, name), size) for name, size in found]
    check_apart(copies)
    return copies


def check_apart(copies: Sequence[Copying]) -> None:
    """See that no two are copied to one place, nor one below another that is a file.

    :raises ObjectsError: they are.
    """
    targets: dict[Place, Place] = {}
    for copy in copies:
        before = targets.setdefault(copy.target, copy.source)
        if before is not copy.source:
            raise ObjectsError(f"{before} and {copy.source} would both become {copy.target}: copy them one by one")
    for target, source in targets.items():
        for parent in target.parents if isinstance(target, Path) else ():
            if parent in targets:
                raise ObjectsError(f"{targets[parent]} would be a file where {source} needs a folder: {parent}")


def files_below(directory: Path) -> Iterator[tuple[str, int]]:
    """The files of a folder, in order; links to folders are not followed.

    :raises ObjectsError: one cannot be read, or is neither a file nor a folder.
    """

    def failed(error: OSError) -> None:
        raise ObjectsError(f"cannot read {error.filename}: {error.strerror}")

    for parent, folders, names in os.walk(directory, onerror=failed):
        folders.sort()
        for name in sorted(names):
            path = Path(parent) / name
            if not path.is_file():
                raise ObjectsError(f"{path} is no file that could be copied")
            yield path.relative_to(directory).as_posix(), path.stat().st_size


class Objects:
    """Copies and lists objects, makes and removes buckets. Every method blocks; each raises :class:`AWSError`.

    :param clients: of the region.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._region = clients.region

    def plan(self, sources: Sequence[Place], target: Place, *, recursive: bool) -> list[Copying]:
        """What is to be copied.

        :param target: several sources, or one where it is a folder, go below it.
        :raises ObjectsError: it makes no sense, or a source is not there.
        """
        into = len(sources) > 1 or _is_folder(target)
        copies: list[Copying] = []
        for source in sources:
            if isinstance(source, Path) and isinstance(target, Path):
                raise WrongPlace(f"{source} and {target} are both here: give s3://BUCKET/KEY for one of them")
            if recursive and (isinstance(source, S3Place) or source.is_dir()):
                found = self._below(source) if isinstance(source, S3Place) else files_below(source)
                below = (
                    joined(target, source.name) if into and len(sources) > 1 and isinstance(source, Path) else target
                )
                copies += copies_of_tree(source, below, found)
                continue
            if isinstance(source, Path) and source.is_dir():
                raise WrongPlace(f"{source} is a folder: -r copies all that is in it")
            size = self._size(source)
            copies.append(Copying(source, joined(target, name_of(source)) if into else target, size))
        check_apart(copies)
        return copies

    def copy_all(
        self,
        copies: Sequence[Copying],
        on_copied: Callable[[Copying], object],
        on_bytes: Callable[[int], object] | None = None,
    ) -> None:
        """Copy them, some at the same time; the first that fails ends it.

        :param on_copied: is called with each that is done.
        :param on_bytes: is called in any thread with the number of bytes that have just been copied, which is negative
            where some are copied once more.
        """
        with ThreadPoolExecutor(AT_ONCE) as pool:
            try:
                for copy, _ in zip(copies, pool.map(lambda each: self.copy(each, on_bytes), copies), strict=True):
                    on_copied(copy)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def copy(self, copy: Copying, on_bytes: Callable[[int], object] | None = None) -> None:
        """Copy one. A file that is written is there as a whole, or not at all.

        :param on_bytes: as for :meth:`copy_all`.
        """
        source, target = copy.source, copy.target
        bucket = target.bucket if isinstance(target, S3Place) else source.bucket if isinstance(source, S3Place) else ""
        doing = f"copy {source} to {target}{self._clients.where_s3}"
        with aws_errors(doing), self._in(bucket), _system_errors(copy):
            if isinstance(source, S3Place) and isinstance(target, S3Place):
                self._s3.copy(
                    {"Bucket": source.bucket, "Key": source.key}, target.bucket, target.key, Callback=on_bytes
                )
            elif isinstance(target, S3Place):
                self._s3.upload_file(str(source), target.bucket, target.key, Callback=on_bytes)
            elif isinstance(source, S3Place):
                target.parent.mkdir(parents=True, exist_ok=True)
                self._s3.download_file(source.bucket, source.key, str(target), Callback=on_bytes)

    def send_stream(self, stream: BinaryIO, target: S3Place) -> None:
        """Store what a stream brings, to its end."""
        with aws_errors(f"copy standard input to {target}{self._clients.where_s3}"), self._in(target.bucket):
            self._s3.upload_fileobj(stream, target.bucket, target.key)

    def read_stream(self, source: S3Place, write: Callable[[bytes], object]) -> int:
        """Give out an object's bytes, as they come.

        :returns: how many there were.
        """
        count = 0
        with aws_errors(f"read {source}{self._clients.where_s3}"), self._there(source), self._in(source.bucket):
            body = self._s3.get_object(Bucket=source.bucket, Key=source.key)["Body"]
            for block in body.iter_chunks(1 << 20):
                write(block)
                count += len(block)
        return count

    def buckets(self) -> list[dict[str, Any]]:
        """All buckets: ``Name`` and ``CreationDate``."""
        with aws_errors(f"list the buckets{self._clients.where_s3}"):
            return list(self._s3.list_buckets().get("Buckets", ()))

    def list(self, place: S3Place, *, recursive: bool) -> Iterator[dict[str, Any]]:
        """Objects whose keys begin so, page by page: ``Key``, ``Size``, ``LastModified``; folders have ``Prefix`` only.

        :param recursive: whether what is below folders is listed, and not the folders.
        """
        pages = self._s3.get_paginator("list_objects_v2")
        given = {} if recursive else {"Delimiter": "/"}
        with aws_errors(f"list {place}{self._clients.where_s3}"), self._in(place.bucket):
            for page in pages.paginate(Bucket=place.bucket, Prefix=place.key, **given):
                for folder in page.get("CommonPrefixes", ()):
                    # SeaweedFS has folders, which outlive what was in them for a while; S3 itself has none.
                    if self._clients.stack is None or self._holds_any(place.bucket, folder["Prefix"]):
                        yield folder
                yield from page.get("Contents", ())

    def make_bucket(self, bucket: str) -> bool:
        """Make a bucket in this region.

        :returns: whether it was made; else it was this account's before.
        """
        from botocore.exceptions import ClientError

        where = {} if self._region == "us-east-1" else {"LocationConstraint": self._region}
        with aws_errors(f"make the bucket {bucket}{self._clients.where_s3}"):
            if bucket in (each["Name"] for each in self.buckets()):
                return False
            try:
                self._s3.create_bucket(Bucket=bucket, **({"CreateBucketConfiguration": where} if where else {}))
            except ClientError as error:
                if error_code(error) == "BucketAlreadyOwnedByYou":
                    return False
                if error_code(error) == "BucketAlreadyExists":
                    raise AWSError(f"there is a bucket {bucket} of another account: choose another name") from None
                raise
        return True

    def remove_bucket(self, bucket: str, *, objects: bool) -> int:
        """Remove a bucket.

        :param objects: whether the objects in it are deleted as well.
        :returns: how many were.
        """
        from botocore.exceptions import ClientError

        count = 0
        with aws_errors(f"remove the bucket {bucket}{self._clients.where_s3}"), self._in(bucket):
            batch: list[dict[str, str]] = []
            for each in self.list(S3Place(bucket), recursive=True) if objects else ():
                batch.append({"Key": each["Key"]})
                count += 1
                if len(batch) == 1000:
                    self._delete(bucket, batch)
                    batch = []
            self._delete(bucket, batch)
            try:
                self._s3.delete_bucket(Bucket=bucket)
            except ClientError as error:
                if error_code(error) != "BucketNotEmpty":
                    raise
                why = "it keeps old versions, or is being written to" if objects else "--force deletes what is in it"
                raise AWSError(f"the bucket {bucket}{self._clients.where_s3} is not empty: {why}") from None
        return count

    # -- inside ----------------------------------------------------------------------------------------------------

    @property
    def _s3(self) -> Any:
        """S3's client; what it lists is passed on as it is, for JSON and tables."""
        return self._clients.s3

    def _holds_any(self, bucket: str, prefix: str) -> bool:
        return bool(self._s3.list_objects_v2(Bucket=bucket, Prefix=prefix, MaxKeys=1).get("Contents"))

    def _delete(self, bucket: str, keys: Sequence[dict[str, str]]) -> None:
        if keys:
            answer = self._s3.delete_objects(Bucket=bucket, Delete={"Objects": list(keys), "Quiet": True})
            for error in answer.get("Errors", ()):
                raise AWSError(f"cannot delete {S3Place(bucket, error['Key'])}: {error.get('Code')}")

    def _below(self, source: S3Place) -> Iterator[tuple[str, int]]:
        prefix = source.key if source.key.endswith("/") or not source.key else f"{source.key}/"
        empty = True
        for each in self.list(S3Place(source.bucket, prefix), recursive=True):
            empty = False
            if not each["Key"].endswith("/"):  # what some tools store to stand for a folder
                yield each["Key"].removeprefix(prefix), each["Size"]
        if empty:
            raise ObjectsError(f"there is no object below {S3Place(source.bucket, prefix)}{self._clients.where_s3}")

    @contextmanager
    def _there(self, source: S3Place) -> Iterator[None]:
        """Say of an object that it is not there, where S3 says so."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if error_code(error) in ("404", "NoSuchKey", "NotFound"):
                raise ObjectsError(f"there is no object {source}{self._clients.where_s3}") from None
            raise

    @contextmanager
    def _in(self, bucket: str) -> Iterator[None]:
        """Say of a bucket that it is not there, where S3 says so."""
        from botocore.exceptions import ClientError

        try:
            yield
        except ClientError as error:
            if error_code(error) == "NoSuchBucket":
                raise ObjectsError(f"there is no bucket {bucket}{self._clients.where_s3}: `mu mb` makes one") from None
            raise

    def _size(self, source: Place) -> int:
        if isinstance(source, S3Place):
            name_of(source)
            with aws_errors(f"look up {source}{self._clients.where_s3}"), self._there(source):
                return int(self._s3.head_object(Bucket=source.bucket, Key=source.key)["ContentLength"])
        try:
            return source.stat().st_size
        except OSError as error:
            raise ObjectsError(f"cannot read {source}: {error.strerror}") from None


class _system_errors:  # noqa: N801 - it is used as a function
    """Turns errors of the disk, and of boto3's transfers, into one line, or into botocore's error that they were."""

    def __init__(self, copy: Copying) -> None:
        self._copy = copy

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import ClientError

        if isinstance(error, Boto3Error) and isinstance(error.__context__, ClientError):
            raise error.__context__ from None
        if isinstance(error, OSError | Boto3Error):
            why = one_line(getattr(error, "strerror", None) or str(error).rpartition("operation: ")[2], 300)
            raise ObjectsError(f"cannot copy {self._copy.source} to {self._copy.target}: {why}") from None


def _below(source: Place, name: str) -> Place:
    if isinstance(source, S3Place):
        prefix = source.key if source.key.endswith("/") or not source.key else f"{source.key}/"
        return S3Place(source.bucket, prefix + name)
    return source / name


def _is_folder(target: Place) -> bool:
    if isinstance(target, S3Place):
        return not target.key or target.key.endswith("/")
    return target.is_dir()

"""This module lists the files in a function's package by the zip's directory alone: some kilobytes of maybe 250 MB."""

import io
import urllib.error
import urllib.request
import zipfile
from http.client import HTTPException

from mu_twisted.aws._errors import AWSError
from mu_twisted.aws._proxies import opener

TIMEOUT = 20.0
"""Seconds that one request may take."""


def files_in_package(url: str, function: str) -> frozenset[str]:
    """List the files in a function's package.

    :param url: of the package, from ``GetFunction`` (presigned; it is not shown in errors).
    :param function: for the error.
    :returns: their names.
    :raises AWSError: it cannot be fetched, or is no zip.
    """
    try:
        with zipfile.ZipFile(_Remote(url)) as package:
            return frozenset(name for name in package.namelist() if not name.endswith("/"))
    except (OSError, HTTPException, zipfile.BadZipFile) as error:
        kind = type(error).__name__
        if isinstance(error, urllib.error.HTTPError):
            kind = f"status {error.code}"
            error.close()
        raise AWSError(f"cannot look into the package of function {function}: {kind}") from None


class _Remote(io.RawIOBase):
    """A file at a URL, read by ranges, or as a whole where the server does not support them."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._at = 0
        self._whole: bytes | None = None
        with self._open("bytes=0-0") as answer:
            if answer.status == 206:
                self._size = int(answer.headers["Content-Range"].rpartition("/")[2])
            else:
                self._whole = answer.read()
                self._size = len(self._whole)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._at + size)
        if end <= self._at:
            return b""
        if self._whole is not None:
            data = self._whole[self._at : end]
        else:
            with self._open(f"bytes={self._at}-{end - 1}") as answer:
                data = answer.read(end - self._at)
        self._at += len(data)
        return data

    def _open(self, byte_range: str):  # type: ignore[no-untyped-def] # urllib's answers have no common type
        request = urllib.request.Request(self._url, headers={"Range": byte_range})
        return opener(self._url).open(request, timeout=TIMEOUT)

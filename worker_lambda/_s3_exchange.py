"""Requests to S3 as a whole: signed, sent over kept connections, redirected, tried again."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from worker_lambda._http import Connection, Pool
from worker_lambda._http_sockets import Cancelled, Origin
from worker_lambda._s3 import S3Cancelled, S3Error
from worker_lambda._s3_address import domain, endpoint_of, locate, split
from worker_lambda._s3_answers import Passing, Refused
from worker_lambda._s3_files import BLOCK, one_line
from worker_lambda._sigv4 import EMPTY_SHA256, authorization, canonical_query

T = TypeVar("T")

_MAX_TEXT = 64 * 1024
_REDIRECTS = 3
_MAX_PAUSE = 8.0
"""Seconds."""


class Body(NamedTuple):
    """What a request carries: ``blocks`` can be walked anew for each try."""

    size: int
    sha256: str
    blocks: Callable[[], Iterable[bytes]]


NOTHING = Body(0, EMPTY_SHA256, lambda: ())


class Exchange:
    """Requests, with the parameters of :class:`worker_lambda._s3.S3`. For several threads at once."""

    def __init__(self, region: str, endpoint: str | None, tries: int, back_off: float, timeout: float) -> None:
        self._region = region
        self._endpoint = endpoint
        self._tries = tries
        self._back_off = back_off
        self._pool = Pool(timeout)
        self._regions: dict[str, str] = {}
        """Where redirects have shown a bucket to be."""

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def persist(self, what: str, cancelled: Callable[[], bool], once: Callable[[], T]) -> T:
        """Try until it succeeds, may not be tried again, or has been tried often enough.

        :param what: how the error's text begins.
        :raises S3Error: with whatever it was in one line.
        """
        for tried in range(1, self._tries + 1):
            try:
                if cancelled():
                    raise Cancelled
                return once()
            except Cancelled:
                raise S3Cancelled(f"{what}: cancelled") from None
            except Refused as refused:
                if not refused.passing:
                    raise S3Error(f"{what}: {refused}") from None
                reason = str(refused)
            except Passing as passing:
                reason = str(passing)
            except S3Error as error:
                raise S3Error(f"{what}: {error}") from None
            except OSError as error:
                reason = one_line(error.strerror or str(error) or type(error).__name__, 200)
            except http.client.HTTPException as error:
                reason = one_line(f"what came is no HTTP: {type(error).__name__}: {error}", 200)
            if tried < self._tries:
                self._pause(what, tried, cancelled)
        raise S3Error(f"{what}: {reason} (tried {self._tries} times)")

    def _pause(self, what: str, tried: int, cancelled: Callable[[], bool]) -> None:
        end = time.monotonic() + pause_after(tried, self._back_off, random.random())
        while (left := end - time.monotonic()) > 0:
            if cancelled():
                raise S3Cancelled(f"{what}: cancelled")
            time.sleep(min(left, 0.1))

    def _place(self, bucket: str, key: bytes) -> tuple[Origin, str, str]:
        region = self._regions.get(bucket, self._region)
        origin, path = locate(bucket, key, region, endpoint_of(self._endpoint, os.environ))
        return origin, path, region

    def secure(self, bucket: str, key: bytes) -> bool:
        """Whether requests for an object go over TLS."""
        return self._place(bucket, key)[0].scheme == "https"

    @contextlib.contextmanager
    def open(
        self,
        method: str,
        bucket: str,
        key: bytes,
        headers: Mapping[str, str],
        body: Body,
        cancelled: Callable[[], bool],
        query: Iterable[tuple[str, str]] = (),
    ) -> Iterator[tuple[Connection, http.client.HTTPResponse]]:
        """One successful answer, after any redirects; its body is the caller's to read.

        :raises Refused: an answer that is no success.
        """
        if not bucket or not key:
            raise S3Error("the bucket is empty" if not bucket else "the key is empty")
        parameters = canonical_query(query)
        origin, path, region = self._place(bucket, key)
        for hop in range(_REDIRECTS + 1):
            connection, response = self._send(origin, method, path, parameters, region, headers, body, cancelled)
            refused = None
            try:
                if response.status in (200, 204, 206):
                    yield connection, response
                else:
                    refused = _refusal(connection, response, cancelled)
            except BaseException:
                response.close()
                connection.close()
                raise
            self._pool.give(connection, response)
            if refused is None:
                return
            moved = self._moved(refused, bucket, key, origin, path, region)
            if moved is None or hop == _REDIRECTS:
                raise refused
            origin, path, region = moved

    def _moved(
        self, refused: Refused, bucket: str, key: bytes, origin: Origin, path: str, region: str
    ) -> tuple[Origin, str, str] | None:
        """Where an answer sends us, or None where it does not or may not.

        A bucket's region comes with 301, with 307, and with 400 where the signature names another one. A 307 without it
        is a new bucket whose name is not yet known everywhere; its ``Location`` is followed inside AWS or on one host.
        """
        if refused.status not in (301, 302, 307, 308) and refused.code != "AuthorizationHeaderMalformed":
            return None
        if refused.region and refused.region != region:
            self._regions[bucket] = refused.region
            return self._place(bucket, key)
        if not refused.location or refused.status not in (307, 308):
            return None
        target, _ = split(refused.location)
        at_aws = endpoint_of(self._endpoint, os.environ) is None
        trusted = target.host == origin.host or (at_aws and target.host.endswith(f".{domain(region)}"))
        if target.scheme != origin.scheme or not trusted:
            return None
        return target, "/" + "".join(refused.location.partition("?")[0].split("/", 3)[3:]), region

    def _send(
        self,
        origin: Origin,
        method: str,
        path: str,
        query: str,
        region: str,
        headers: Mapping[str, str],
        body: Body,
        cancelled: Callable[[], bool],
    ) -> tuple[Connection, http.client.HTTPResponse]:
        target = f"{path}?{query}" if query else path
        while True:
            signed = _signed(origin, method, path, query, region, {**headers, "x-amz-content-sha256": body.sha256})
            if method in ("PUT", "POST"):
                signed["content-length"] = str(body.size)
            try:
                connection = self._pool.take(origin, cancelled)
            except ValueError as error:  # a certificate that is not trusted is one, too
                raise S3Error(f"{origin.header} cannot be reached: {one_line(str(error), 200)}") from None
            try:
                return connection, connection.request(method, target, signed, body.blocks(), cancelled)
            except ConnectionError:
                connection.close()
                if not connection.kept:  # a kept one may have been closed while it was idle: that is no failed try
                    raise
            except BaseException:
                connection.close()
                raise


def pause_after(tried: int, back_off: float, random: float) -> float:
    """Seconds before the next try: anything up to a bound that doubles, so that many clients do not come back as one.

    :param tried: tries so far.
    :param back_off: the first bound, in seconds.
    :param random: from 0 to 1.
    """
    return random * min(_MAX_PAUSE, back_off * 2.0 ** min(tried - 1, 64))


def _signed(
    origin: Origin, method: str, path: str, query: str, region: str, headers: Mapping[str, str]
) -> dict[str, str]:
    """All headers of a request, signed with the environment's credentials of now.

    :raises S3Error: there are none.
    """
    access_key = os.environ.get("AWS_ACCESS_KEY_ID", "").strip()
    secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "").strip()
    if not access_key or not secret_key:
        raise S3Error("no credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set for the worker")
    complete = {**headers, "host": origin.header, "x-amz-date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())}
    token = os.environ.get("AWS_SESSION_TOKEN", "").strip()
    if token:
        complete["x-amz-security-token"] = token
    if not all(text.isascii() and text.isprintable() for text in (access_key, secret_key, token)):
        raise S3Error(
            "the credentials hold characters that none can have; look at AWS_ACCESS_KEY_ID and its companions"
        )
    complete["authorization"] = authorization(
        method, path, query, complete, region=region, access_key=access_key, secret_key=secret_key
    )
    return complete


def _refusal(connection: Connection, response: http.client.HTTPResponse, cancelled: Callable[[], bool]) -> Refused:
    text = b""
    with contextlib.suppress(OSError, http.client.HTTPException):  # the status alone says enough
        text = text_of(connection, response, cancelled)
    return Refused(response.status, response.reason, response.getheader, text)


def text_of(connection: Connection, response: http.client.HTTPResponse, cancelled: Callable[[], bool]) -> bytes:
    """An answer's body, the first 64 KiB of it."""
    text = bytearray()
    for block in connection.blocks(response, BLOCK, cancelled):
        text += block[: _MAX_TEXT - len(text)]
        if len(text) >= _MAX_TEXT:
            break
    return bytes(text)

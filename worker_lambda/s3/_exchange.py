"""An exchange is a request to S3 as a whole: signed, sent over kept connections, redirected, tried again."""

from __future__ import annotations

import contextlib
import email.utils
import http.client
import os
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from mu_twisted.base import one_line
from worker_lambda.s3._address import domain, endpoint_of, is_region, locate, resolve
from worker_lambda.s3._answers import RetryableError, S3Refusal, is_error
from worker_lambda.s3._errors import S3Cancelled, S3Error
from worker_lambda.s3._files import BLOCK
from worker_lambda.s3._http import HttpConnection, Pool
from worker_lambda.s3._http_sockets import HttpOrigin, TransferCancelled
from worker_lambda.s3._sigv4 import EMPTY_SHA256, authorization, canonical_query, presigned_query

T = TypeVar("T")

_MAX_TEXT = 64 * 1024
_REDIRECTS = 3
_MAX_PAUSE = 8.0
"""Seconds."""
_MAX_SKEW = 24 * 3600.0
"""Seconds that a server may correct our clock by: a signature is not valid for longer than that."""


class Body(NamedTuple):
    """What a request carries: ``blocks`` can be walked anew for each try."""

    size: int
    sha256: str
    blocks: Callable[[], Iterable[bytes]]


NOTHING = Body(0, EMPTY_SHA256, lambda: ())


class Exchange:
    """Requests, with the parameters of :class:`worker_lambda.s3._client.S3`. For several threads at once."""

    def __init__(self, region: str, endpoint: str | None, tries: int, back_off: float, timeout: float) -> None:
        self._region = region
        self._endpoint = endpoint
        self._tries = tries
        self._back_off = back_off
        self._pool = Pool(timeout)
        self._regions: dict[str, str] = {}
        """Where redirects have shown a bucket to be."""
        self._skew = 0.0
        """Seconds that our clock is behind the server's, as the server has said."""

    def close(self) -> None:
        """Close the kept connections."""
        self._pool.close()

    def persist(self, what: str, cancelled: Callable[[], bool], once: Callable[[], T]) -> T:
        """Try until it succeeds, may not be tried again, or has been tried often enough.

        :param what: how the error's text begins.
        :raises S3Error: one line with the last reason.
        """
        for tried in range(1, self._tries + 1):
            try:
                if cancelled():
                    raise TransferCancelled
                return once()
            except TransferCancelled:
                raise S3Cancelled(f"{what}: cancelled") from None
            except S3Refusal as refusal:
                if not refusal.retryable:
                    raise S3Error(f"{what}: {refusal}", refusal.code) from None
                reason = str(refusal)
            except RetryableError as fault:
                reason = str(fault)
            except S3Error as error:
                raise S3Error(f"{what}: {error}", error.code) from None
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

    def _located(self, bucket: str, key: bytes) -> tuple[HttpOrigin, str, str]:
        region = self._regions.get(bucket, self._region)
        origin, path = locate(bucket, key, region, endpoint_of(self._endpoint, os.environ))
        return origin, path, region

    def presign(self, bucket: str, key: bytes, seconds: int, cancelled: Callable[[], bool]) -> str:
        """A URL by which an object can be got for a while without credentials.

        The object is asked for first, one byte of it: so it is there, and redirects have shown the bucket's region.

        :raises S3Refusal: it is not there, or may not be read.
        """
        with self.open("GET", bucket, key, {"range": "bytes=0-0"}, NOTHING, cancelled):
            pass
        origin, path, region = self._located(bucket, key)
        access_key, secret_key, token = _credentials()
        query = presigned_query(
            path,
            origin.header,
            _stamp(time.time() + self._skew),
            seconds,
            region=region,
            access_key=access_key,
            secret_key=secret_key,
            token=token,
        )
        return f"{origin.scheme}://{origin.header}{path}?{query}"

    def secure(self, bucket: str, key: bytes) -> bool:
        """Whether requests for an object go over TLS."""
        return self._located(bucket, key)[0].scheme == "https"

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
    ) -> Iterator[tuple[HttpConnection, http.client.HTTPResponse]]:
        """One successful answer, after any redirects; its body is the caller's to read.

        :raises S3Refusal: an answer that is no success.
        :raises RetryableError: a success, but not of what was asked for.
        """
        if not bucket or not key:
            raise S3Error("the key is empty", "EmptyKey") if bucket else S3Error("the bucket is empty", "BadCommand")
        parameters = canonical_query(query)
        origin, path, region = self._located(bucket, key)
        wanted = (200, 204) if method == "DELETE" else (200, 206) if "range" in headers else (200,)
        hop, corrected = 0, False
        while True:
            connection, response = self._send(origin, method, path, parameters, region, headers, body, cancelled)
            refusal = None
            try:
                if response.status in wanted:
                    yield connection, response
                elif 200 <= response.status < 300:
                    raise RetryableError(f"the server's answer is {response.status}, which is none to such a request")
                else:
                    refusal = _refusal(connection, response, cancelled)
            except BaseException:
                response.close()
                connection.close()
                raise
            self._pool.give(connection, response)
            if refusal is None:
                return
            if refusal.skewed and not corrected:
                corrected = True
                self._correct(refusal.date)
                continue
            moved = self._moved(refusal, bucket, key, origin, path, region)
            if moved is None or hop == _REDIRECTS:
                raise refusal
            hop += 1
            origin, path, region = moved

    def _moved(
        self, refusal: S3Refusal, bucket: str, key: bytes, origin: HttpOrigin, path: str, region: str
    ) -> tuple[HttpOrigin, str, str] | None:
        """Where an answer sends us, or None where it does not or may not.

        A bucket's region comes with 301, with 307, and with 400 where the signature names another one. A 307 without it
        is a new bucket whose name is not yet known everywhere; its ``Location`` is followed inside AWS or on one host.
        """
        if refusal.status not in (301, 302, 307, 308) and refusal.code != "AuthorizationHeaderMalformed":
            return None
        at_aws = endpoint_of(self._endpoint, os.environ) is None
        if refusal.region != region and is_region(refusal.region, at_aws=at_aws):
            self._regions[bucket] = refusal.region
            return self._located(bucket, key)
        found = resolve(refusal.location, origin, path) if refusal.status in (307, 308) else None
        if found is None:
            return None
        target, there = found
        trusted = target.host == origin.host or (at_aws and target.host.endswith(f".{domain(region)}"))
        return (target, there, region) if target.scheme == origin.scheme and trusted else None

    def _correct(self, date: str) -> None:
        """Take the server's word for what time it is, within :data:`_MAX_SKEW`."""
        with contextlib.suppress(ValueError, OverflowError, TypeError):
            skew = email.utils.parsedate_to_datetime(date).timestamp() - time.time()
            if abs(skew) <= _MAX_SKEW:
                self._skew = skew

    def _send(
        self,
        origin: HttpOrigin,
        method: str,
        path: str,
        query: str,
        region: str,
        headers: Mapping[str, str],
        body: Body,
        cancelled: Callable[[], bool],
    ) -> tuple[HttpConnection, http.client.HTTPResponse]:
        target = f"{path}?{query}" if query else path
        while True:
            now = time.time() + self._skew
            signed = _signed(origin, method, path, query, region, {**headers, "x-amz-content-sha256": body.sha256}, now)
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
            except ValueError:  # its text holds the header, which may be the signature
                connection.close()
                raise S3Error(f"the request to {one_line(origin.header, 200)} cannot be put into HTTP") from None
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
    origin: HttpOrigin, method: str, path: str, query: str, region: str, headers: Mapping[str, str], now: float
) -> dict[str, str]:
    """All headers of a request, signed with the environment's credentials of now.

    :param now: the server's time, seconds since 1970.
    :raises S3Error: there are none.
    """
    access_key, secret_key, token = _credentials()
    complete = {**headers, "host": origin.header, "x-amz-date": _stamp(now)}
    if token:
        complete["x-amz-security-token"] = token
    complete["authorization"] = authorization(
        method, path, query, complete, region=region, access_key=access_key, secret_key=secret_key
    )
    return complete


def _credentials() -> tuple[str, str, str]:
    """The environment's access key, secret key and session token, which may be empty.

    :raises S3Error: there are none.
    """
    access_key = os.environ.get("AWS_ACCESS_KEY_ID", "").strip()
    secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "").strip()
    if not access_key or not secret_key:
        raise S3Error("no credentials: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set for the worker")
    token = os.environ.get("AWS_SESSION_TOKEN", "").strip()
    if not all(text.isascii() and text.isprintable() for text in (access_key, secret_key, token)):
        raise S3Error(
            "the credentials hold characters that none can have; look at AWS_ACCESS_KEY_ID and its companions"
        )
    return access_key, secret_key, token


def _stamp(now: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))


def _refusal(
    connection: HttpConnection, response: http.client.HTTPResponse, cancelled: Callable[[], bool]
) -> S3Refusal:
    text = bytearray()
    whole = False
    with contextlib.suppress(OSError, http.client.HTTPException, RetryableError):  # what came of it may say enough
        _read(connection, response, cancelled, text)
        whole = True
    return S3Refusal(response.status, response.reason, response.getheader, bytes(text), whole=whole)


def text_of(connection: HttpConnection, response: http.client.HTTPResponse, cancelled: Callable[[], bool]) -> bytes:
    """The body of a success, the first 64 KiB of it.

    :raises S3Refusal: it says that it is none.
    :raises RetryableError: it ends before its end.
    """
    text = bytearray()
    _read(connection, response, cancelled, text)
    answer = bytes(text)
    if is_error(answer):
        raise S3Refusal(response.status, response.reason, response.getheader, answer)
    return answer


def _read(
    connection: HttpConnection, response: http.client.HTTPResponse, cancelled: Callable[[], bool], text: bytearray
) -> None:
    for block in connection.blocks(response, BLOCK, cancelled):
        text += block[: _MAX_TEXT - len(text)]
        if len(text) >= _MAX_TEXT:
            return
    if response.length:
        raise RetryableError(f"the server's answer ended after {len(text)} of {len(text) + response.length} bytes")

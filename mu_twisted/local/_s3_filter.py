"""The filter reads requests to the local S3 and refuses those that name a key that SeaweedFS cannot keep.

SeaweedFS keeps objects as files by their path, so ``a//b``, ``a/b`` and ``a\\b`` are one object to it, and the last put
wins without a word. Knows HTTP's framing and where S3's requests name keys, and neither sockets nor signatures.
Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree
from xml.sax.saxutils import escape

MOST_HEAD = 64 << 10
"""Bytes that a request's line and headers may have."""
MOST_LIST = 4 << 20
"""Bytes of a list of keys to delete; a thousand keys are less."""

_LONGEST_PART = 255
_MOST_LINE = 8192
_LENGTH = re.compile(rb"[0-9]{1,18}")


def fault_of_key(key: bytes, *, empty: bool = True) -> str | None:
    """The reason for which SeaweedFS cannot keep a key apart from all others; None where it can.

    :param key: as it is, not quoted.
    :param empty: whether there are no bytes to keep under it: what ends in a slash is a directory.
    """
    parts = key.split(b"/")
    if b"\\" in key:
        return "a backslash, which is a slash to it"
    if b"\0" in key:
        return "a zero byte"
    if b"" in parts[:-1]:
        return "a slash at its beginning or two in a row"
    if b"." in parts or b".." in parts:
        return "a part '.' or '..'"
    if any(len(part) > _LONGEST_PART for part in parts):
        return f"a part of more than {_LONGEST_PART} bytes between slashes"
    if parts[0] == b".uploads" or any(part.endswith(b".versions") for part in parts[:-1]):
        return "a part '.uploads' or '....versions/', where it keeps what is its own"
    if parts[-1] == b"" and not empty:
        return "a slash at its end and bytes to keep: to it that is a directory"
    return None


@dataclass(frozen=True)
class Refusal:
    """An answer in S3's shape to a request that does not reach the S3.

    :param status: of HTTP, with its reason.
    :param code: S3's.
    :param message: one line.
    """

    status: str
    code: str
    message: str

    def encode(self) -> bytes:
        """The whole answer; the connection ends with it."""
        text = f"<Error><Code>{self.code}</Code><Message>{escape(self.message)}</Message></Error>"
        body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + text.encode()
        head = f"HTTP/1.1 {self.status}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}"
        return f"{head}\r\nConnection: close\r\n\r\n".encode() + body


def _malformed(what: str) -> Refusal:
    return Refusal("400 Bad Request", "InvalidRequest", f"The request {what}.")


def _refused(key: bytes, fault: str) -> Refusal:
    shown = ascii(key[:100].decode("utf-8", "backslashreplace"))
    return Refusal(
        "400 Bad Request",
        "InvalidRequest",
        f"The local S3 (SeaweedFS) cannot keep the key {shown} apart from others: it has {fault}. "
        "Take another key, or another S3 (mu-local --s3 moto).",
    )


class RequestFilter:
    """One connection's requests, as bytes that may pass, until one is refused."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0
        self._line: bytes | None = None
        self._ending = False
        self._list: bytearray | None = None

    def feed(self, data: bytes) -> list[bytes | Refusal]:
        """What may be sent on of what came; a refusal is the last of all."""
        passed: list[bytes | Refusal] = []
        while data:
            if self._list is not None:
                data = self._take_list(data, passed)
            elif self._left:
                piece, data = data[: self._left], data[self._left :]
                self._left -= len(piece)
                passed.append(piece)
            elif self._line is not None:
                data = self._take_line(data, passed)
            else:
                data = self._take_head(data, passed)
            if passed and isinstance(passed[-1], Refusal):
                break
        return passed

    def _take_head(self, data: bytes, passed: list[bytes | Refusal]) -> bytes:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0 or end > MOST_HEAD:
            if len(self._head) > MOST_HEAD:
                passed.append(_malformed(f"has more than {MOST_HEAD} bytes of headers"))
            return b""
        head, data, self._head = self._head[: end + 4], self._head[end + 4 :], b""
        passed.append(self._judge(head) or head)
        return data

    def _judge(self, head: bytes) -> Refusal | None:
        line, *lines = head[:-4].split(b"\r\n")
        words = line.split(b" ")
        if len(words) != 3:
            return _malformed("is no HTTP")
        headers: dict[bytes, bytes] = {}
        for text in lines:
            name, _, value = text.partition(b":")
            name, value = name.lower(), value.strip()
            if name in (b"content-length", b"transfer-encoding") and headers.get(name, value) != value:
                return _malformed("says its length twice")
            headers[name] = value
        length = headers.get(b"content-length", b"0")
        coding = headers.get(b"transfer-encoding", b"").lower()
        if (
            not _LENGTH.fullmatch(length)
            or coding not in (b"", b"chunked")
            or (coding and b"content-length" in headers)
        ):
            return _malformed("does not say its length as HTTP has it")
        refusal = self._judge_keys(words[0], words[1], headers, 1 if coding else int(length))
        if refusal is None and coding:
            self._line = b""
        elif refusal is None:
            self._left = int(length)
        return refusal

    def _judge_keys(self, method: bytes, target: bytes, headers: Mapping[bytes, bytes], length: int) -> Refusal | None:
        if not target.startswith(b"/"):
            target = b"/" + target.partition(b"://")[2].partition(b"/")[2]
        path, _, query = target.partition(b"?")
        bucket, _, key = unquote_to_bytes(path[1:]).partition(b"/")
        parameters = {pair.partition(b"=")[0] for pair in query.split(b"&")}
        if not bucket and path != b"/":
            return _refused(unquote_to_bytes(path), "a slash at its beginning or two in a row")
        if key:
            decoded = headers.get(b"x-amz-decoded-content-length", b"")
            size = int(decoded) if _LENGTH.fullmatch(decoded) else length
            stored = method == b"PUT" and (size > 0 or b"x-amz-copy-source" in headers)
            fault = fault_of_key(key, empty=not stored and not (method == b"POST" and b"uploads" in parameters))
            if fault is not None:
                return _refused(key, fault)
        elif method == b"POST" and b"delete" in parameters:
            if length > MOST_LIST or b"transfer-encoding" in headers:
                return _malformed(f"deletes by a list that is chunked or has more than {MOST_LIST} bytes")
            self._list = bytearray() if length else None
        elif method == b"POST" and headers.get(b"content-type", b"").lower().startswith(b"multipart/form-data"):
            text = "The local S3 (SeaweedFS) takes no uploads by a form, whose keys cannot be checked."
            return Refusal("501 Not Implemented", "NotImplemented", text)
        source = unquote_to_bytes(headers.get(b"x-amz-copy-source", b"").partition(b"?")[0]).removeprefix(b"/")
        fault = fault_of_key(source.partition(b"/")[2])
        return None if fault is None else _refused(source, fault)

    def _take_list(self, data: bytes, passed: list[bytes | Refusal]) -> bytes:
        """A list of keys is held back until all of it is there."""
        assert self._list is not None
        piece, data = data[: self._left], data[self._left :]
        self._left -= len(piece)
        self._list += piece
        if not self._left:
            whole, self._list = bytes(self._list), None
            passed.append(_judge_list(whole) or whole)
        return data

    def _take_line(self, data: bytes, passed: list[bytes | Refusal]) -> bytes:
        """A line between the chunks of a body."""
        assert self._line is not None
        end = data.find(b"\n")
        piece, data = (data, b"") if end < 0 else (data[: end + 1], data[end + 1 :])
        self._line += piece
        if len(self._line) > _MOST_LINE:
            passed.append(_malformed("has no HTTP chunks"))
        elif end >= 0:
            line, self._line = self._line, b""
            if self._ending:
                if line == b"\r\n":
                    self._line, self._ending = None, False
            else:
                size = line.partition(b";")[0].strip()
                if not re.fullmatch(rb"[0-9a-fA-F]{1,15}", size):
                    passed.append(_malformed("has no HTTP chunks"))
                    return b""
                self._ending = int(size, 16) == 0
                self._left = 0 if self._ending else int(size, 16) + 2
            passed.append(line)
        return data


def _judge_list(body: bytes) -> Refusal | None:
    try:
        elements = list(ElementTree.fromstring(body).iter())  # noqa: S314 - expat bounds what entities unfold to
    except ElementTree.ParseError:
        return None  # the S3 says so itself
    for element in elements:
        key = (element.text or "").encode("utf-8", "surrogatepass")
        fault = fault_of_key(key) if element.tag.rpartition("}")[2] == "Key" else None
        if fault is not None:
            return _refused(key, fault)
    return None

"""Byte counts are what a worker says that its task has moved so far, between it and S3, and between it and others."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

from mu_twisted.base import byte_size
from mu_twisted.wire._errors import PeerError

BYTE_COUNTS = "byte-counts"
"""In an event's ``capabilities``: the coordinator reads them."""
PREFIX = b"INFO:bytes:{"
_MOST = 1 << 53
"""The largest integer that every JSON library keeps."""


@dataclass(frozen=True)
class ByteCounts:
    """Of one task, since it began on this worker.

    :param retrieved: bytes of objects that were fetched from S3; ``uploaded``: of those that were stored.
    :param sent: bytes of messages, states and pipes to other tasks; ``received``: of those from them.
    """

    retrieved: int = 0
    uploaded: int = 0
    sent: int = 0
    received: int = 0

    def encode(self) -> bytes:
        """``INFO:bytes:{"retrieved":N,"uploaded":N,"sent":N,"received":N}``."""
        return b'INFO:bytes:{"retrieved":%d,"uploaded":%d,"sent":%d,"received":%d}' % astuple(self)


def counts_text(counts: Mapping[str, int]) -> str:
    """How many bytes were moved, by kind, in one line; those of which there were none are left out."""
    return ", ".join(f"{byte_size(count)} {kind}" for kind, count in counts.items() if count) or "none"


KINDS = tuple(field.name for field in fields(ByteCounts))


def parse_byte_counts(message: bytes) -> ByteCounts:
    """Read what :meth:`ByteCounts.encode` has written; members that are not known are passed over.

    :raises PeerError: it is something else.
    """
    try:
        found = json.loads(message.removeprefix(PREFIX[:-1])) if message.startswith(PREFIX) else None
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict):
        counts = {kind: found.get(kind, 0) for kind in KINDS}
        if all(type(count) is int and 0 <= count <= _MOST for count in counts.values()):
            return ByteCounts(**counts)
    raise PeerError(f"expected INFO:bytes:{{KIND:NUMBER,...}}, got {message[:80]!r}")

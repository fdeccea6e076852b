"""An examination looks at objects that a job is to read, before anything is launched; its parts are asked for here.

A pipeline's author writes it as a generator: what it yields is a part of an object, which it is sent in return.
"""

from collections.abc import Generator
from dataclasses import dataclass

MAX_PARTS = 64
"""Of all objects that a job's examination looks at, together."""
MAX_PART = 32 << 20
"""Bytes of one."""


@dataclass(frozen=True)
class PartWanted:
    """A part of an object in the job's bucket.

    :param first: where it begins, in bytes; at the object's end or behind it nothing is read.
    :param count: bytes at most.
    """

    key: str
    first: int
    count: int


@dataclass(frozen=True)
class ObjectPart:
    """What was asked for.

    :param size: of the whole object, in bytes.
    """

    data: bytes
    size: int


Looking = Generator[PartWanted, ObjectPart, None]
"""An examination under way."""

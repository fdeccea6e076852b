"""The headers of frames of links and pipes are read here, field by field."""

import re

MAX_DIGITS = 18
NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}", re.ASCII)
_ZERO = ord("0")


def read_number(text: bytes, most: int = 10**18, least: int = 0) -> int:
    """Read a number of a header, which has no sign and no leading zeros.

    :raises ValueError: it is none, or not from ``least`` to ``most``.
    """
    if not text.isdigit() or len(text) > MAX_DIGITS or (text[0] == _ZERO and len(text) > 1):
        raise ValueError
    number = int(text)
    if not least <= number <= most:
        raise ValueError
    return number


def check_bare(rest: bytes, body: bytes | None) -> bytes:
    """Check that a frame carries no bytes, and return its header.

    :raises ValueError: it carries some.
    """
    if body is not None:
        raise ValueError
    return rest

"""The headers of frames of links and pipes are read here, field by field."""

import re

NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}", re.ASCII)


def read_number(text: bytes, most: int = 10**18) -> int:
    """Read a number of a header, which has no sign and no leading zeros.

    :raises ValueError: it is none, or above ``most``.
    """
    if not NUMBER.fullmatch(text) or int(text) > most:
        raise ValueError
    return int(text)


def check_bare(rest: bytes, body: bytes | None) -> bytes:
    """Check that a frame carries no bytes, and return its header.

    :raises ValueError: it carries some.
    """
    if body is not None:
        raise ValueError
    return rest

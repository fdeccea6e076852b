"""Pictures are distinguished from films here: a file of PNG or JPEG that holds one picture, which does not move.

Both forms may hold films as well: PNG an animation (APNG), and either as many pictures as there are, one behind the
other. Knows bytes only.
"""

import re

MAX_PICTURE = 4 << 20
"""Bytes of a file that is looked at; of a larger one nothing is said."""
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""Ends what is compressed: of the bytes behind FF those that stand for FF itself or begin it anew end nothing."""
_END = b"\xff\xd9"


def may_be_picture(head: bytes) -> bool:
    """Whether a file that begins so may hold one picture alone."""
    return head.startswith((_PNG, _JPEG))


def is_picture(data: bytes) -> bool:
    """Whether it is a whole picture, and nothing more.

    :param data: a file, of which :func:`may_be_picture` is true.
    """
    return _is_png_picture(data) if data.startswith(_PNG) else _is_jpeg_picture(data)


def _is_png_picture(data: bytes) -> bool:
    """By its chunks: four bytes of length, four of a type, the content, four of a checksum (PNG specification, 5.3)."""
    at = len(_PNG)
    while at + 8 <= len(data):
        length, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + length
        if kind == b"acTL":
            return False
        if kind == b"IEND":
            return not data.startswith(_PNG, at)
    return False


def _is_jpeg_picture(data: bytes) -> bool:
    """By its segments: a marker, two bytes of length with themselves, the content (ITU-T T.81, B.1)."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        at = found.end()
        if found[0] == _END:
            return not data.startswith(_JPEG, at)
        at += int.from_bytes(data[at : at + 2], "big")
    return False

"""The CRC-32 of a whole is computed here from those of its parts, which several connections computed. Pure."""

from __future__ import annotations

import functools

_POLYNOMIAL = 0xEDB88320  # of zlib's CRC-32, the lowest power in the highest bit
_ONE = 1 << 31


def joined(first: int, second: int, size: int) -> int:
    """The CRC-32 of two stretches of bytes that follow each other.

    A CRC is the remainder of a polynomial over GF(2): the first one's is moved by the second one's length and added.

    :param first: CRC-32 of what comes first.
    :param second: CRC-32 of what follows.
    :param size: bytes that follow.
    """
    return _product(_moved(size), first) ^ second


def _product(one: int, other: int) -> int:
    """Modulo the polynomial."""
    result, bit = 0, _ONE
    while bit:
        if one & bit:
            result ^= other
        bit >>= 1
        other = (other >> 1) ^ _POLYNOMIAL if other & 1 else other >> 1
    return result


@functools.lru_cache(maxsize=8)
def _moved(size: int) -> int:
    """x to the power of the bits in so many bytes; most parts have the same size."""
    result, power = _ONE, _ONE >> 8
    while size:
        if size & 1:
            result = _product(power, result)
        power = _product(power, power)
        size >>= 1
    return result

"""Deployment packages, entry by entry: those that are right, and those that cannot be unpacked."""

from __future__ import annotations

import io
import stat
import warnings
import zipfile
from collections.abc import Callable

FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
Entry = tuple[str, str | bytes, int]


def package(*entries: Entry, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of names, contents and modes."""
    held = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(held, "w", method) as archive:
        warnings.simplefilter("ignore")  # a name may stand twice
        for name, content, mode in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            entry.compress_type = method
            archive.writestr(entry, content)
    return held.getvalue()


def _changed(data: bytes, at: Callable[[bytes], int], to: bytes) -> bytes:
    place = at(data)
    return data[:place] + to + data[place + len(to) :]


GOOD = package(("m.py", "def handler(event, context):\n    return 1\n", FILE))
_TEXT = package(("m.py", "x = 1\n" * 5000, FILE))


def _central(data: bytes) -> int:
    return data.index(b"PK\x01\x02")


BROKEN = {
    "no zip": b"PK, but no more",
    "empty": package(),
    "corrupt deflated data": _changed(_TEXT, lambda data: 40, b"\xff" * 12),
    "corrupt stored data": _changed(
        package(("m.py", "x" * 500, FILE), method=zipfile.ZIP_STORED), lambda data: 100, b"y"
    ),
    "wrong sum": _changed(_TEXT, lambda data: _central(data) + 16, b"\1\2\3\4"),
    "a size that is not so": _changed(_TEXT, lambda data: _central(data) + 24, b"\xff\xff\0\0"),
    "encrypted": _changed(_TEXT, lambda data: _central(data) + 8, b"\x01\0"),
    "deflate64": _changed(_TEXT, lambda data: _central(data) + 10, b"\x09\0"),
    "a method that nobody knows": _changed(_TEXT, lambda data: _central(data) + 10, b"\xee\0"),
    "bzip2": package(("m.py", "x" * 5000, FILE), method=zipfile.ZIP_BZIP2),
    "lzma": package(("m.py", "x" * 5000, FILE), method=zipfile.ZIP_LZMA),
    "file and directory": package(("a", "1", FILE), ("a/b", "2", FILE)),
    "directory and file": package(("a/b", "2", FILE), ("a", "1", FILE)),
    "link and file": package(("a", "m", LINK), ("a", "1", FILE)),
    "directory and link": package(("a/", "", FILE), ("a", "b", LINK)),
    "a long name": package(("n" * 256, "1", FILE)),
    "a long name of few letters": package(("\u00e9" * 128, "1", FILE)),
    "a long directory": package(("d" * 256 + "/m.py", "1", FILE)),
    "a long way": package(("/".join(["d" * 250] * 17), "1", FILE)),
    "a deep way": package(("d/" * 1500 + "m", "1", FILE)),
    "an absolute name": package(("/tmp/x", "1", FILE)),  # noqa: S108
    "a name that leads out": package(("a/../../x", "1", FILE)),
    "a file without a name": package((".", "1", FILE)),
    "a link without a target": package(("a", "", LINK)),
    "a link that is too long": package(("a", "t" * 5000, LINK)),
    "a link that is no text": package(("a", b"\xff\xfe", LINK)),
    "a link with a zero byte": package(("a", b"a\0b", LINK)),
    "a file behind a link": package(("a", "b", LINK), ("b/c", "1", FILE), ("a/d", "2", FILE)),
    "a link behind a link": package(
        ("a/b/c/d/L", "../../../..", LINK), ("a/b/c/d/L/up", "../../../..", LINK), ("up/x", "1", FILE)
    ),
}
"""Packages that are refused, by what is wrong with them."""

"""The index of an MP4 or MOV film is read in parts: how many frames it has, how fast, and whether the file is whole.

The form is that of ISO/IEC 14496-12: boxes of four bytes of length, four of a type, and what is in them. Knows bytes
only; the parts that it asks for come from its caller.
"""

import struct
from codecs import getincrementaldecoder
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from fractions import Fraction

from mu_twisted.pipelines._examination import ObjectPart, PartWanted
from mu_twisted.pipelines._pictures import MAX_PICTURE, is_picture, may_be_picture

HEAD = 64 << 10
"""Bytes that are read first: often the index is in them."""
MAX_INDEX = 32 << 20
"""Bytes of an index; of a film with a larger one nothing is said. An hour has about a megabyte."""
MAX_BOXES = 40
"""Boxes at the top of a file that are looked at."""
_FIRST = frozenset({b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot"})
"""One of these begins such a file."""

_NO_FILMS = {
    b"%PDF-": "a PDF",
    b"PK\3\4": "a ZIP archive",
    b"\x1f\x8b": "compressed by gzip",
    b"\x7fELF": "a program",
}
_FILMS_OF_TEXT = (b"YUV4MPEG2", b"#EXTM3U", b"<?xml", b"<MPD")
"""Films, and lists of their parts, that begin with text."""


class IndexFault(Exception):
    """A film whose index says that it cannot be used; the text completes a sentence that begins with its name."""


@dataclass(frozen=True)
class Index:
    """What the index says of a film's pictures.

    :param frames: 0: there are no pictures.
    :param rate: frames a second, on the average.
    :param is_constant: whether no frame begins half a frame's time from where the average rate has it.
    """

    frames: int
    rate: Fraction
    is_constant: bool


def reading_index(key: str) -> Generator[PartWanted, ObjectPart, Index | None]:
    """Read the index of a film.

    :param key: of the object.
    :returns: None: it is none of these files, or one whose index says nothing of its frames, as of a live stream's.
    :raises IndexFault: it is cut off, or damaged, or known to be no film.
    """
    part = yield PartWanted(key, 0, HEAD)
    head, size = part.data, part.size
    if not size:
        raise IndexFault("is empty")
    if head[4:8] not in _FIRST:
        what = _no_film(head)
        if what is None and may_be_picture(head) and size <= MAX_PICTURE:
            whole = head if size <= len(head) else (yield PartWanted(key, 0, size)).data
            what = "a picture" if is_picture(whole) else None
        if what is not None:
            raise IndexFault(f"is no film: it is {what}")
        return None
    at, moov = 0, b""
    for _ in range(MAX_BOXES):
        if at == size:
            break
        header = head[at : at + 16]
        if len(header) < 16 and at + len(header) < size:
            header = (yield PartWanted(key, at, 16)).data
        if len(header) < 8:
            raise IndexFault("is cut off: it ends within a box")
        length, kind = struct.unpack(">I4s", header[:8])
        if length == 1 and len(header) == 16:
            (length,) = struct.unpack(">Q", header[8:])
        elif length == 0:
            length = size - at
        if length < 8:
            raise IndexFault("is damaged: a box is shorter than its header")
        if at + length > size:
            raise IndexFault(f"is cut off: {at + length - size} bytes are missing")
        if kind == b"moov":
            if length > MAX_INDEX:
                return None
            moov = head[at : at + length]
            if len(moov) < length:
                moov = (yield PartWanted(key, at, length)).data
        at += length
    else:
        return None
    if not moov:
        raise IndexFault("is cut off: it has no index (moov)")
    try:
        return _index(moov)
    except (struct.error, IndexError):
        raise IndexFault("is damaged: its index cannot be read") from None


def _no_film(head: bytes) -> str | None:
    """What a file is that has no pictures which move, by how it begins; None: it may be a film of some other form."""
    for beginning, what in _NO_FILMS.items():
        if head.startswith(beginning):
            return what
    if head.startswith(_FILMS_OF_TEXT):
        return None
    text = getincrementaldecoder("utf-8")()
    try:
        written = all(letter.isprintable() or letter in "\t\n\r\f" for letter in text.decode(head))
    except UnicodeDecodeError:
        return None
    return "text" if written else None


def _index(moov: bytes) -> Index | None:
    inside = dict(_boxes(moov, 8))
    if inside.keys() & {b"mvex", b"cmov"}:
        return None  # its frames stand in the fragments, or it is compressed
    for kind, track in _boxes(moov, 8):
        if kind != b"trak":
            continue
        media = dict(_boxes(dict(_boxes(track)).get(b"mdia", b"")))
        if media.get(b"hdlr", b"")[8:12] != b"vide":
            continue
        table = dict(_boxes(dict(_boxes(media.get(b"minf", b""))).get(b"stbl", b"")))
        clock = media.get(b"mdhd", b"")
        (ticks,) = struct.unpack_from(">I", clock, 20 if clock[:1] == b"\1" else 12)
        return _timed(table.get(b"stts", b""), ticks)
    return Index(0, Fraction(1), True)


def _timed(times: bytes, ticks: int) -> Index:
    """The index by the table of how many frames last how many ticks."""
    (count,) = struct.unpack_from(">I", times, 4) if times else (0,)
    runs = list(struct.iter_unpack(">II", times[8 : 8 + 8 * count]))
    if len(runs) < count:
        raise IndexError
    frames = sum(number for number, _ in runs)
    if not frames or not ticks:
        return Index(0, Fraction(1), True)
    # How long the last one lasts says nothing: it may be anything, and cut the film off earlier or later.
    began = sum(number * ticks_each for number, ticks_each in runs) - runs[-1][1]
    if frames == 1 or not began:
        return Index(frames, Fraction(ticks, runs[-1][1] or ticks), frames == 1)
    each, at, done, constant = Fraction(began, frames - 1), 0, 0, True
    for number, ticks_each in runs:
        at, done = at + number * ticks_each, done + number
        if done < frames and abs(at - done * each) * 2 > each:
            constant = False
    return Index(frames, ticks / each, constant)


def _boxes(data: bytes, at: int = 0) -> Iterator[tuple[bytes, bytes]]:
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length < 8:
            return
        yield kind, data[at + 8 : at + length]
        at += length

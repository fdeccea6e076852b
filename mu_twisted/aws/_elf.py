"""This module reads of ELF files what decides whether they run on Lambda: processor, static or not, libraries.

Reads the headers that the kernel and the loader read, and nothing of the program's code.
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mu_twisted.base import MuError

MAGIC = b"\x7fELF"
_PROCESSORS = {
    (3, 32): "x86 with 32 bits",
    (40, 32): "ARM with 32 bits",
    (62, 32): "x32",
    (62, 64): "x86_64",
    (183, 64): "arm64",
    (243, 64): "RISC-V",
    (21, 64): "PowerPC",
    (22, 64): "s390x",
}
_LINUX = (0, 3)
"""Values of EI_OSABI that programs for Linux have."""
_EXECUTABLE, _SHARED = 2, 3
_LOAD, _DYNAMIC, _INTERPRETER = 1, 2, 3
_NEEDED, _STRINGS, _RPATH, _RUNPATH, _FLAGS = 1, 5, 15, 29, 0x6FFFFFFB
_VERSIONS, _VERSION_COUNT = 0x6FFFFFFE, 0x6FFFFFFF
"""DT_VERNEED and DT_VERNEEDNUM: which versions of symbols it needs, and of how many libraries."""
_GLIBC = re.compile(r"GLIBC_(\d{1,3})\.(\d{1,3})(?:\.\d{1,3})?")
_RELATIVE = "GLIBC_ABI_DT_RELR"
"""What needs this has packed relocations, which glibc reads from 2.36 on."""
_IS_PROGRAM = 0x08000000
"""DF_1_PIE: what looks like a shared library is a program."""
_MAX_HEADERS, _MAX_TABLE, _MAX_TEXT = 1024, 1 << 20, 4096


class ElfError(MuError):
    """A file begins like an ELF file and is damaged."""


@dataclass(frozen=True)
class Elf:
    """The headers of an ELF file, as far as they matter here.

    :param processor: ``x86_64``, ``arm64``, or another one's name.
    :param linux: whether it is for Linux, or any system.
    :param kind: ``program``, ``library`` or ``other``.
    :param interpreter: path of the loader that it asks for.
    :param needed: names of the libraries that it asks for.
    :param glibc: the newest version of glibc of which it needs a symbol; None: of none, or of no glibc.
    :param rpath: directories in which it wants them looked for; the user's come before ``runpath``, after ``rpath``.
    """

    processor: str
    linux: bool
    kind: str
    interpreter: str | None = None
    needed: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    glibc: tuple[int, int] | None = None

    @property
    def static(self) -> bool:
        """Whether it needs nothing but the kernel."""
        return self.interpreter is None and not self.needed


def read_elf(path: Path) -> Elf | None:
    """Read a file's headers.

    :returns: None if it is no ELF file.
    :raises ElfError: it begins as one and is damaged.
    :raises OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            return None
        try:
            return _Reader(file).read()
        except (struct.error, LookupError, OverflowError) as error:
            raise ElfError(f"{path} is a damaged ELF file: {error}") from None


@dataclass
class _Segment:
    kind: int
    offset: int
    address: int
    size: int


@dataclass
class _Found:
    needed: list[int] = field(default_factory=list)
    paths: dict[int, int] = field(default_factory=dict)
    strings: int | None = None
    flags: int = 0
    versions: int | None = None
    libraries: int = 0


class _Reader:
    """Reads one file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        ident = self._at(0, 16)
        self._bits = {1: 32, 2: 64}[ident[4]]
        self._order = {1: "<", 2: ">"}[ident[5]]
        self._system = ident[7]

    def read(self) -> Elf:
        word = "Q" if self._bits == 64 else "I"
        kind, machine, _, _, table, _, _, _, size, count = self._unpack(f"HHI{word}{word}{word}IHHH", 16)
        segments = list(self._segments(table, size, min(count, _MAX_HEADERS)))
        by_kind = {segment.kind: segment for segment in segments}
        interpreter = by_kind.get(_INTERPRETER)
        found = self._dynamic(by_kind[_DYNAMIC]) if _DYNAMIC in by_kind else _Found()
        loader = self._text(interpreter.offset) if interpreter is not None else None
        needed = [self._string(found, at, segments) for at in found.needed]
        paths = {tag: tuple(self._string(found, at, segments).split(":")) for tag, at in found.paths.items()}
        is_program = kind == _EXECUTABLE or (kind == _SHARED and (loader is not None or found.flags & _IS_PROGRAM))
        return Elf(
            processor=self._processor(machine),
            linux=self._system in _LINUX,
            kind="program" if is_program else "library" if kind == _SHARED else "other",
            interpreter=loader,
            needed=tuple(needed),
            rpath=paths.get(_RPATH, ()),
            runpath=paths.get(_RUNPATH, ()),
            glibc=max(self._glibc(found, segments), default=None),
        )

    def _processor(self, machine: int) -> str:
        name = _PROCESSORS.get((machine, self._bits), f"a processor of number {machine}")
        return name if self._order == "<" else f"{name}, big-endian"

    def _segments(self, table: int, size: int, count: int) -> Iterator[_Segment]:
        for number in range(count):
            at = table + number * size
            if self._bits == 64:
                kind, _, offset, address, _, length = self._unpack("IIQQQQ", at)
            else:
                kind, offset, address, _, length = self._unpack("IIIII", at)
            yield _Segment(kind, offset, address, length)

    def _dynamic(self, segment: _Segment) -> _Found:
        found = _Found()
        width = 16 if self._bits == 64 else 8
        table = self._at(segment.offset, min(segment.size, _MAX_TABLE) // width * width)
        for tag, value in struct.iter_unpack(f"{self._order}{'QQ' if self._bits == 64 else 'II'}", table):
            if tag == 0:
                break
            if tag == _NEEDED:
                found.needed.append(value)
            elif tag in (_RPATH, _RUNPATH):
                found.paths[tag] = value
            elif tag == _STRINGS:
                found.strings = value
            elif tag == _FLAGS:
                found.flags = value
            elif tag == _VERSIONS:
                found.versions = value
            elif tag == _VERSION_COUNT:
                found.libraries = value
        return found

    def _glibc(self, found: _Found, segments: list[_Segment]) -> Iterator[tuple[int, int]]:
        """The versions of glibc of which it needs symbols (the layout is that of the Linux Standard Base)."""
        if found.versions is None:
            return
        at = self._offset(found.versions, segments)
        for _ in range(min(found.libraries, _MAX_HEADERS)):
            _, count, _, first, next_library = self._unpack("HHIII", at)
            entry = at + first
            for _ in range(min(count, _MAX_HEADERS)):
                _, _, _, name, next_entry = self._unpack("IHHII", entry)
                text = self._string(found, name, segments)
                version = _GLIBC.fullmatch(text)
                if version is not None:
                    yield int(version[1]), int(version[2])
                elif text == _RELATIVE:
                    yield 2, 36
                entry += next_entry
            at += next_library

    def _string(self, found: _Found, at: int, segments: list[_Segment]) -> str:
        if found.strings is None:
            raise LookupError("its libraries have no names")
        return self._text(self._offset(found.strings + at, segments))

    def _offset(self, address: int, segments: list[_Segment]) -> int:
        for segment in segments:
            if segment.kind == _LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise LookupError("what its libraries are called is not in the file")

    def _text(self, offset: int) -> str:
        self._seek(offset)
        text, end, _ = self._file.read(_MAX_TEXT).partition(b"\0")
        if not end:
            raise LookupError("a name in it does not end")
        return text.decode("utf-8", "surrogateescape")

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        form = self._order + form
        return struct.unpack(form, self._at(offset, struct.calcsize(form)))

    def _at(self, offset: int, size: int) -> bytes:
        self._seek(offset)
        data = self._file.read(size)
        if len(data) < size:
            raise LookupError("it ends too soon")
        return data

    def _seek(self, offset: int) -> None:
        if offset > self._size:
            raise LookupError("it points beyond its end")
        self._file.seek(offset)

"""ELF files made by hand."""

import struct

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_VERNEED, DT_VERNEEDNUM = 0x6FFFFFFE, 0x6FFFFFFF
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH, DT_FLAGS_1 = 1, 5, 15, 29, 0x6FFFFFFB


def make_elf(
    *,
    machine: int = 62,
    kind: int = 2,
    bits: int = 64,
    big: bool = False,
    system: int = 0,
    interpreter: bytes | None = None,
    dynamic: list[tuple[int, bytes | int]] | None = None,
    versions: list[bytes] | None = None,
) -> bytes:
    """A whole ELF file made by hand: header, program headers, strings, dynamic table.

    :param dynamic: entries; a text is put among the strings, and the entry points at it.
    :param versions: of symbols that it needs of its C library.
    """
    order = ">" if big else "<"
    wide = bits == 64
    head, entry = (64, 56) if wide else (52, 32)
    count = 1 + (interpreter is not None) + (dynamic is not None)
    at = head + entry * count
    base = 0x400000
    body = b""
    strings = b"\0"
    values: list[tuple[int, int]] = []
    for tag, value in dynamic or []:
        if isinstance(value, bytes):
            values.append((tag, len(strings)))
            strings += value + b"\0"
        else:
            values.append((tag, value))
    named = []
    for text in versions or []:
        named.append(len(strings))
        strings += text + b"\0"
    loader = (at, len(interpreter) + 1) if interpreter is not None else None
    if interpreter is not None:
        body += interpreter + b"\0"
    strings_at = at + len(body)
    body += strings
    if versions:
        dynamic = dynamic or []
        values += [(DT_VERNEED, base + at + len(body)), (DT_VERNEEDNUM, 1)]
        body += struct.pack(f"{order}HHIII", 1, len(named), 0, 16, 0)
        for number, name in enumerate(named):
            body += struct.pack(f"{order}IHHII", 0, 0, 0, name, 16 * (number < len(named) - 1))
    table_at = at + len(body)
    if dynamic is not None:
        values += [(DT_STRTAB, base + strings_at), (0, 0)]
        body += b"".join(struct.pack(f"{order}{'QQ' if wide else 'II'}", *pair) for pair in values)
    total = at + len(body)

    def segment(what: int, offset: int, size: int) -> bytes:
        if wide:
            return struct.pack(f"{order}IIQQQQQQ", what, 5, offset, base + offset, 0, size, size, 1)
        return struct.pack(f"{order}IIIIIIII", what, offset, base + offset, 0, size, size, 5, 1)

    segments = segment(PT_LOAD, 0, total)
    if loader is not None:
        segments += segment(PT_INTERP, *loader)
    if dynamic is not None:
        segments += segment(PT_DYNAMIC, table_at, len(values) * (16 if wide else 8))
    ident = b"\x7fELF" + bytes([2 if wide else 1, 2 if big else 1, 1, system]) + bytes(8)
    word = "Q" if wide else "I"
    header = struct.pack(
        f"{order}HHI{word}{word}{word}IHHHHHH", kind, machine, 1, base, head, 0, 0, head, entry, count, 0, 0, 0
    )
    return ident + header + segments + body

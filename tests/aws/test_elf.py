"""ELF files read: real ones, made ones, damaged ones."""

from collections.abc import Callable
from pathlib import Path

import pytest
from elf_files import DT_FLAGS_1, DT_NEEDED, DT_RPATH, DT_RUNPATH, make_elf
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import SHARED_FIXTURES, examples

from mu_twisted.aws._elf import ElfError, read_elf


def test_a_program_of_the_compiler_is_static_or_says_what_it_needs(compiled: Callable[..., Path]) -> None:
    dynamic = read_elf(compiled("dynamic"))
    assert dynamic is not None
    assert (dynamic.kind, dynamic.linux, dynamic.static) == ("program", True, False)
    assert dynamic.interpreter is not None
    assert any(name.startswith("libc.") for name in dynamic.needed)
    for name, flag in (("static", "-static"), ("static-pie", "-static-pie")):
        found = read_elf(compiled(name, flag))
        assert found is not None
        assert (found.kind, found.static, found.processor) == ("program", True, dynamic.processor)


def test_what_a_linker_was_told_about_directories_is_read(compiled: Callable[..., Path]) -> None:
    old = read_elf(compiled("rpath", "-Wl,--disable-new-dtags,-rpath,/one:/two"))
    new = read_elf(compiled("runpath", "-Wl,--enable-new-dtags,-rpath,$ORIGIN/lib"))
    assert old is not None
    assert new is not None
    assert (old.rpath, old.runpath) == (("/one", "/two"), ())
    assert (new.rpath, new.runpath) == ((), ("$ORIGIN/lib",))


def test_a_shared_library_is_no_program(compiled: Callable[..., Path]) -> None:
    found = read_elf(compiled("library.so", "-shared", "-fPIC"))
    assert found is not None
    assert found.kind == "library"


@pytest.mark.parametrize(
    ("header", "processor"),
    [
        ({"machine": 62}, "x86_64"),
        ({"machine": 183}, "arm64"),
        ({"machine": 183, "big": True}, "arm64, big-endian"),
        ({"machine": 62, "bits": 32}, "x32"),
        ({"machine": 3, "bits": 32}, "x86 with 32 bits"),
        ({"machine": 40, "bits": 32}, "ARM with 32 bits"),
        ({"machine": 999}, "a processor of number 999"),
    ],
)
def test_the_processor_stands_in_the_header(elf: Callable[..., Path], header: dict[str, int], processor: str) -> None:
    found = read_elf(elf(**header))
    assert found is not None
    assert (found.processor, found.kind, found.static) == (processor, "program", True)


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("big", [False, True])
def test_tables_of_both_widths_and_orders_are_read(elf: Callable[..., Path], bits: int, big: bool) -> None:
    entries = [(DT_NEEDED, b"libone.so"), (DT_NEEDED, b"libtwo.so"), (DT_RPATH, b"/a:/b"), (DT_RUNPATH, b"/c")]
    found = read_elf(elf(bits=bits, big=big, kind=3, interpreter=b"/lib/ld.so", dynamic=entries))
    assert found is not None
    assert (found.kind, found.interpreter, found.needed) == ("program", "/lib/ld.so", ("libone.so", "libtwo.so"))
    assert (found.rpath, found.runpath) == (("/a", "/b"), ("/c",))


def test_a_position_independent_program_without_a_loader_is_known_by_its_flag(elf: Callable[..., Path]) -> None:
    program, library = elf("p", kind=3, dynamic=[(DT_FLAGS_1, 0x08000000)]), elf("l", kind=3, dynamic=[])
    assert [found.kind for path in (program, library) if (found := read_elf(path))] == ["program", "library"]


def test_a_program_for_another_system_says_so(elf: Callable[..., Path]) -> None:
    assert [found.linux for system in (0, 3, 9) if (found := read_elf(elf(system=system)))] == [True, True, False]


@pytest.mark.parametrize("content", [b"", b"\x7f", b"#!/bin/sh\n", b"MZ\x90", b"\xcf\xfa\xed\xfe"])
def test_what_is_no_elf_file_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_elf(tmp_path / "file") is None


WHOLE = make_elf(kind=3, interpreter=b"/lib/ld.so", dynamic=[(DT_NEEDED, b"libone.so"), (DT_RUNPATH, b"/c")])


@given(
    cut=st.integers(4, len(WHOLE)),
    changes=st.lists(st.tuples(st.integers(4, len(WHOLE) - 1), st.binary(min_size=1, max_size=8)), max_size=4),
)
@settings(max_examples=examples(300), suppress_health_check=SHARED_FIXTURES)
def test_a_damaged_file_is_an_error_of_ours_or_reads_as_something(
    tmp_path: Path, cut: int, changes: list[tuple[int, bytes]]
) -> None:
    data = bytearray(WHOLE)
    for at, change in changes:
        data[at : at + len(change)] = change
    path = tmp_path / "damaged"
    path.write_bytes(data[:cut])
    try:
        told = repr(read_elf(path))
    except ElfError as error:
        told = str(error)
    assert told.startswith((f"{path} is a damaged ELF file: ", "Elf("))
    assert "\n" not in told

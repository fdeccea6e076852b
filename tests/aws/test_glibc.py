"""What a package needs of the C library, and what Lambda's images have."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_files import make_elf

from mu_twisted.aws import PackageError
from mu_twisted.aws._elf import read_elf
from mu_twisted.aws._glibc import check_glibc, glibc_of
from mu_twisted.aws._programs import LIBRARIES, collect_programs


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize(
    ("versions", "newest"),
    [
        ([b"GLIBC_2.2.5", b"GLIBC_2.34", b"GLIBC_2.4"], (2, 34)),
        ([b"GLIBC_2.9", b"GLIBC_2.10"], (2, 10)),
        ([b"GLIBC_2.2.5", b"GLIBC_ABI_DT_RELR"], (2, 36)),
        ([b"GLIBC_PRIVATE", b"GLIBCXX_3.4.30", b"OPENSSL_3.0.0"], None),
        ([], None),
    ],
)
def test_the_newest_version_that_a_file_needs_is_read(
    tmp_path: Path, bits: int, big: bool, versions: list[bytes], newest: tuple[int, int] | None
) -> None:
    path = tmp_path / "library.so"
    path.write_bytes(make_elf(kind=3, bits=bits, big=big, dynamic=[(1, b"libc.so.6")], versions=versions))
    found = read_elf(path)
    assert found is not None
    assert found.glibc == newest
    assert found.needed == ("libc.so.6",)


def test_it_is_what_the_linker_says(compiled: Callable[..., Path]) -> None:
    path = compiled("dynamic-glibc")
    said = subprocess.run(["readelf", "-V", path], capture_output=True, text=True, check=True).stdout
    versions = [
        tuple(map(int, word.removeprefix("GLIBC_").split(".")[:2]))
        for word in said.split()
        if word.startswith("GLIBC_") and word[6].isdigit()
    ]
    found, static = read_elf(path), read_elf(compiled("static-glibc", "-static"))
    assert found is not None
    assert found.glibc == max(versions, default=None) or "GLIBC_ABI_DT_RELR" in said
    assert static is not None
    assert static.glibc is None


def test_the_images_of_older_pythons_have_an_older_one() -> None:
    assert [glibc_of(name) for name in ("python3.11", "python3.12", "python3.14", "provided.al2023")] == [
        (2, 26),
        (2, 34),
        (2, 34),
        (2, 34),
    ]


def test_a_library_that_needs_a_newer_one_is_refused_and_named(tmp_path: Path) -> None:
    script, plugin, older = tmp_path / "run.sh", tmp_path / "plugin.so", tmp_path / "older.so"
    script.write_text("#!/bin/sh\n")
    plugin.write_bytes(make_elf(kind=3, dynamic=[], versions=[b"GLIBC_2.38"]))
    older.write_bytes(make_elf(kind=3, dynamic=[], versions=[b"GLIBC_2.27"]))
    assert collect_programs(script, [older], runtime="python3.13").notes == []
    for runtime, file, said in [
        ("python3.13", plugin, "plugin.so needs glibc 2.38, and python3.13 has 2.34 on Lambda: build it on an older"),
        ("python3.11", older, "older.so needs glibc 2.27, and python3.11 has 2.26 on Lambda"),
    ]:
        with pytest.raises(PackageError) as refused:
            collect_programs(script, [file], runtime=runtime)
        assert str(refused.value).startswith(said)
        assert "\n" not in str(refused.value)
    assert collect_programs(script, [plugin], runtime="python3.13", same_machine=True).notes == []
    with pytest.raises(PackageError, match="as 1 more file does"):
        collect_programs(script, [plugin, older], runtime="python3.11")


def test_wheels_are_looked_at_too_and_what_has_its_own_c_library_is_only_named(tmp_path: Path) -> None:
    script, plugin = tmp_path / "run.sh", tmp_path / "plugin.so"
    script.write_text("#!/bin/sh\n")
    plugin.write_bytes(make_elf(kind=3, dynamic=[], versions=[b"GLIBC_2.38"]))
    programs = collect_programs(script, runtime="python3.13")
    with pytest.raises(PackageError, match="python/plugin.so needs glibc 2.38"):
        programs.add_packages({"python/plugin.so": plugin})
    own = {f"{LIBRARIES}/libc.so.6": plugin, "plugin.so": plugin}
    (note,) = check_glibc(own, "python3.13", LIBRARIES)
    assert "only a program that is packed with its own libraries can load it" in note
    assert check_glibc({f"{LIBRARIES}/libc.so.6": plugin}, "python3.13", LIBRARIES) == []

"""Which programs become part of a package, and with what."""

import io
import os
import re
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from elf_files import DT_NEEDED, DT_RPATH, DT_RUNPATH, make_elf

from mu_twisted.aws._elf import read_elf
from mu_twisted.aws._libraries import LibraryError, find_libraries
from mu_twisted.aws._package import PackageError, build_package
from mu_twisted.aws._programs import collect_programs


def opened(package: bytes) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(package))


def unpack(members: dict[str, Path | bytes], place: Path) -> None:
    """As Lambda does, modes included."""
    with opened(build_package([], b"", members=members)) as archive:
        for entry in archive.infolist():
            archive.extract(entry, place)
            (place / entry.filename).chmod(entry.external_attr >> 16)


def test_a_static_program_goes_in_as_it_is(compiled: Callable[..., Path]) -> None:
    program = compiled("static", "-static")
    found = collect_programs(program)
    assert (found.members, found.notes) == ({"static": program}, [])


def test_a_dynamic_program_is_refused_with_what_it_needs(compiled: Callable[..., Path]) -> None:
    with pytest.raises(PackageError, match=r"dynamic is linked dynamically .*libc\.so.*--allow-ld"):
        collect_programs(compiled("dynamic"))
    with pytest.raises(PackageError, match="linked dynamically"):
        collect_programs(compiled("static", "-static"), [compiled("dynamic")])


def test_on_this_machine_a_dynamic_program_is_worth_a_note(compiled: Callable[..., Path]) -> None:
    program = compiled("dynamic")
    found = collect_programs(program, same_machine=True)
    assert found.members == {"dynamic": program}
    assert "--allow-ld" in found.notes[0]


@pytest.mark.parametrize("called", ["./dynamic", "{place}/dynamic", "dynamic"])
def test_a_dynamic_program_that_is_allowed_runs_on_its_own_libraries_alone(
    compiled: Callable[..., Path], tmp_path: Path, called: str
) -> None:
    found = collect_programs(compiled("dynamic"), allow_ld=True)
    place = tmp_path / "task"
    unpack(found.members, place)
    assert "its loader and 1 library (" in found.notes[0]
    called = called.format(place=place)
    done = subprocess.run(
        ["/bin/sh", "-c", f"{called} 'a  b' c"],
        cwd=place,
        env={"PATH": f"{place}:/usr/bin", "LD_LIBRARY_PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.splitlines()[1:] == ["a  b", "c"]
    loader = next(place.glob("mu_ld/ld-*"))
    listed = subprocess.run(
        [loader, "--library-path", place / "mu_ld", "--list", place / "mu_ld/bin/dynamic"],
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [word for word in listed.stdout.split() if word.startswith("/")]
    assert all(word.startswith((str(place), "/lib")) for word in paths)
    assert f"{place}/mu_ld/libc.so.6" in paths


def test_programs_share_libraries_and_two_builds_are_equal(compiled: Callable[..., Path]) -> None:
    first, second = compiled("dynamic"), compiled("another", "-g")
    builds = [build_package([], members=collect_programs(first, [second], allow_ld=True).members) for _ in range(2)]
    assert builds[0] == builds[1]
    with opened(builds[0]) as archive:
        assert {"dynamic", "another", "mu_ld/bin/dynamic", "mu_ld/bin/another"} < set(archive.namelist())


def test_a_real_program_of_the_linkers_is_refused_where_it_is_of_another_processor(
    compiled: Callable[..., Path],
) -> None:
    static = compiled("static", "-static")
    own = read_elf(static)
    assert own is not None
    other = {"x86_64": "arm64", "arm64": "x86_64"}[own.processor]
    with pytest.raises(PackageError, match=f"static is for {own.processor}, the function for {other}; --arch"):
        collect_programs(static, architecture=other)
    if own.processor != "x86_64":
        return
    bare = ["-ffreestanding", "-nostdlib", "-static", "-Wl,--entry=0"]
    for flag, name in (("-m32", "x86 with 32 bits"), ("-mx32", "x32")):
        program = compiled(f"bare{flag}", flag, *bare, source="int nothing;")
        with pytest.raises(PackageError, match=f"is for {name}, the function for x86_64: build it for that"):
            collect_programs(program)


def test_another_processors_program_is_refused(elf: Callable[..., Path]) -> None:
    program = elf(machine=183)
    with pytest.raises(PackageError, match=r"program is for arm64, the function for x86_64; --arch arm64, or build"):
        collect_programs(program)
    assert collect_programs(program, architecture="arm64").members == {"program": program}
    with pytest.raises(PackageError, match="is for RISC-V, the function for arm64: build it"):
        collect_programs(elf(machine=243), architecture="arm64")
    with pytest.raises(PackageError, match="not for Linux"):
        collect_programs(elf(system=9))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#!/usr/bin/perl\n", r"a script for perl, which Lambda's image does not have"),
        (b"#!/usr/bin/env -S\n", "a script for"),
        (b"#!\n", "a script for no interpreter"),
        (b"MZ\x90\0", "a program for Windows"),
        (b"\xcf\xfa\xed\xfe", "a program for macOS"),
        (b"hello\n", "neither ELF nor a script"),
        (b"", "neither ELF nor a script"),
        (b"\x7fELF\x02", "damaged ELF"),
    ],
)
def test_what_is_no_program_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "tool"
    path.write_bytes(content)
    with pytest.raises(PackageError, match=reason) as caught:
        collect_programs(path)
    assert "\n" not in str(caught.value)


def test_a_library_and_an_object_file_are_no_programs(elf: Callable[..., Path]) -> None:
    for path in (elf("lib.so", kind=3, dynamic=[]), elf("x.o", kind=1)):
        with pytest.raises(PackageError, match="not an executable"):
            collect_programs(path)


@pytest.mark.parametrize("first", [b"#!/bin/sh", b"#! /bin/bash -e", b"#!/usr/bin/env python3"])
def test_a_script_whose_interpreter_lambda_has_is_taken(tmp_path: Path, first: bytes) -> None:
    path = tmp_path / "tool"
    path.write_bytes(first + b"\n")
    assert collect_programs(path).members == {"tool": path}


def test_a_script_for_another_interpreter_is_taken_on_this_machine_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "tool"
    path.write_bytes(b"#!/usr/bin/perl\n")
    assert "perl" in collect_programs(path, same_machine=True).notes[0]


def test_extra_files_may_be_data_and_directories(elf: Callable[..., Path], tmp_path: Path) -> None:
    model = tmp_path / "models"
    (model / "deep").mkdir(parents=True)
    (model / "a.bin").write_bytes(b"a")
    (model / "deep" / "b.bin").write_bytes(b"b")
    table = tmp_path / "table.txt"
    table.write_bytes(b"t")
    members = collect_programs(elf(), [model, table]).members
    assert set(members) == {"program", "models/a.bin", "models/deep/b.bin", "table.txt"}
    with opened(build_package([], members=members)) as archive:
        assert archive.read("models/deep/b.bin") == b"b"


def test_two_files_of_one_name_are_refused(elf: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="would both be program"):
        collect_programs(elf(), [elf("other/program", machine=62, kind=2)])


@pytest.mark.parametrize("name", ["", "a//b", "../x", "/x", "a/./b"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(PackageError, match="cannot be a file's name"):
        build_package([], members={name: b""})


def test_nothing_takes_the_workers_place() -> None:
    for name in ("mu_command", "worker_lambda/x.py", "mu_twisted/wire/y.py", "worker_lambda"):
        with pytest.raises(PackageError, match="the worker would both"):
            build_package([], members={name: b""})


class System:
    """The libraries of another machine, in a directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, path: str, **how: object) -> Path:
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(make_elf(**{"machine": 183, "kind": 3, "dynamic": [], **how}))  # type: ignore[arg-type]
        return place

    def program(self, **how: object) -> Path:
        return self.put("home/program", interpreter=b"/lib/ld-linux-aarch64.so.1", **how)

    def libraries(self, program: Path, **environ: str) -> dict[str, Path]:
        elf = read_elf(program)
        assert elf is not None
        return find_libraries(program, elf, environ=environ, root=self.root)


@pytest.fixture
def system(tmp_path: Path) -> System:
    made = System(tmp_path)
    made.put("/lib/ld-linux-aarch64.so.1")
    return made


def needs(*names: bytes) -> list[tuple[int, bytes]]:
    return [(DT_NEEDED, name) for name in names]


def test_libraries_of_libraries_are_found_for_another_processor_too(system: System) -> None:
    one = system.put("/usr/lib/aarch64-linux-gnu/libone.so", dynamic=needs(b"libtwo.so"))
    two = system.put("/usr/lib/libtwo.so", dynamic=needs(b"libone.so"))
    system.put("/lib64/libtwo.so", machine=62)  # another processor's is passed over
    found = system.libraries(system.program(dynamic=needs(b"libone.so")))
    assert found == {
        "ld-linux-aarch64.so.1": system.root / "lib/ld-linux-aarch64.so.1",
        "libone.so": one,
        "libtwo.so": two,
    }


def test_directories_come_in_the_loaders_order(system: System) -> None:
    places = ["/r", "/env", "/run", "/etc-says", "/usr/lib"]
    made = [system.put(f"{place}/libone.so") for place in places]
    (system.root / "etc" / "conf.d").mkdir(parents=True)
    (system.root / "etc" / "ld.so.conf").write_text("# first\ninclude /etc/conf.d/*.conf\n")
    (system.root / "etc" / "conf.d" / "x.conf").write_text("/etc-says\n")
    environ = {"LD_LIBRARY_PATH": str(system.root / "env")}
    old = [*needs(b"libone.so"), (DT_RPATH, b"/r")]
    assert system.libraries(system.program(dynamic=old), **environ)["libone.so"] == made[0]
    new = [*needs(b"libone.so"), (DT_RPATH, b"/r"), (DT_RUNPATH, b"/run")]
    for expected in made[1:]:
        assert system.libraries(system.program(dynamic=new), **environ)["libone.so"] == expected
        expected.unlink()
    with pytest.raises(LibraryError, match="program needs libone.so, which is not on this machine"):
        system.libraries(system.program(dynamic=new), **environ)


def test_origin_is_where_the_file_is(system: System) -> None:
    one = system.put("/home/lib/libone.so")
    dynamic = [*needs(b"libone.so"), (DT_RUNPATH, b"${ORIGIN}/lib")]
    assert system.libraries(system.program(dynamic=dynamic))["libone.so"] == one


def test_musls_loader_has_its_own_directories(system: System) -> None:
    system.put("/lib/ld-musl-aarch64.so.1")
    (system.root / "etc").mkdir()
    (system.root / "etc" / "ld-musl-aarch64.path").write_text("/musl/lib\n")
    one = system.put("/musl/lib/libone.so")
    system.put("/usr/lib/libone.so")
    program = system.put("/p", interpreter=b"/lib/ld-musl-aarch64.so.1", dynamic=needs(b"libone.so"))
    assert system.libraries(program)["libone.so"] == one


def test_a_loader_that_is_not_here_is_named(system: System) -> None:
    program = system.put("/p", interpreter=b"/lib/ld-none.so")
    with pytest.raises(LibraryError, match="needs the loader /lib/ld-none.so"):
        system.libraries(program)


def test_what_this_machines_loader_would_load_is_what_is_found(compiled: Callable[..., Path]) -> None:
    program = compiled("math", "-Wl,--no-as-needed", "-lm", "-lpthread")
    elf = read_elf(program)
    assert elf is not None
    assert elf.interpreter is not None
    found = find_libraries(program, elf)
    listed = subprocess.run([elf.interpreter, "--list", program], capture_output=True, text=True, check=True).stdout
    told = {words[0]: words[2] for line in listed.splitlines() if (words := line.split())[1:2] == ["=>"]}
    assert {name: os.path.realpath(path) for name, path in found.items() if name in told} == {
        name: os.path.realpath(path) for name, path in told.items()
    }
    assert len(told) >= 2


@pytest.mark.parametrize(
    ("names", "runtime", "note"),
    [
        (
            ["a.cpython-311-x86_64-linux-gnu.so"],
            "python3.13",
            "^lib/a.cpython-311-x86_64-linux-gnu.so can be",
        ),
        (
            ["a.cpython-313-aarch64-linux-gnu.so"],
            "python3.12",
            "python3.13 only, .* is python3.12",
        ),
        (
            ["a.cpython-39.so", "b.cpython-310-x.so", "c.cpython-313-x.so"],
            "python3.13",
            "1 more .* python3.10, python3.9",
        ),
        (["a.cpython-313t-x86_64-linux-gnu.so"], "python3.13", r"python3\.13t only"),
        (["a.cpython-313-x86_64-linux-gnu.so", "a.abi3.so", "libb.so.1", "cpython-311.txt"], "python3.13", None),
        (["a.cpython-311-x86_64-linux-gnu.so"], None, None),
    ],
)
def test_extension_modules_of_another_python_are_noted(
    tmp_path: Path, names: list[str], runtime: str | None, note: str | None
) -> None:
    script = tmp_path / "find.py"
    script.write_text("#!/usr/bin/env python3\n")
    library = tmp_path / "lib"
    library.mkdir()
    for name in names:
        (library / name).write_bytes(b"any")
    notes = collect_programs(script, [library], runtime=runtime).notes
    if note is None:
        assert notes == []
    else:
        assert len(notes) == 1
        assert re.search(note, notes[0])

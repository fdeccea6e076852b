"""This module checks that a package's programs will run on Lambda, and collects the libraries they need there."""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mu_twisted.aws._elf import Elf, ElfError, read_elf
from mu_twisted.aws._glibc import check_glibc
from mu_twisted.aws._libraries import LibraryError, find_libraries
from mu_twisted.aws._package import PackageError
from mu_twisted.base import counted

ARCHITECTURES = ("x86_64", "arm64")
LIBRARIES = "mu_ld"
"""Directory of the package with loaders and libraries; the dynamic programs themselves are in its ``bin``."""
INTERPRETERS = ("sh", "bash", "python3")
"""Interpreters of scripts that Lambda's Python image has."""
_OTHER = {
    b"MZ": "a program for Windows",
    b"\xcf\xfa\xed\xfe": "a program for macOS",
    b"\xca\xfe\xba\xbe": "a program for macOS, or Java",
    b"PK": "a zip",
}

_EXTENSION = re.compile(r"\.cpython-(3[0-9]+t?)(?:-[^/]*)?\.so$")

_WRAPPER = """\
#!/bin/sh
# {name} is linked dynamically: it is started by its own loader, with the libraries that were packed with it.
case $0 in */*) here=${{0%/*}} ;; *) here=. ;; esac
exec "$here/{directory}/{loader}" --library-path "$here/{directory}" {argv0}"$here/{directory}/bin/{name}" "$@"
"""


@dataclass
class Programs:
    """The files of the package.

    :ivar members: files by their names in the package.
    :ivar notes: what the user should know, a line each.
    :ivar runtime: Lambda's identifier of the Python in whose image they will be; None: not known, or this machine.
    """

    members: dict[str, Path | bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    runtime: str | None = None

    def add_packages(self, packages: Mapping[str, Path | bytes], own: Collection[str] = ()) -> None:
        """Add the files of Python packages.

        :param packages: as :func:`~mu_twisted.aws.collect_requirements` yields them.
        :param own: packages that are among the programs already, and count in place of those among ``packages``.
        :raises PackageError: one has the name of a program or of a file beside it, or needs a newer C library than the
            function's Python has.
        """
        if self.runtime is not None:
            self.notes += check_glibc(packages, self.runtime, LIBRARIES)
        for name, content in packages.items():
            if name.split("/")[0] in own:
                continue
            if name in self.members:
                raise PackageError(f"{_text(self.members[name])} and a Python package would both be {name}; rename it")
            self.members[name] = content


def collect_programs(
    executable: Path,
    extra: Sequence[Path] = (),
    *,
    architecture: str = "x86_64",
    allow_ld: bool = False,
    same_machine: bool = False,
    runtime: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Programs:
    """Check the programs, and collect the files of the package.

    :param executable: the program that the function is created for.
    :param extra: further files, and directories with all that is in them.
    :param architecture: of the function, one of :data:`ARCHITECTURES`.
    :param allow_ld: whether dynamic programs are packed with their libraries and loader.
    :param same_machine: whether the function will run on this machine, where a dynamic program finds its libraries.
    :param runtime: Lambda's identifier of the Python that will import what is among them, such as ``python3.13``; None:
        nothing is said about extension modules.
    :param environ: for ``LD_LIBRARY_PATH``.
    :raises PackageError: one would not run there, or a file is missing; one line.
    """
    collecting = _Collecting(architecture, allow_ld, same_machine, environ)
    collecting.add(executable, executable.name, required=True)
    for path in extra:
        if path.is_dir():
            for file, name in _tree(path):
                collecting.add(file, name)
        else:
            collecting.add(path, path.name)
    if runtime is not None:
        collecting.found.notes += _foreign_modules(collecting.found.members, runtime)
    if runtime is not None and not same_machine:
        collecting.found.runtime = runtime
        collecting.found.notes += check_glibc(collecting.found.members, runtime, LIBRARIES)
    return collecting.found


def _foreign_modules(members: Iterable[str], runtime: str) -> list[str]:
    """Extension modules that another Python than the function's would import, one line for all; empty without any.

    Their names say which (PEP 3149); those for the stable ABI and for no Python at all say none.
    """
    foreign = {name: found for name in members if (found := _EXTENSION.search(name)) and _python(found) != runtime}
    if not foreign:
        return []
    first, *others = foreign
    more = f" and {len(others)} more" if others else ""
    theirs = ", ".join(sorted({_python(found) for found in foreign.values()}))
    what = f"{first}{more} can be imported by {theirs} only"
    return [f"{what}, and the function's Python is {runtime}: pack that one's modules, for example by --requirements"]


def _python(found: re.Match[str]) -> str:
    return f"python{found[1][0]}.{found[1][1:]}"


def _tree(directory: Path) -> Iterator[tuple[Path, str]]:
    base = directory.resolve()
    for parent, below, names in os.walk(directory):
        below.sort()
        for name in sorted(names):
            path = Path(parent) / name
            yield path, f"{base.name}/{path.relative_to(directory).as_posix()}"


class _Collecting:
    def __init__(self, architecture: str, allow_ld: bool, same_machine: bool, environ: Mapping[str, str]) -> None:
        self.found = Programs()
        self._architecture = architecture
        self._allow_ld = allow_ld
        self._same_machine = same_machine
        self._environ = environ

    def add(self, path: Path, name: str, *, required: bool = False) -> None:
        """Add a file.

        :param required: whether it must be a program.
        """
        try:
            elf = read_elf(path)
            if elf is not None:
                self._add_elf(path, name, elf, required)
                return
            if required:
                self._check_script(path)
        except OSError as error:
            raise PackageError(f"cannot pack {path}: {error.strerror or error}") from None
        except (ElfError, LibraryError) as error:
            raise PackageError(str(error)) from None
        self._put(name, path, path)

    def _add_elf(self, path: Path, name: str, elf: Elf, required: bool) -> None:
        if required and elf.kind != "program":
            raise PackageError(f"{path} is not an executable but a shared library or an object file: give a program")
        if elf.kind != "other" and (elf.processor != self._architecture or not elf.linux):
            what = elf.processor if elf.linux else f"{elf.processor} but not for Linux"
            hint = f"; --arch {elf.processor}, or" if elf.linux and elf.processor in ARCHITECTURES else ":"
            raise PackageError(f"{path} is for {what}, the function for {self._architecture}{hint} build it for that")
        if elf.kind != "program" or elf.static:
            self._put(name, path, path)
        elif self._allow_ld:
            self._add_dynamic(path, name, elf)
        elif self._same_machine:
            self.found.notes.append(
                f"{path} is linked dynamically: it runs on this machine's libraries, on AWS only with --allow-ld"
            )
            self._put(name, path, path)
        else:
            needs = ", ".join(elf.needed) or elf.interpreter
            raise PackageError(
                f"{path} is linked dynamically (it needs {needs}), and Lambda has other libraries than this machine: "
                "link it statically, or give --allow-ld (ALLOW_LD=1) to pack its libraries with it"
            )

    def _add_dynamic(self, path: Path, name: str, elf: Elf) -> None:
        if elf.interpreter is None:
            raise PackageError(f"{path} needs libraries but names no loader: link it statically")
        libraries = find_libraries(path, elf, environ=self._environ)
        loader = Path(elf.interpreter).name
        knows_argv0 = b"--argv0" in libraries[loader].read_bytes()
        script = _WRAPPER.format(
            name=name, directory=LIBRARIES, loader=loader, argv0='--argv0 "$0" ' if knows_argv0 else ""
        )
        if "/" in name:
            raise PackageError(f"{path} is linked dynamically: give it as EXE or EXTRA by itself, not in a directory")
        self._put(name, script.encode(), path)
        self._put(f"{LIBRARIES}/bin/{name}", path, path)
        for wanted, library in sorted(libraries.items()):
            self._put(f"{LIBRARIES}/{wanted}", library, library)
        others = counted(len(libraries) - 1, "library", "libraries")
        size = sum(library.stat().st_size for library in libraries.values())
        self.found.notes.append(
            f"{path} is linked dynamically: packed with its loader and {others} "
            f"({size / 1e6:.1f} MB: {', '.join(sorted(libraries))}); what it loads by itself later is not among them"
        )

    def _check_script(self, path: Path) -> None:
        with path.open("rb") as file:
            start = file.read(256)
        if not start.startswith(b"#!"):
            kind = next((what for magic, what in _OTHER.items() if start.startswith(magic)), "neither ELF nor a script")
            raise PackageError(f"{path} is no Linux executable: it is {kind}")
        words = start[2:].split(b"\n", 1)[0].decode("utf-8", "replace").split()
        name = Path(words[0]).name if words else ""
        if name == "env":
            name = Path(words[1]).name if len(words) > 1 else ""
        if name in INTERPRETERS:
            return
        problem = f"{path} is a script for {name or 'no interpreter'}, which Lambda's image does not have"
        if not self._same_machine:
            raise PackageError(
                f"{problem} (it has {', '.join(INTERPRETERS)}): give a static {name or 'interpreter'} as EXE and the "
                "script as EXTRA"
            )
        self.found.notes.append(f"{problem}; this machine may")

    def _put(self, name: str, content: Path | bytes, path: Path) -> None:
        before = self.found.members.get(name)
        if before is None:
            self.found.members[name] = content
        elif not _equal(before, content):
            raise PackageError(f"{path} and {_text(before)} would both be {name} in the package; rename one of them")
        elif "/" not in name:
            raise PackageError(f"{path} and {_text(before)} would both be {name} in the package; leave one out")


def _equal(one: Path | bytes, other: Path | bytes) -> bool:
    if isinstance(one, bytes) or isinstance(other, bytes):
        return one == other
    return one.resolve() == other.resolve() or one.read_bytes() == other.read_bytes()


def _text(content: Path | bytes) -> str:
    return str(content) if isinstance(content, Path) else "another"

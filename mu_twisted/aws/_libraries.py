"""This module finds a dynamic program's libraries on this machine by the loader's rules, without running the loader.

So it works for programs of another processor too, and the program is not executed.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mu_twisted.aws._elf import Elf, ElfError, read_elf
from mu_twisted.base import MuError

MAX_LIBRARIES = 1000
_TRIPLES = {"x86_64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
_MUSL = {"x86_64": "x86_64", "arm64": "aarch64"}
_CONF = "etc/ld.so.conf"


class LibraryError(MuError):
    """A library that a program needs is not on this machine."""


def find_libraries(
    program: Path, elf: Elf, *, environ: Mapping[str, str] = os.environ, root: Path = Path("/")
) -> dict[str, Path]:
    """Find all libraries that a program needs to start, and its loader.

    Libraries that it opens while it runs (name services, plug-ins) are in no header and are not found.

    :param elf: its headers, by :func:`~mu_twisted.aws._elf.read_elf`.
    :param environ: ``LD_LIBRARY_PATH`` counts as for the loader.
    :param root: directory of the system whose libraries they are.
    :returns: the files, by the names under which the program asks for them; the loader by its file's name.
    :raises LibraryError: one is missing; the text names it, and the file that needs it.
    """
    found: dict[str, Path] = {}
    if elf.interpreter is not None:
        loader = root / elf.interpreter.lstrip("/")
        if not loader.is_file():
            raise LibraryError(f"{program} needs the loader {elf.interpreter}, which is not on this machine")
        found[loader.name] = loader
    system = list(_system_directories(elf, root))
    waiting: list[tuple[Path, Elf, tuple[Path, ...]]] = [(program, elf, ())]
    while waiting:
        path, now, inherited = waiting.pop(0)
        own = () if now.runpath else tuple(_expanded(now.rpath, path, now, root)) + inherited
        directories = [*own, *_from_environment(environ), *_expanded(now.runpath, path, now, root), *system]
        for name in now.needed:
            if name in found:
                continue
            library = _look(name, elf, directories)
            if library is None:
                raise LibraryError(f"{path} needs {name}, which is not on this machine: install it, or link statically")
            if len(found) >= MAX_LIBRARIES:
                raise LibraryError(f"{program} needs more than {MAX_LIBRARIES} libraries")
            found[Path(name).name] = library[0]
            waiting.append((*library, own))
    return found


def _look(name: str, wanted: Elf, directories: Iterable[Path]) -> tuple[Path, Elf] | None:
    candidates = [Path(name)] if "/" in name else [directory / name for directory in directories]
    for path in candidates:
        try:
            elf = read_elf(path)
        except (OSError, ElfError):
            continue
        if elf is not None and elf.processor == wanted.processor:
            return path, elf
    return None


def _from_environment(environ: Mapping[str, str]) -> Iterator[Path]:
    return (Path(text or ".") for text in _parts(environ.get("LD_LIBRARY_PATH", "")))


def _parts(text: str) -> list[str]:
    return text.replace(";", ":").split(":") if text else []


def _expanded(texts: Iterable[str], path: Path, elf: Elf, root: Path) -> Iterator[Path]:
    """The directories of an rpath, in which ``$ORIGIN`` is where the file itself is."""
    origin = str(path.resolve().parent)
    for text in texts:
        if "ORIGIN" not in text:
            text = str(root / text.lstrip("/"))
        for name, value in (("ORIGIN", origin), ("LIB", "lib"), ("PLATFORM", elf.processor)):
            text = text.replace(f"${{{name}}}", value).replace(f"${name}", value)
        yield Path(text)


def _system_directories(elf: Elf, root: Path) -> Iterator[Path]:
    if elf.interpreter is not None and "ld-musl" in elf.interpreter:
        conf = root / f"etc/ld-musl-{_MUSL.get(elf.processor, '')}.path"
        text = conf.read_text(errors="replace") if conf.is_file() else "/lib:/usr/local/lib:/usr/lib"
        yield from (root / part.lstrip("/") for part in text.replace("\n", ":").split(":") if part)
        return
    yield from _configured(root / _CONF, root, 0)
    triple = _TRIPLES.get(elf.processor, "")
    for name in (f"lib/{triple}", f"usr/lib/{triple}", "lib64", "usr/lib64", "lib", "usr/lib", f"usr/{triple}/lib"):
        yield root / name


def _configured(path: Path, root: Path, depth: int) -> Iterator[Path]:
    """The directories of ``ld.so.conf`` and what it includes."""
    if depth > 8 or not path.is_file():
        return
    for line in path.read_text(errors="replace").splitlines():
        words = line.partition("#")[0].split()
        if len(words) == 2 and words[0] == "include":
            where = root if words[1].startswith("/") else path.parent
            for included in sorted(where.glob(words[1].lstrip("/"))):
                yield from _configured(included, root, depth + 1)
        elif len(words) == 1 and words[0].startswith("/"):
            yield root / words[0].lstrip("/")

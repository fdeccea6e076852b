"""What a function's C library must have for the libraries in its package is compared with what AWS's has.

A program that is packed with its own loader and libraries brings its C library along; a static one has none. What is
loaded by the function's own Python, as the modules of wheels are, or by another program of its image, is bound to the
image's.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from mu_twisted.aws._elf import ElfError, read_elf
from mu_twisted.aws._package import PackageError
from mu_twisted.base import counted

_RUNTIME = re.compile(r"python3\.(\d{1,2})")
AMAZON_LINUX_2, AMAZON_LINUX_2023 = (2, 26), (2, 34)
"""Their versions of glibc (AWS: "Lambda runtimes" says which runtime has which; their release notes the versions)."""


def glibc_of(runtime: str) -> tuple[int, int]:
    """The version of glibc that the image of one of Lambda's runtimes has.

    :param runtime: as ``python3.13``; of one that is none of Python's, the newest.
    """
    found = _RUNTIME.fullmatch(runtime)
    return AMAZON_LINUX_2 if found is not None and int(found[1]) < 12 else AMAZON_LINUX_2023


def check_glibc(members: Mapping[str, Path | bytes], runtime: str, bundled: str) -> list[str]:
    """Look for ELF files that need a newer glibc than the function's image has.

    :param members: files by their names in the package.
    :param runtime: Lambda's identifier of the function's Python.
    :param bundled: the directory of the package with programs' own loader and libraries, which are left out.
    :returns: what the user should know, a line: where programs bring their own C library, it may be theirs that loads
        such a file.
    :raises PackageError: there are some, and no program brings a C library; one line.
    """
    there = glibc_of(runtime)
    newer: dict[str, tuple[int, int]] = {}
    own = False
    for name, content in members.items():
        if name.startswith(f"{bundled}/"):
            own = True
            continue
        if not isinstance(content, Path):
            continue
        try:
            elf = read_elf(content)
        except (OSError, ElfError) as error:
            raise PackageError(f"cannot pack {name}: {error}") from None
        if elf is not None and elf.glibc is not None and elf.glibc > there:
            newer[name] = elf.glibc
    if not newer:
        return []
    first = next(iter(newer))
    more = f", as {counted(len(newer) - 1, 'more file does', 'more files do')}" if len(newer) > 1 else ""
    what = f"{first} needs glibc {_shown(newer[first])}{more}, and {runtime} has {_shown(there)} on Lambda"
    if own:
        return [f"{what}: only a program that is packed with its own libraries can load it"]
    raise PackageError(f"{what}: build it on an older system, take an older wheel, or a container image (--image)")


def _shown(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"

"""The fake encoders stand in for real ones in demos and tests: one program in C, compiled when it is needed."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mu_twisted.cli.demo._compile import CompileError, compile_c

__all__ = ["SOURCE", "TOOLS", "CompileError", "make_fake_encoders"]

SOURCE = Path(__file__).with_name("fake_encoders.c")
TOOLS = ("vpxenc", "xc-dump", "xc-terminate-chunk", "xc-enc", "comp-states")
"""The programs that it stands in for, by the name under which it is run."""


def make_fake_encoders(
    directory: Path, names: Sequence[str] = TOOLS, *, state_bytes: int = 50_000, differ_status: int = 1
) -> list[Path]:
    """Compile the program, once for each name.

    :param directory: where the programs are written; created if it does not exist.
    :param names: some of :data:`TOOLS`.
    :param state_bytes: size of the states that it makes.
    :param differ_status: exit status of comp-states where they differ; 0 in tools of before September 2016.
    :returns: the programs, in the order of ``names``.
    :raises CompileError: there is no C compiler, or it fails.
    """
    paths = [directory / name for name in names]
    words = ["-std=gnu11", "-O2", f"-DSTATE_BYTES={state_bytes}", f"-DDIFFER_STATUS={differ_status}"]
    compile_c(SOURCE, paths[0], words, "fake encoders in place of alfalfa's tools")
    for path in paths[1:]:
        shutil.copy2(paths[0], path)
    return paths

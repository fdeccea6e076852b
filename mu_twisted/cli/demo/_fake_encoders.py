"""Builds the stand-in for the encoders, which the demonstration and the tests use where the real ones cannot be had."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mu_twisted.cli.demo._compile import compile_c

SOURCE = Path(__file__).with_name("fake_encoders.c")
TOOLS = ("vpxenc", "xc-dump", "xc-terminate-chunk", "xc-enc", "comp-states")
"""Which programs it can be, by the name that it is called by."""


def make_fake_encoders(
    directory: Path, names: Sequence[str] = TOOLS, *, state_bytes: int = 50_000, differ_status: int = 1
) -> list[Path]:
    """Compile it.

    :param directory: where to; made if it is not there.
    :param names: some of :data:`TOOLS`.
    :param state_bytes: size of the states that it makes.
    :param differ_status: exit status of comp-states where they differ; 0 in tools of before September 2016.
    :returns: the programs, in the order of ``names``.
    :raises CompileError: there is no C compiler, or it fails.
    """
    made = [directory / name for name in names]
    words = ["-std=gnu11", "-O2", f"-DSTATE_BYTES={state_bytes}", f"-DDIFFER_STATUS={differ_status}"]
    compile_c(SOURCE, made[0], words, "the stand-in for alfalfa's tools")
    for path in made[1:]:
        shutil.copy2(made[0], path)
    return made

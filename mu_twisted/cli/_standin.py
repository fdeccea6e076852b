"""Builds the stand-in for the encoders, which the demonstration and the tests use where the real ones cannot be had."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from mu_twisted.wire import MuError

SOURCE = Path(__file__).with_name("standin.c")
TOOLS = ("vpxenc", "xc-dump", "xc-terminate-chunk", "xc-enc", "comp-states")
"""Which programs it can be, by the name that it is called by."""


class StandinError(MuError):
    """The stand-in cannot be built."""


def make_standin(directory: Path, names: Sequence[str] = TOOLS, *, state_bytes: int = 50_000) -> list[Path]:
    """Compile it.

    :param directory: where to; made if it is not there.
    :param names: some of :data:`TOOLS`.
    :param state_bytes: size of the states that it makes.
    :returns: the programs, in the order of ``names``.
    :raises StandinError: there is no C compiler, or it fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise StandinError("the stand-in for alfalfa's tools is compiled here and there is no `cc`: install gcc")
    directory.mkdir(parents=True, exist_ok=True)
    made = [directory / name for name in names]
    words = ["-std=gnu11", "-O2", f"-DSTATE_BYTES={state_bytes}", "-o", str(made[0]), str(SOURCE)]
    done = subprocess.run([compiler, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise StandinError(f"the stand-in for alfalfa's tools cannot be compiled: {done.stderr.strip()[:300]}")
    for path in made[1:]:
        shutil.copy2(made[0], path)
    return made

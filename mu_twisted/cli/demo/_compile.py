"""A program of ours in C is compiled here, for demos and tests."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from mu_twisted.base import MuError
from mu_twisted.cli.demo._programs import run_program

_SHOWN = 300


class CompileError(MuError):
    """A program cannot be compiled."""


def compile_c(source: Path, target: Path, words: Sequence[str], what: str, libraries: Sequence[str] = ()) -> None:
    """Compile one file.

    :param words: for the compiler, before the source.
    :param what: what it is, for errors.
    :param libraries: for the linker, behind the source.
    :raises CompileError: there is no C compiler, or it fails.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        raise CompileError(f"{what} is compiled here and there is no `cc`: install gcc")
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [compiler, *words, "-o", str(target), str(source), *libraries]
    done = run_program(command)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise CompileError(f"{what} cannot be compiled: {said[:_SHOWN]}")

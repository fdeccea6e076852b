"""``mu linpack`` compiles the program that the linpack pipeline runs where there is no other."""

import argparse
import json
from pathlib import Path

from mu_twisted.cli._parser import CommandParsers
from mu_twisted.cli.demo._compile import compile_c

SOURCE = Path(__file__).with_name("linpack.c")


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "linpack",
        help="compile a benchmark for the linpack pipeline",
        description="Compile a small benchmark in the manner of LINPACK, linked statically, so that it runs on "
        "Lambda, and print where it is. `linpack [ORDER [SECONDS]]` solves dense systems of linear equations for at "
        "least SECONDS (default: 1) and says its rate. The pipeline linpack does as well with any other program that "
        "prints MFLOPS.",
    )
    parser.add_argument(
        "file", metavar="FILE", nargs="?", type=Path, default=Path("linpack"), help="where to (default: ./linpack)"
    )
    parser.add_argument("--json", action="store_true", help="print where it is as JSON, on one line")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """Compile it."""
    make_linpack(options.file)
    path = str(options.file if options.file.is_absolute() or options.file.parent.name else f"./{options.file}")
    print(json.dumps({"file": path}) if options.json else path)


def make_linpack(path: Path) -> Path:
    """Compile the benchmark.

    :param path: of the program.
    :raises CompileError: there is no C compiler, or it fails.
    """
    words = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O3", "-static"]
    compile_c(SOURCE, path, words, "the benchmark", ["-lm"])
    return path

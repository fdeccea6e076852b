"""``mu demo-shuffle`` sorts records on this machine alone: each worker sends a part of its own to every other."""

import argparse
import time
from contextlib import ExitStack
from pathlib import Path

from mu_twisted.aws import build_package
from mu_twisted.base import counted
from mu_twisted.cli._parser import CommandParsers, whole_number
from mu_twisted.cli.demo._compile import compile_c
from mu_twisted.cli.demo.fixtures import BUCKET, DemoError, control_of, run_job, set_up, start_rendezvous

FUNCTION = "shuffle_demo"
SOURCE = Path(__file__).with_name("records.c")


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "demo-shuffle",
        help="sort records on this machine, each worker sending a part to every other",
        description="Sort records of 100 bytes on workers that exchange parts with one another: directly, by the "
        "rendezvous alone, and through S3; prove the order, and say how long each took. Needs a C compiler. Uses "
        "loopback only; leaves nothing.",
    )
    parser.add_argument("--tasks", type=whole_number(1, 200), default=16, help="workers (default: 16)")
    parser.add_argument(
        "--records", type=whole_number(1, 10_000_000), default=1_000_000, help="records (default: 1000000, 100 MB)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The demo, phase by phase."""
    with ExitStack() as cleanup:
        work, clock, stack = set_up(cleanup)
        control = control_of(stack)
        with clock.phase("compile the program that makes, splits and sorts records, and create the function"):
            program = make_records(work / "records")
            control.create_bucket(BUCKET)
            control.create_function(FUNCTION, build_package([program]))
        with clock.phase("start a rendezvous"):
            port = start_rendezvous(work, clock, cleanup)
        words = ["shuffle", "-n", options.tasks, "-r", options.records, "-b", BUCKET, "-l", FUNCTION, "-T", port]
        ways = {
            "directly": [["--out", "direct"]],
            "by the rendezvous alone": [["--out", "relay", "--peer", "relay"]],
            "through S3, as two jobs": [["--out", "s3", "--by", "s3", "--stage", one] for one in ("split", "merge")],
        }
        small = ["shuffle", "-n", options.tasks, "-r", min(1000, options.records), *words[5:], "--out", "warm"]
        run_job("sort a few records, so that no way is the first", work, clock, cleanup, *small)
        took = {}
        for way, jobs in ways.items():
            what = f"sort {counted(options.records, 'record')} on {counted(options.tasks, 'worker')} {way}"
            begin = time.monotonic()
            for number, more in enumerate(jobs, 1):
                phase = what if len(jobs) == 1 else f"{what} ({number} of {len(jobs)})"
                run_job(phase, work, clock, cleanup, *words, *more)
            took[way] = time.monotonic() - begin
        with clock.phase("compare what came out"):
            for task in range(options.tasks):
                one, *others = (control.get_object(BUCKET, f"{way}/{task:08d}") for way in ("direct", "relay", "s3"))
                if others != [one, one]:
                    raise DemoError(f"object {task} is not the same by all ways")
    for way, seconds in took.items():
        clock.say(f"{seconds:6.1f} s  {way}")
    clock.report()
    print("read on: docs/links.md")


def make_records(path: Path) -> Path:
    """Compile the program.

    :param path: of the program.
    :raises CompileError: there is no C compiler, or it fails.
    """
    words = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2", "-static"]
    compile_c(SOURCE, path, words, "the program for records")
    return path

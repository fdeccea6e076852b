"""``mu demo-xcenc`` runs ExCamera's pipeline on this machine alone: each chunk sends its encoder state to the next.

The first encodes are Debian's vpxenc's. Alfalfa's tools, which no distribution has, are faked by a program that
keeps their rules and encodes nothing, so what comes out is no video; that every chunk begins with the state that the
one before it ended with is checked all the same.
"""

import argparse
import shutil
from contextlib import ExitStack
from pathlib import Path

from mu_twisted.aws import AwsControl, build_package
from mu_twisted.base import counted
from mu_twisted.cli._parser import CommandParsers, whole_number
from mu_twisted.cli._timeline import timeline
from mu_twisted.cli.demo._programs import run_program
from mu_twisted.cli.demo.fake_encoders import make_fake_encoders
from mu_twisted.cli.demo.fixtures import (
    BUCKET,
    DemoError,
    control_of,
    find_ffmpeg,
    run_ffmpeg,
    run_job,
    set_up,
    start_rendezvous,
)

VIDEO = "testsrc"
FUNCTION = "xcenc_demo"
WIDTH, HEIGHT = 320, 176
STATE_BYTES = 500_000
ENCODERS = ("xc-dump", "xc-terminate-chunk", "xc-enc", "comp-states")


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "demo-xcenc",
        help="run xcenc on this machine, with a rendezvous",
        description="Make a clip, encode its chunks with xcenc on workers that send encoder states to one another "
        "through a rendezvous, and draw what each was doing when. Needs vpxenc (Debian: vpx-tools) and a C compiler; "
        "alfalfa's tools are faked. Uses loopback only; leaves nothing.",
    )
    parser.add_argument("--chunks", type=whole_number(1, 200), default=8, help="chunks, each on a worker (default: 8)")
    parser.add_argument("--frames", type=whole_number(1, 240), default=6, help="frames of a chunk (default: 6)")
    parser.add_argument("--group", type=whole_number(1, 200), help="chunks of a group (default: all)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The demo, phase by phase."""
    chunks, group = options.chunks, options.group or options.chunks
    encoder, ffmpeg = _vpxenc(), find_ffmpeg()
    with ExitStack() as cleanup:
        work, clock, stack = set_up(cleanup)
        control = control_of(stack)
        with clock.phase("compile fake encoders in place of alfalfa's tools"):
            tools = make_fake_encoders(work / "tools", ENCODERS, state_bytes=STATE_BYTES)
        made = counted(chunks, "chunk")
        with clock.phase(f"make {made} of {counted(options.frames, 'frame')} of {WIDTH}x{HEIGHT}, store them in S3"):
            control.create_bucket(BUCKET)
            for number, video in enumerate(_chunks(ffmpeg, chunks, options.frames)):
                control.put_object(BUCKET, f"{VIDEO}/{number:08d}.y4m", video)
        with clock.phase("build the function's zip (worker, vpxenc, fake encoders) and create the function"):
            # Debian's vpxenc wants libraries, which this machine has: the stack's environments run on it.
            control.create_function(FUNCTION, build_package([encoder, *tools], names={encoder: "vpxenc"}))
        with clock.phase("start a rendezvous"):
            port = start_rendezvous(work, clock, cleanup)
        words = ["xcenc", "-T", port, "-O", work / "times", "-u", "-n", chunks, "-K", group]
        words += ["-v", VIDEO, "-b", BUCKET, "-l", FUNCTION]
        run_job(f"run xcenc on {counted(chunks, 'worker')}", work, clock, cleanup, *words)
        with clock.phase("check that every chunk begins where the one before it ended"):
            for number in range(chunks):
                _check(control, work / "tools", number, head=number % group == 0)
        clock.say(f"made {made}: s3://{BUCKET}/{VIDEO}/out/{0:08d}.ivf ... {chunks - 1:08d}.ivf")
        clock.say("what each was doing when (-O):")
        for line in timeline((work / "times").read_text().splitlines(), unit="chunk"):
            clock.say(f"   {line}")
    clock.report()
    print("read on: docs/xcenc.md (the real encoder, and on AWS)")


def _vpxenc() -> Path:
    found = shutil.which("vpxenc")
    if found is None:
        raise DemoError("the demo needs vpxenc, which is not installed: as root, apt-get install vpx-tools")
    return Path(found)


def _chunks(ffmpeg: Path, chunks: int, frames: int) -> list[bytes]:
    """A clip as Y4M, cut. Every frame has the same size: 4:2:0, one byte and a half a pixel, and six for its mark."""
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=24"
    words = ["-f", "lavfi", "-i", source, "-frames:v", str(chunks * frames), "-pix_fmt", "yuv420p"]
    header, newline, clip = run_ffmpeg(ffmpeg, *words, "-f", "yuv4mpegpipe", "-").partition(b"\n")
    size = (WIDTH * HEIGHT * 3 // 2 + len(b"FRAME\n")) * frames
    if len(clip) != size * chunks:
        raise DemoError(f"ffmpeg made a clip of {len(clip)} bytes, expected {size * chunks}")
    return [header + newline + clip[number * size : (number + 1) * size] for number in range(chunks)]


def _check(control: AwsControl, tools: Path, number: int, *, head: bool) -> None:
    """Give the chunk to xc-enc as a prediction: it refuses one that does not go with the state given with -S."""
    for name, key in (
        ("in.y4m", f"{VIDEO}/{number:08d}.y4m"),
        ("chunk.ivf", f"{VIDEO}/out/{number:08d}.ivf"),
        ("state", f"{VIDEO}/final_state/{max(0, number - 1):08d}.state"),
    ):
        (tools / name).write_bytes(control.get_object(BUCKET, key))
    words = ["./xc-enc", "-i", "y4m", "-O", "again.state", "-o", "again.ivf", "-r", "-I", "state", "-p", "chunk.ivf"]
    words += ["in.y4m"] if head else ["-S", "state", "in.y4m"]
    done = run_program(words, tools)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        raise DemoError(f"chunk {number} does not begin where the one before it ended: {said}")

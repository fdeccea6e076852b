"""``mu demo`` runs png2y4m from nothing, on this machine alone, through the code that drives AWS Lambda.

Everything lives in one temporary directory and ends with the command, in whatever way that ends.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from mu_twisted.aws import AwsControl
from mu_twisted.base import counted
from mu_twisted.cli._parser import CommandParsers, whole_number
from mu_twisted.cli.demo.fixtures import BUCKET, DemoError, FfmpegDemo, run_ffmpeg, show_dashboard, write_report
from mu_twisted.client import UsageError

VIDEO = "testsrc"
FUNCTION = "png2y4m_demo"
REPORT = "mu-demo-report.html"
WIDTH, HEIGHT = 640, 360
READ_ON = "read on: README.md, docs/tutorial.md (write a pipeline of your own), docs/local.md (keep the S3 and Lambda)"
COMMAND = b"./ffmpeg -nostdin -v error -y -i ##INFILE## -pix_fmt yuv420p ##OUTFILE##"


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "demo",
        help="run png2y4m on this machine, with nothing but this program",
        description="Make PNG frames, store them in an S3 of our own, make a Lambda function of the worker and ffmpeg, "
        "have workers turn the frames into Y4M chunks, and check every chunk. Uses loopback only, and leaves a "
        f"report of the job, {REPORT}, in this directory. On a terminal it ends with an address that opens the job's "
        "dashboard for a minute.",
    )
    parser.add_argument("--frames", type=whole_number(1, 100_000), default=60, help="frames to make (default: 60)")
    parser.add_argument("--workers", type=whole_number(1, 1000), default=10, help="workers, one a chunk (default: 10)")
    parser.add_argument("--stay", action="store_true", help="keep the dashboard open at the end, until an interrupt")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The demo, phase by phase."""
    frames, workers = options.frames, options.workers
    if frames % workers:
        raise UsageError(f"{frames} frames do not make {workers} equal chunks: choose a multiple")
    chunk = frames // workers
    with ExitStack() as cleanup:
        demo = FfmpegDemo(cleanup, FUNCTION, VIDEO)
        clock, work = demo.clock, demo.work
        with clock.phase(f"make {frames} PNG frames of {WIDTH}x{HEIGHT} and store them in S3"):
            _store_frames(demo.control, demo.ffmpeg, work / "png", frames)
        demo.create_function(COMMAND)
        demo.run_job(f"run png2y4m on {counted(workers, 'worker')}", "png2y4m", "-n", workers, "-f", chunk)
        with clock.phase("check every chunk by decoding it"):
            sizes = _check(demo.control, demo.ffmpeg, work / "y4m", workers, chunk)
        clock.say(f"made {counted(workers, 'chunk')} of {counted(chunk, 'frame')}, {sum(sizes) / 1e6:.1f} MB:")
        clock.say(f"   s3://{BUCKET}/{_key(0, chunk)} ... {_key(workers - 1, chunk)}")
        clock.say(f"   in the S3 that ran at {demo.stack.s3_endpoint} and ends with this command")
        write_report(work, Path(REPORT))
        clock.report()
        print(f"report: {REPORT} (what the job did, to be opened in a browser)")
        print(READ_ON, flush=True)
        if options.stay or (sys.stdin.isatty() and sys.stdout.isatty()):
            show_dashboard(work, clock, cleanup, is_kept=options.stay)
        else:
            print("dashboard: `make demo STAY=1`, or `mu demo --stay`, ends with its address and keeps it open")


def _store_frames(control: AwsControl, ffmpeg: Path, directory: Path, frames: int) -> None:
    directory.mkdir()
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate=24"
    run_ffmpeg(ffmpeg, "-f", "lavfi", "-i", source, "-frames:v", str(frames), str(directory / "%08d.png"))
    pool = ThreadPoolExecutor(8)
    try:
        jobs = [
            pool.submit(control.put_object, BUCKET, f"{VIDEO}-png16/{path.name}", path.read_bytes())
            for path in sorted(directory.iterdir())
        ]
        for job in jobs:
            job.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _key(task: int, chunk: int) -> str:
    return f"{VIDEO}-y4m_{chunk:02d}/{task:08d}.y4m"


def _check(control: AwsControl, ffmpeg: Path, directory: Path, workers: int, chunk: int) -> list[int]:
    directory.mkdir()
    sizes = []
    for task in range(workers):
        path = directory / f"{task:08d}.y4m"
        path.write_bytes(control.get_object(BUCKET, _key(task, chunk)))
        sizes.append(path.stat().st_size)
        _check_chunk(ffmpeg, path, chunk)
        path.unlink()
    return sizes


def _check_chunk(ffmpeg: Path, path: Path, chunk: int) -> None:
    """Decode a chunk, and count its frames and their bytes (4:2:0, one and a half a pixel)."""
    table = run_ffmpeg(ffmpeg, "-i", str(path), "-f", "framecrc", "-").decode()
    lines = [line for line in table.splitlines() if line and not line.startswith("#")]
    wanted = WIDTH * HEIGHT * 3 // 2
    sizes = {int(line.split(",")[4]) for line in lines}
    if len(lines) != chunk or sizes != {wanted}:
        raise DemoError(
            f"{path.name} decodes to {len(lines)} frames of {sorted(sizes)} bytes, expected {chunk} of {wanted}"
        )

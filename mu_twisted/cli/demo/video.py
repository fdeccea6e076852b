"""``mu demo-video`` treats a clip as one job in stages on this machine alone, and by four jobs in a row.

The clip is split into frames, which lose their colours, become chunks of Y4M, and are encoded and joined to one video.
Both ways must come to the same bytes; how long each takes is printed side by side.
"""

import argparse
import json
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from mu_twisted.aws import AwsControl
from mu_twisted.base import counted
from mu_twisted.cli._parser import CommandParsers, whole_number
from mu_twisted.cli.demo.fixtures import BUCKET, DemoError, FfmpegDemo, run_ffmpeg, start_mu

VIDEO = "clip"
FUNCTION = "video_demo"
WIDTH, HEIGHT, RATE = 320, 176, 24
COMMAND = b"./ffmpeg -nostdin -v error -y -framerate 24 -i ##INFILE## -pix_fmt yuv420p ##OUTFILE##"
"""What png2y4m runs; the other pipelines have commands of their own."""
GRAY = 128
"""Both colours of a pixel that has none."""
NEARLY = 2
"""An encoder rounds."""


ROUNDS = 5
"""Runs of each way that --compare takes the median of."""
LESS = 15
"""Percent of the time that the one job saves at least."""


def add(commands: CommandParsers) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "demo-video",
        help="treat a clip on this machine as one job in stages, and by four jobs in a row",
        description="Make a clip, and have workers split it into frames, take the colours out of each, cut chunks of "
        "them, encode these and join them to one video: by the one job film, and by the jobs split, grayscale, png2y4m "
        "and merge, one after the other. Count the frames, check that the video is gray and that both ways make the "
        "same bytes, and print how long each takes. Uses loopback only; leaves nothing.",
    )
    parser.add_argument(
        "--seconds", type=whole_number(1, 600), default=4, help=f"of the clip, {RATE} frames each (default: 4)"
    )
    parser.add_argument(
        "--compare",
        action="store_true",
        help=f"run both ways {ROUNDS} times in turn, print medians, and fail if the one job does not save {LESS} %%",
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The demo, phase by phase."""
    seconds, frames = options.seconds, options.seconds * RATE
    rounds = ROUNDS if options.compare else 1
    with ExitStack() as cleanup:
        demo = FfmpegDemo(cleanup, FUNCTION, VIDEO)
        clock, control = demo.clock, demo.control
        with clock.phase(f"make a clip of {frames} frames of {WIDTH}x{HEIGHT}, store it in S3"):
            control.put_object(BUCKET, f"{VIDEO}.mp4", _clip(demo.ffmpeg, demo.work, seconds))
        demo.create_function(COMMAND)
        took: dict[str, list[float]] = {"film": [], "four": []}
        for _ in range(rounds):
            began = time.monotonic()
            demo.run_job("treat the clip as one job, in stages", "film", "-n", seconds)
            took["film"].append(time.monotonic() - began)
            began = time.monotonic()
            merged = _four_jobs(demo, seconds)
            took["four"].append(time.monotonic() - began)
        _count(control, "png16", frames)
        _count(control, "gray", frames)
        with clock.phase("check that every frame is there, and gray, and that both ways come to the same"):
            video = control.get_object(BUCKET, f"{VIDEO}-film.mp4")
            if control.get_object(BUCKET, merged) != video:
                raise DemoError("the one job and the four have made different videos")
            _check(demo.ffmpeg, demo.work, video, frames)
        clock.say(
            f"made s3://{BUCKET}/{VIDEO}-film.mp4: {frames} frames, all of them gray; {merged} has the same bytes"
        )
        jobs = _job_seconds(demo, cleanup)
    clock.report()
    own = {
        "film": [each for name, each in jobs if name == "film"],
        "four": [sum(each for _, each in jobs[at + 1 : at + 5]) for at in range(0, len(jobs), 5)],
    }
    less = _side_by_side(own, took)
    print("read on: docs/pipelines.md")
    if options.compare and less < LESS:
        raise DemoError(f"the one job takes {less:.0f} % less than the four, expected at least {LESS} %")


def _four_jobs(demo: FfmpegDemo, seconds: int) -> str:
    """The same by four jobs; the key of the video."""
    workers = counted(seconds, "worker")
    demo.run_job(f"split the clip on {workers}", "split", "-n", seconds)
    demo.run_job(f"take the colours out on {2 * seconds} workers", "grayscale", "-n", 2 * seconds, "-f", RATE // 2)
    demo.run_job(f"make Y4M of them on {workers}", "png2y4m", "-n", seconds, "-f", RATE, "-i", "gray")
    form, out = f"y4m_{RATE:02d}", f"{VIDEO}-merged.mp4"
    what = "encode the chunks and join them on one worker"
    demo.run_job(what, "merge", "--each", "--chunks", seconds, "-i", form, "--out", out)
    return out


def _job_seconds(demo: FfmpegDemo, cleanup: ExitStack) -> list[tuple[str, float]]:
    """The pipelines of the jobs so far, and how long each job took, by the records."""
    words = ["jobs", "--json", "--state-dir", str(demo.work / "state")]
    process = start_mu(words, demo.work, cleanup, stdout=subprocess.PIPE)
    text, _ = process.communicate()
    if process.returncode:
        raise DemoError(f"mu jobs ended with status {process.returncode}")
    return [(job["pipeline"], job["ended"] - job["submitted"]) for job in json.loads(text)["jobs"]]


def _side_by_side(own: dict[str, list[float]], commands: dict[str, list[float]]) -> float:
    """Print both ways, and return by how many percent the one job is faster than the four."""
    runs = len(own["film"])
    of_runs = f" (medians of {runs} runs)" if runs > 1 else ""
    print(f"{'':24}{'film':>8}{'four jobs':>12}{of_runs}")
    less = 0.0
    for what, times in (("as commands of mu", commands), ("from submitted to done", own)):
        film, four = median(times["film"]), median(times["four"])
        less = 100 * (1 - film / four)
        print(f"{what:24}{film:6.1f} s{four:10.1f} s   {less:.0f} % less")
    return less


def _clip(ffmpeg: Path, work: Path, seconds: int) -> bytes:
    path = work / "clip.mp4"
    source = f"testsrc2=size={WIDTH}x{HEIGHT}:rate={RATE}:duration={seconds}"
    run_ffmpeg(ffmpeg, "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", str(path))
    return path.read_bytes()


def _count(control: AwsControl, form: str, frames: int) -> None:
    """Whether the frames are there under their numbers, and no other."""
    keys = {f"{VIDEO}-{form}/{number:08d}.png" for number in range(frames + 2)}
    found = control.existing(BUCKET, keys)
    if found != keys - {f"{VIDEO}-{form}/{number:08d}.png" for number in (0, frames + 1)}:
        raise DemoError(f"expected {frames} frames at s3://{BUCKET}/{VIDEO}-{form}/, found {len(found)}")


def _check(ffmpeg: Path, work: Path, video: bytes, frames: int) -> None:
    """Decode a video, count its frames, and look at their colours: 4:2:0, half a byte a pixel behind their light."""
    path = work / "merged.mp4"
    path.write_bytes(video)
    decoded = run_ffmpeg(ffmpeg, "-i", str(path), "-f", "rawvideo", "-pix_fmt", "yuv420p", "-")
    light, size = WIDTH * HEIGHT, WIDTH * HEIGHT * 3 // 2
    if len(decoded) != frames * size:
        raise DemoError(f"the merged video has {len(decoded) / size:g} frames, expected {frames}")
    for number in range(frames):
        colours = decoded[number * size + light : (number + 1) * size]
        if max(colours) > GRAY + NEARLY or min(colours) < GRAY - NEARLY:
            raise DemoError(f"frame {number} of the merged video is not gray")
        if len(set(decoded[number * size : number * size + light])) < NEARLY:
            raise DemoError(f"frame {number} of the merged video is empty")

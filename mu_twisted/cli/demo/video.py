"""``mu demo-video`` runs four jobs in a row on this machine alone, each on the output of the one before.

A clip becomes frames, the frames lose their colours, become chunks of Y4M, and those one video again.
"""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from mu_twisted.aws import AwsControl
from mu_twisted.cli.demo.fixtures import BUCKET, DemoError, FfmpegDemo, positive, run_ffmpeg

VIDEO = "clip"
FUNCTION = "video_demo"
WIDTH, HEIGHT, RATE = 320, 176, 24
COMMAND = b"./ffmpeg -nostdin -v error -y -framerate 24 -i ##INFILE## -pix_fmt yuv420p ##OUTFILE##"
"""What png2y4m runs; the other pipelines have commands of their own."""
GRAY = 128
"""Both colours of a pixel that has none."""
NEARLY = 2
"""An encoder rounds."""


def add(commands: Any) -> None:
    """Add the command to the parser's."""
    parser = commands.add_parser(
        "demo-video",
        help="run split, grayscale, png2y4m and merge on this machine, one after the other",
        description="Make a clip, and have workers split it into PNG frames, take the colours out of each, turn them "
        "into chunks of Y4M and join these to one video, in four jobs; count the frames after each, and check that "
        "the last is gray. Uses loopback only; leaves nothing.",
    )
    parser.add_argument("--seconds", type=positive, default=4, help=f"of the clip, {RATE} frames each (default: 4)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    """The demo, phase by phase."""
    seconds, frames = options.seconds, options.seconds * RATE
    with ExitStack() as cleanup:
        demo = FfmpegDemo(cleanup, FUNCTION, VIDEO)
        clock, control = demo.clock, demo.control
        with clock.phase(f"make a clip of {frames} frames of {WIDTH}x{HEIGHT}, store it in S3"):
            control.put_object(BUCKET, f"{VIDEO}.mp4", _clip(demo.ffmpeg, demo.work, seconds))
        demo.create_function(COMMAND)
        demo.run_job(f"split the clip on {seconds} workers", "split", "-n", seconds)
        _count(control, "png16", frames)
        demo.run_job(f"take the colours out on {2 * seconds} workers", "grayscale", "-n", 2 * seconds, "-f", RATE // 2)
        _count(control, "gray", frames)
        demo.run_job(f"make Y4M of them on {seconds} workers", "png2y4m", "-n", seconds, "-f", RATE, "-i", "gray")
        form, out = f"y4m_{RATE:02d}", f"{VIDEO}-merged.mp4"
        demo.run_job("join the chunks on one worker", "merge", "--chunks", seconds, "-i", form, "--out", out)
        with clock.phase("check that every frame is there, and gray"):
            _check(demo.ffmpeg, demo.work, control.get_object(BUCKET, out), frames)
        clock.say(f"made s3://{BUCKET}/{out}: {frames} frames, all of them gray")
    clock.report()
    print("read on: docs/pipelines.md")


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

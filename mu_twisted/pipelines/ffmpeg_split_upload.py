"""ffmpeg_split_upload takes some frames a second of a video as numbered PNG frames, each task its own seconds.

Input is ``input.mp4`` (``--in``), output ``VIDEO-INFORMAT-png-split/%08d.png``, numbered through the video from 1. Keys
and switches are those of the original's ffmpeg_split_upload_server; where that found out how long the video is,
``--seconds`` says how much of it a task has, and each worker fetches the whole.
"""

from fractions import Fraction

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import JobSettings, Pipeline, PipelineOptions, at_least, s3_key
from mu_twisted.pipelines._examination import Looking
from mu_twisted.pipelines._films import SECONDS, check_pieces, film_index, no_frames
from mu_twisted.pipelines._frames import count, frame_file, store

COMMAND = (
    './ffmpeg -nostdin -v error -y -ss {start:.6f} -t {seconds:.6f} -i "##TMPDIR##/video" -map 0:v:0 -r {rate} '
    '-frames:v {most} -f image2 -c:v png "##TMPDIR##/%08d.png"'
)


class Options(PipelineOptions):
    """What ffmpeg_split_upload takes besides the options of every job."""

    optParameters = [
        ["bucket", "b", "excamera-ffmpeg-input", "S3 bucket of input and output"],
        ["video", "v", "video", "name of the video"],
        ["in", None, "input.mp4", "S3 key of the video", s3_key("--in")],
        ["in-format", "i", "mp4", "input format: part of the frames' folder"],
        ["frames", "f", 1, "number of frames that are taken of each second", at_least(1, "-f")],
        ["seconds", None, "1", "seconds of the video to each task", SECONDS],
    ]


async def ffmpeg_split_upload(w: Worker) -> None:
    """The seconds of one task."""
    settings, number = w.settings, w.settings["offset"] + w.task
    seconds: Fraction = settings["seconds"]
    most = int(seconds * settings["frames"])
    w.extra = "fetching"
    await w.retrieve(settings["in"], "##TMPDIR##/video")
    w.extra = "decoding"
    start = float(number * seconds)
    await w.run(COMMAND.format(start=start, seconds=float(seconds), rate=settings["frames"], most=most))
    made = await count(w, '"##TMPDIR##"/*.png')
    if not made:
        raise no_frames(settings["in"], start)
    w.extra = "storing"
    folder = f"{settings['video']}-{settings['in-format']}-png-split"
    first = number * most + 1
    await store(w, ((f"{folder}/{first + here:08d}.png", frame_file(here + 1)) for here in range(made)))


def examine(settings: JobSettings) -> Looking:
    """Look at the video before anything is launched: whether it is whole, and has frames for each task.

    :raises PipelineError: it is not.
    """
    index = yield from film_index(settings["in"], is_constant=False)
    if index is not None:
        check_pieces(settings, settings["in"], index, index.rate, settings["tasks"])


pipeline = Pipeline(
    name="ffmpeg_split_upload",
    summary="take some frames a second of a video, each task its own seconds",
    first=ffmpeg_split_upload,
    options=Options,
    programs=("ffmpeg",),
    examine=examine,
)

"""grayscale takes the colours out of numbered PNG frames, a chunk of frames a task.

Frames are taken from ``VIDEO-INFORMAT/%08d.png``, numbered from 1, and go to ``VIDEO-TO/%08d.png`` under the same
numbers, so that png2y4m takes them from there (``-i gray``).
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, at_least
from mu_twisted.pipelines._frames import chunk_frames, fetch, frame_file, frame_key, store

COMMAND = (
    './ffmpeg -nostdin -v error -y -start_number 1 -i "##TMPDIR##/in-%08d.png" -vf hue=s=0 "##TMPDIR##/out-%08d.png"'
)


class Options(PipelineOptions):
    """What grayscale takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k", "name of the video"],
        ["frames", "f", 6, "number of frames to process in each task", at_least(1, "-f")],
        ["in-format", "i", "png16", "input format: frames are read from VIDEO-INFORMAT/"],
        ["to", None, "gray", "frames are written to VIDEO-TO/"],
    ]


def outputs(settings: JobSettings, task: int) -> list[str]:
    """Keys of the frames that a task makes."""
    return [frame_key(settings["video"], settings["to"], number) for number in chunk_frames(settings, task)]


async def grayscale(w: Worker) -> None:
    """One chunk."""
    settings, numbers = w.settings, chunk_frames(w.settings, w.task)
    keys = [frame_key(settings["video"], settings["in-format"], number) for number in numbers]
    w.extra = "fetching"
    await fetch(w, ((key, frame_file(here, "in-")) for here, key in enumerate(keys, 1)))
    w.extra = "taking the colours out"
    await w.run(COMMAND)
    w.extra = "storing"
    await store(w, ((key, frame_file(here, "out-")) for here, key in enumerate(outputs(settings, w.task), 1)))


pipeline = Pipeline(
    name="grayscale",
    summary="take the colours out of numbered PNG frames, a chunk of frames a task",
    first=grayscale,
    options=Options,
    programs=("ffmpeg",),
    outputs=outputs,
)

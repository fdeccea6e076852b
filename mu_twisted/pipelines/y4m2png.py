"""y4m2png turns chunks of Y4M into numbered PNG frames, the way back of png2y4m.

Chunks are taken from ``VIDEO-INFORMAT/%08d.y4m``, numbered from 0, and their frames go to ``VIDEO-TO/%08d.png``,
numbered through the video from 1. The packaged command turns one into the other, e.g.
``./ffmpeg -v error -i ##INFILE## ##OUTFILE##``; its output is the pattern of the frames' names.
"""

from mu_twisted.base import counted
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineError, PipelineOptions, at_least
from mu_twisted.pipelines._frames import chunk_frames, count, frame_file, frame_key, store


class Options(PipelineOptions):
    """What y4m2png takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k", "name of the video"],
        ["frames", "f", 6, "number of frames in a chunk; the last one may have fewer", at_least(1, "-f")],
        ["in-format", "i", "y4m_06", "input format: chunks are read from VIDEO-INFORMAT/"],
        ["to", None, "png16", "frames are written to VIDEO-TO/"],
    ]


def outputs(settings: JobSettings, task: int) -> list[str]:
    """Keys of the frames of a whole chunk."""
    return [frame_key(settings["video"], settings["to"], number) for number in chunk_frames(settings, task)]


async def y4m2png(w: Worker) -> None:
    """One chunk."""
    settings, chunk = w.settings, w.settings["offset"] + w.task
    key = f"{settings['video']}-{settings['in-format']}/{chunk:08d}.y4m"
    w.extra = "fetching"
    await w.all(w.set("cmdinfile", "##TMPDIR##/in.y4m"), w.set("cmdoutfile", "##TMPDIR##/%08d.png"))
    await w.retrieve(key, "##TMPDIR##/in.y4m")
    w.extra = "converting"
    await w.run()
    made, wanted = await count(w, '"##TMPDIR##"/*.png'), settings["frames"]
    if made != wanted and not (0 < made < wanted and w.task == settings["tasks"] - 1):
        raise PipelineError(f"{key} holds {counted(made, 'frame')}, and -f says {wanted}: their numbers would be wrong")
    w.extra = "storing"
    keys = outputs(settings, w.task)[:made]
    await store(w, ((key, frame_file(here)) for here, key in enumerate(keys, 1)))


pipeline = Pipeline(
    name="y4m2png",
    summary="turn chunks of Y4M into numbered PNG frames",
    first=y4m2png,
    options=Options,
    outputs=outputs,
)

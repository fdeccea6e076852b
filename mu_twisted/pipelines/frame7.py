"""frame7 makes the chunks that xcenc7 reads: each with the last frame of the chunk before in front.

Input is ``VIDEO-y4m_FF/%08d.y4m``, output ``VIDEO-y4m_GG/%08d.y4m`` of the same numbers, where GG is FF + 1. Keys and
switches are those of the original's 7frame_server; the worker needs no program but its shell's.
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, at_least

MAKE = (
    'cd "##TMPDIR##" && head=$(head -n 1 prev.y4m | wc -c) && all=$(($(wc -c < prev.y4m) - head)) && '
    "frame=$((all / {frames})) && "
    'if [ $((all % {frames})) != 0 ] || [ "$(tail -c $frame prev.y4m | head -c 5)" != FRAME ]; '
    "then echo the chunk before has not {frames} frames; exit 1; fi && "
    "{{ head -n 1 prev.y4m; tail -c $frame prev.y4m; tail -n +2 this.y4m; }} > out.y4m"
)


class Options(PipelineOptions):
    """What frame7 takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["offset", "o", 1, "number of the first chunk that is made: there is none before chunk 0", at_least(1, "-o")],
        ["video", "v", "sintel-1k", "name of the video"],
        ["frames", "f", 6, "number of frames in a chunk that is read", at_least(1, "-f")],
    ]


def _key(settings: JobSettings, frames: int, number: int) -> str:
    return f"{settings['video']}-y4m_{frames:02d}/{number:08d}.y4m"


def output(settings: JobSettings, task: int) -> str:
    """Key of the chunk that a task makes."""
    return _key(settings, settings["frames"] + 1, settings["offset"] + task)


async def frame7(w: Worker) -> None:
    """One chunk."""
    settings, frames, number = w.settings, w.settings["frames"], w.settings["offset"] + w.task
    w.extra = "fetching"
    await w.all(
        w.retrieve(_key(settings, frames, number - 1), "##TMPDIR##/prev.y4m"),
        w.retrieve(_key(settings, frames, number), "##TMPDIR##/this.y4m"),
    )
    w.extra = "joining"
    await w.run(MAKE.format(frames=frames))
    w.extra = "storing"
    await w.upload(output(settings, w.task), "##TMPDIR##/out.y4m")


pipeline = Pipeline(
    name="frame7",
    summary="put the last frame of the chunk before in front of each chunk, for xcenc7",
    first=frame7,
    options=Options,
    outputs=lambda settings, task: [output(settings, task)],
)

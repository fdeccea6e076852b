"""stitch2 joins each two chunks of a video to one of twice as many frames.

Input is ``VIDEO-y4m_FF/%08d.y4m``, chunks 2K and 2K + 1, output chunk K of ``VIDEO-y4m_GG/``, where GG is twice FF.
Keys and switches are those of the original's stitch2_server; the worker needs no program but its shell's.
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, at_least

JOIN = (
    'cd "##TMPDIR##" && if [ "$(head -n 1 first.y4m)" != "$(head -n 1 second.y4m)" ]; then '
    "echo the two chunks have different headers; exit 1; fi && tail -n +2 second.y4m >> first.y4m"
)


class Options(PipelineOptions):
    """What stitch2 takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k", "name of the video"],
        ["frames", "f", 6, "number of frames in a chunk that is read", at_least(1, "-f")],
    ]


def output(settings: JobSettings, task: int) -> str:
    """Key of the chunk that a task makes."""
    return f"{settings['video']}-y4m_{2 * settings['frames']:02d}/{settings['offset'] + task:08d}.y4m"


async def stitch2(w: Worker) -> None:
    """Two chunks."""
    settings, number = w.settings, w.settings["offset"] + w.task
    folder = f"{settings['video']}-y4m_{settings['frames']:02d}"
    w.extra = "fetching"
    await w.all(
        w.retrieve(f"{folder}/{2 * number:08d}.y4m", "##TMPDIR##/first.y4m"),
        w.retrieve(f"{folder}/{2 * number + 1:08d}.y4m", "##TMPDIR##/second.y4m"),
    )
    w.extra = "joining"
    await w.run(JOIN)
    w.extra = "storing"
    await w.upload(output(settings, w.task), "##TMPDIR##/first.y4m")


pipeline = Pipeline(
    name="stitch2",
    summary="join each two chunks of a video to one",
    first=stitch2,
    options=Options,
    outputs=lambda settings, task: [output(settings, task)],
)

"""vpxenc encodes each chunk of a video to VP8 by itself, with the packaged command.

Input is ``VIDEO/%08d.y4m``, output ``VIDEO/out/%08d.ivf``: keys and switches are those of the original's
vpxenc_server. Every output begins with a key frame, so any player plays it.
"""

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions


class Options(PipelineOptions):
    """What vpxenc takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k-y4m_06", "name of the video: chunks are read from VIDEO/, written to VIDEO/out/"],
    ]


def output(settings: JobSettings, task: int) -> str:
    """Key of the chunk that a task makes."""
    return f"{settings['video']}/out/{settings['offset'] + task:08d}.ivf"


async def vpxenc(w: Worker) -> None:
    """One chunk."""
    w.extra = "fetching"
    await w.all(w.set("cmdinfile", "##TMPDIR##/input.y4m"), w.set("cmdoutfile", "##TMPDIR##/output.ivf"))
    await w.retrieve(f"{w.settings['video']}/{w.settings['offset'] + w.task:08d}.y4m", "##TMPDIR##/input.y4m")
    w.extra = "encoding"
    await w.run()
    w.extra = "storing"
    await w.upload(output(w.settings, w.task), "##TMPDIR##/output.ivf")


pipeline = Pipeline(
    name="vpxenc",
    summary="encode chunks of a video to VP8, each by itself",
    first=vpxenc,
    options=Options,
    outputs=lambda settings, task: [output(settings, task)],
)

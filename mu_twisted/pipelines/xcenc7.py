"""xcenc7 is the encoder with one re-encode a chunk, whose chunks bring a frame of their neighbour along.

All but the first chunk of a group have one more frame in front, the last one of the chunk before. They are encoded by
themselves, and then once more to begin where the chunk before ended; the frame in front, by then known to the decoder,
is left out (``xc-enc -e``). So the second encode's modes fit better than xcenc's, and there is no third.

Input is ``VIDEO/%08d.y4m`` for the first of a group, and for the others the video whose name ends in one frame more:
``sintel-1k-y4m_06/`` and ``sintel-1k-y4m_07/``. Output is ``VIDEO/out/%08d.ivf``. Commands, keys and switches are those
of the original's xcenc7_server.
"""

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, PeerOptions, Pipeline, at_least
from mu_twisted.pipelines._xcenc_groups import (
    ENCODE,
    KEEP_FIRST,
    REBASE,
    TERMINATE,
    consumes,
    fetch,
    finish,
    group_size,
    is_last,
    make_state,
    order,
    outputs,
    quantizer,
)


class Options(PeerOptions):
    """What xcenc7 takes besides the options of every job whose tasks talk to one another."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k-y4m_06", "name of the video; it ends in _FF, the number of frames in a chunk (-f)"],
        ["frames", "f", 6, "number of frames in a chunk, without the one in front", at_least(1, "-f")],
        ["group", "K", 16, "chunks of a group, which decodes as one stream", at_least(1, "-K")],
        ["y-ac-qi", "Y", "30", "quantizer for Y, 0 (best) to 63", quantizer(63, "-Y")],
    ]
    optFlags = [["upload-states", "u", "also store first encodes (VIDEO/first/) and states (VIDEO/final_state/)"]]

    def postOptions(self) -> None:
        """Whether the name of the longer chunks follows from the video's."""
        if group_size(self) > 1 and not self["video"].endswith(f"_{self['frames']:02d}"):
            raise usage.UsageError(
                f"-v: expected a name that ends in _{self['frames']:02d}, the number of frames in a chunk (-f), got "
                f"{self['video']!r}: chunks with one frame more are read from the video of the next number"
            )


def longer(settings: JobSettings) -> str:
    """Name of the video whose chunks have one more frame in front."""
    frames = settings["frames"]
    return f"{settings['video'].removesuffix(f'{frames:02d}')}{frames + 1:02d}"


async def xcenc7(w: Worker) -> None:
    """One chunk."""
    settings = w.settings
    place, last = w.task % group_size(settings), is_last(settings, w.task)
    alone = place == 0 and last
    number = settings["offset"] + w.task

    video = longer(settings) if place else settings["video"]
    await fetch(w, f"{video}/{number:08d}.y4m")
    if not alone:
        await w.connect(w.task if last else w.task + 1)

    w.extra = "encoding"
    await w.run(ENCODE.format(quality=settings["y-ac-qi"], output="prev.ivf"))
    if place == 0:
        w.extra = "taking its state"
        command, encoded = TERMINATE.format(encoded="prev.ivf"), "output.ivf"
    else:
        w.extra = f"re-encoding on state {place - 1}"
        command, encoded = REBASE.format(switches="-e -w 0.75", given=place - 1, prediction=""), "prev.ivf"
    if settings["upload-states"]:
        keep = KEEP_FIRST.format(encoded=encoded)
        command = f"{command} && {keep}"
    await make_state(w, command, place, send=not last)

    async def store() -> None:
        files = ["output.ivf", "first.ivf", "final.state"]
        await w.all(
            *(w.upload(key, f"##TMPDIR##/{file}") for key, file in zip(outputs(settings, w.task), files, strict=False))
        )

    await finish(w, store, talks=not alone)


pipeline = Pipeline(
    name="xcenc7",
    summary="encode chunks of a video to VP8 in parallel, each with a frame of the one before, groups to one stream",
    first=xcenc7,
    options=Options,
    programs=("vpxenc", "xc-terminate-chunk", "xc-enc"),
    order=order,
    consumes=consumes,
    outputs=outputs,
)

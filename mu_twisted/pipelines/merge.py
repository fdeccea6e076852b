"""merge joins the chunks of a video to one MP4, in one task, with ffmpeg's concat demuxer.

Chunks are taken from ``VIDEO-INFORMAT/%08d.SUFFIX``, numbered from 0, where the suffix is that of the format,
``y4m_06`` and ``mp4_06`` for example; ``--in`` names other keys. Chunks that are MP4 are joined as they are, others
are encoded to H.264.
"""

from pathlib import PurePosixPath

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineOptions, at_least, s3_key
from mu_twisted.pipelines._frames import fetch
from mu_twisted.pipelines.exec import fill

LIST = (
    'cd "##TMPDIR##" && n=0 && while [ $n -lt {chunks} ]; do printf "file \'%08d{suffix}\'\\n" $n; n=$((n + 1)); '
    "done > list.txt"
)
COMMAND = (
    './ffmpeg -nostdin -v error -y -f concat -safe 0 -i "##TMPDIR##/list.txt" {codec} -movflags +faststart '
    '"##TMPDIR##/{out}"'
)
COPY = "-c copy"
ENCODE = "-c:v libx264 -pix_fmt yuv420p"
EACH = (
    'n={first}; while [ $n -lt {end} ]; do f="##TMPDIR##/$(printf %08d $n)"; '
    f'./ffmpeg -nostdin -v error -y -i "$f{{suffix}}" {ENCODE} -threads 1 "$f.mp4" || exit 1; n=$((n + 1)); done'
)
"""Encodes each chunk by itself, in one thread: so it has the same bytes on a machine of any size."""


class Options(PipelineOptions):
    """What merge takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["tasks", "n", 1, "number of tasks: one makes one file of all chunks", at_least(1, "-n")],
        ["offset", "o", 0, "number of the first chunk: skip this many", at_least(0, "-o")],
        ["video", "v", "sintel-1k", "name of the video"],
        ["chunks", None, 1, "number of chunks to merge", at_least(1, "--chunks")],
        ["in-format", "i", "y4m_06", "input format: chunks are read from VIDEO-INFORMAT/"],
        ["in", None, None, "S3 keys of the chunks, {n:08d} for the number (default: by -v and -i)", s3_key("--in")],
        ["out", None, None, "S3 key of the merged video (default: VIDEO.mp4)", s3_key("--out")],
    ]
    optFlags = [["each", None, "encode each chunk by itself, so that it begins with a key frame"]]

    def postOptions(self) -> None:
        """One task, and a key for each chunk."""
        if self["tasks"] != 1:
            raise usage.UsageError("merge makes one file in one task: --chunks says of how many chunks; leave out -n")
        if self["in"] is not None and "{n" not in self["in"] and self["chunks"] > 1:
            raise usage.UsageError("--in: it names the same chunk each time; put {n:08d} in for its number")


def inputs(settings: JobSettings) -> list[str]:
    """Keys of the chunks, in order."""
    form = settings["in-format"]
    pattern = settings["in"] or f"{settings['video']}-{form}/{{n:08d}}.{form.partition('_')[0]}"
    first = settings["offset"]
    return [fill(pattern, {"n": number}) for number in range(first, first + settings["chunks"])]


def output(settings: JobSettings) -> str:
    """Key of the merged video."""
    return settings["out"] or f"{settings['video']}.mp4"


def concat_list(chunks: int, suffix: str) -> str:
    """The command that lists the chunks for ffmpeg's concat demuxer.

    :param suffix: of their files.
    """
    return LIST.format(chunks=chunks, suffix=suffix)


def concat(*, copy: bool, out: str) -> str:
    """The command that joins what is listed.

    :param copy: whether the chunks are joined as they are.
    :param out: the file, in the private directory.
    """
    return COMMAND.format(codec=COPY if copy else ENCODE, out=out)


async def merge(w: Worker) -> None:
    """All chunks."""
    keys = inputs(w.settings)
    suffix = "".join(c for c in PurePosixPath(keys[0]).suffix if c.isalnum() or c == ".")
    w.extra = "fetching"
    await fetch(w, ((key, f"##TMPDIR##/{here:08d}{suffix}") for here, key in enumerate(keys)))
    w.extra = "merging"
    if w.settings["each"] and suffix != ".mp4":
        await w.run(EACH.format(first=0, end=len(keys), suffix=suffix))
        suffix = ".mp4"
    await w.run(concat_list(len(keys), suffix))
    await w.run(concat(copy=suffix == ".mp4", out="merged.mp4"))
    w.extra = "storing"
    await w.upload(output(w.settings), "##TMPDIR##/merged.mp4")


pipeline = Pipeline(
    name="merge",
    summary="join the chunks of a video to one MP4",
    first=merge,
    options=Options,
    programs=("ffmpeg",),
    outputs=lambda settings, _: [output(settings)],
)

"""split cuts a video into numbered PNG frames, each worker its own seconds.

Every worker fetches the video, of which a constant frame rate is assumed, and decodes the frames that begin within its
seconds. Each goes to ``VIDEO-TO/%08d.png`` under its number in the whole video, from 1.
"""

from collections.abc import Mapping
from fractions import Fraction

from mu_twisted.base import counted
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, JobSettings, Pipeline, PipelineError, PipelineOptions, Report, s3_key
from mu_twisted.pipelines._films import SECONDS, described, examine, frames_between, no_frames, positive, read_rate
from mu_twisted.pipelines._frames import count, frame_file, frame_key, store

COMMAND = (
    './ffmpeg -nostdin -v error -y -ss {start:.6f} -i "##TMPDIR##/video" -map 0:v:0 -frames:v {frames} '
    '-fps_mode passthrough "##TMPDIR##/%08d.png"'
)


class Options(PipelineOptions):
    """What split takes besides the options of every job."""

    optParameters = [
        ORIGINAL_BUCKET,
        ["video", "v", "sintel-1k", "name of the video"],
        ["in", None, None, "S3 key of the video (default: VIDEO.mp4)", s3_key("--in")],
        ["seconds", None, "1", "seconds of the video to each task, at most 3600", SECONDS],
        [
            "rate",
            None,
            None,
            "frames a second, as 24 or 30000/1001, at most 1000 (default: as ffmpeg says)",
            positive(1000, "--rate"),
        ],
        ["to", None, "png16", "frames are written to VIDEO-TO/"],
    ]


async def split(w: Worker) -> None:
    """The seconds of one task."""
    settings, number = w.settings, w.settings["offset"] + w.task
    key = settings["in"] or f"{settings['video']}.mp4"
    w.extra = "fetching"
    await w.retrieve(key, "##TMPDIR##/video")
    rate = settings["rate"] or read_rate(await described(w, "##TMPDIR##/video"))
    if rate is None:
        raise PipelineError(f"ffmpeg says no frame rate of {key}: is it a video? --rate gives one")
    begin, end = number * settings["seconds"], (number + 1) * settings["seconds"]
    wanted = frames_between(begin, end, rate)
    made = 0
    if wanted:
        w.extra = "decoding"
        # Half a frame early: times in a file are rounded, and the frame before must not slip in.
        start = max(Fraction(0), (wanted.start - Fraction(1, 2)) / rate)
        await w.run(COMMAND.format(start=float(start), frames=len(wanted)))
        made = await count(w, '"##TMPDIR##"/*.png')
        if not made:
            raise no_frames(key, float(begin))
    w.extra = "storing"
    first = wanted.start + 1
    video, to = settings["video"], settings["to"]
    await store(w, ((frame_key(video, to, first + here), frame_file(here + 1)) for here in range(made)))
    w.info["remark"] = f"{made} {len(wanted)}"


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """How many frames there are; only the end of the video may have fewer than its seconds hold."""
    counts = {task: [int(word) for word in remark.split()] for task, remark in sorted(remarks.items())}
    total = sum(made for made, _ in counts.values())
    short = [task for task, (made, wanted) in counts.items() if made < wanted and task != settings["tasks"] - 1]
    text = f"{counted(total, 'frame')}: {settings['video']}-{settings['to']}/" if counts else ""
    if not short:
        return Report(text)
    made, wanted = counts[short[0]]
    return Report(
        text,
        error=f"task {short[0]} found {made} of {wanted} frames, though the video goes on: its frame rate is not "
        "constant, or not the one that --rate says",
    )


pipeline = Pipeline(
    name="split",
    summary="decode a video to numbered PNG frames, each task its own seconds",
    first=split,
    options=Options,
    programs=("ffmpeg",),
    report=report,
    examine=lambda settings: examine(settings, settings["tasks"]),
)

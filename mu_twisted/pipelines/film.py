"""film treats a video as one job in stages: split, treat, chunk, encode, merge.

Pieces of some seconds are decoded (split) and sent through a filter of ffmpeg's (treat), each by itself; chunks of so
many frames are cut of these (chunk), encoded to H.264 each by itself (encode), and joined (merge). A task begins when
what it reads is there: a piece is treated while others are being decoded.

What stages leave for one another lies at ``VIDEO-film/STAGE/%08d.SUFFIX``, the film at ``--out``. Frames are PNG, one
after the other in a file (``pngs``), so that the film has the bytes that split, grayscale, png2y4m and
``merge --each`` make of it.
"""

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from shlex import quote

from twisted.python import usage

from mu_twisted.base import counted
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import (
    JobSettings,
    Pipeline,
    PipelineError,
    PipelineOptions,
    Report,
    at_least,
    coerced,
    s3_key,
)
from mu_twisted.pipelines._films import (
    SECONDS,
    described,
    examine,
    frames_between,
    is_pictures,
    no_frames,
    positive,
    read_rate,
)
from mu_twisted.pipelines._frames import fetch
from mu_twisted.pipelines.merge import EACH, concat, concat_list

STAGES = ("split", "treat", "chunk", "encode", "merge")
SUFFIXES = {"split": "pngs", "treat": "pngs", "chunk": "y4m", "encode": "mp4", "merge": "mp4"}

_FFMPEG = "./ffmpeg -nostdin -v error -progress - -nostats -y"
_PNG = "-fps_mode passthrough -f image2pipe -c:v png"
SPLIT = (
    f'{_FFMPEG} -ss {{start:.6f}} -i "##TMPDIR##/in.film" -map 0:v:0 -frames:v {{frames}} {_PNG} "##TMPDIR##/out.pngs"'
)
TREAT = f'{_FFMPEG} -f png_pipe -framerate {{rate}} -i "##TMPDIR##/in.pngs" -vf {{filter}} {_PNG} "##TMPDIR##/out.pngs"'
CHUNK = (
    f'cat "##TMPDIR##"/in-*.pngs > "##TMPDIR##/in.pngs" && {_FFMPEG} -f png_pipe -framerate {{rate}} '
    '-i "##TMPDIR##/in.pngs" -vf trim=start_frame={first}:end_frame={end},setpts=PTS-STARTPTS -r {rate} '
    '-pix_fmt yuv420p "##TMPDIR##/out.y4m"'
)
_FRAMES = re.compile(r"^frame= *([0-9]+) *$", re.MULTILINE)
MAX_FILTER = 1000
"""Characters of a filter."""


def _filter(text: str) -> str:
    if not 0 < len(text) <= MAX_FILTER or not text.isprintable():
        raise ValueError
    return text


class Options(PipelineOptions):
    """What film takes besides the options of every job."""

    longdesc = "-b must be given."
    optParameters = [
        [
            "tasks",
            "n",
            1,
            "number of pieces, each of --seconds; a piece has two tasks, so has a chunk, and one task joins all",
            at_least(1, "-n"),
        ],
        ["offset", "o", 0, "number of the first piece: skip this many", at_least(0, "-o")],
        ["video", "v", "film", "name of the video"],
        ["in", None, None, "S3 key of the video (default: VIDEO.mp4)", s3_key("--in")],
        ["seconds", None, "1", "seconds of a piece, at most 3600", SECONDS],
        [
            "rate",
            None,
            "24",
            "frames a second of the video, as 24 or 30000/1001, at most 1000",
            positive(1000, "--rate"),
        ],
        ["frames", "f", None, "number of frames in a chunk (default: those of a piece)", at_least(1, "-f")],
        [
            "filter",
            None,
            "hue=s=0",
            "what treats the frames: filters of ffmpeg's that keep each frame, as hflip,negate",
            coerced(_filter, f"a filter of 1 to {MAX_FILTER} printable characters", "--filter"),
        ],
        ["out", None, None, "S3 key of the film that is made (default: VIDEO-film.mp4)", s3_key("--out")],
    ]

    def postOptions(self) -> None:
        """The tasks are those of all stages."""
        pieces, first = self["tasks"], self["offset"]
        begin, end = first * self["seconds"], (first + pieces) * self["seconds"]
        frames = len(frames_between(begin, end, self["rate"]))
        if self["seconds"] * self["rate"] < 1:
            raise usage.UsageError("--seconds: a piece has no frame at this --rate")
        self["pieces"] = pieces
        self["frames"] = self["frames"] or max(1, round(self["seconds"] * self["rate"]))
        self["chunks"] = ceil(frames / self["frames"])
        self["tasks"] = 2 * pieces + 2 * self["chunks"] + 1
        if self["bucket"] is None:
            raise usage.UsageError("-b: the bucket of the video is missing")
        if self["out"] is not None and self["out"] == source(self):
            raise usage.UsageError("--out: it is the video that is read")


def source(settings: JobSettings) -> str:
    """Key of the video."""
    return settings["in"] or f"{settings['video']}.mp4"


def place(settings: JobSettings, task: int) -> tuple[str, int]:
    """The stage of a task, and its number in that, counted from 0."""
    sizes = (settings["pieces"], settings["pieces"], settings["chunks"], settings["chunks"], 1)
    for stage, size in zip(STAGES, sizes, strict=True):
        if task < size:
            return stage, task
        task -= size
    raise IndexError(f"the job has no task {task}")


def piece_frames(settings: JobSettings, piece: int) -> range:
    """The frames of a piece, counted from 0 through the whole video.

    :param piece: counted from the first of the job.
    """
    number, seconds = settings["offset"] + piece, settings["seconds"]
    return frames_between(number * seconds, (number + 1) * seconds, settings["rate"])


def chunk_frames(settings: JobSettings, chunk: int) -> range:
    """The frames of a chunk, as :func:`piece_frames`; the video may end before the last of them."""
    first = piece_frames(settings, 0).start + chunk * settings["frames"]
    return range(first, min(first + settings["frames"], piece_frames(settings, settings["pieces"] - 1).stop))


def pieces_of(settings: JobSettings, chunk: int) -> range:
    """The pieces that a chunk's frames are in."""
    frames, span = chunk_frames(settings, chunk), settings["seconds"] * settings["rate"]
    first, last = (int(Fraction(frame) / span) - settings["offset"] for frame in (frames[0], frames[-1]))
    return range(first, last + 1)


def after(settings: JobSettings, task: int) -> Sequence[int]:
    """The tasks that make what a task reads."""
    stage, number = place(settings, task)
    pieces, chunks = settings["pieces"], settings["chunks"]
    if stage == "split":
        return ()
    if stage == "treat":
        return (number,)
    if stage == "chunk":
        wanted = pieces_of(settings, number)
        return range(pieces + wanted.start, pieces + wanted.stop)
    first = 2 * pieces + (chunks if stage == "merge" else number)
    return range(first, first + (chunks if stage == "merge" else 1))


def key(settings: JobSettings, stage: str, number: int) -> str:
    """Key of what a task stores."""
    if stage == "merge":
        return settings["out"] or f"{settings['video']}-film.mp4"
    return f"{settings['video']}-film/{stage}/{number:08d}.{SUFFIXES[stage]}"


async def film(w: Worker) -> None:
    """One task of any stage."""
    stage, number = place(w.settings, w.task)
    doing = {"split": _split, "treat": _treat, "chunk": _chunk, "encode": _encode, "merge": _merge}
    made = await doing[stage](w, number)
    w.extra = "storing"
    await w.upload(key(w.settings, stage, number), f"##TMPDIR##/out.{SUFFIXES[stage]}")
    w.info["remark"] = str(made)


async def _split(w: Worker, piece: int) -> int:
    settings = w.settings
    video = source(settings)
    w.extra = "fetching"
    await w.retrieve(video, "##TMPDIR##/in.film")
    said = await described(w, "##TMPDIR##/in.film")
    if "Video:" not in said:
        raise PipelineError(f"{video} has no frames: ffmpeg finds no video in it")
    rate, wanted = read_rate(said), piece_frames(settings, piece)
    if rate is not None and abs(rate - settings["rate"]) * 1000 > rate:
        if is_pictures(said):
            raise PipelineError(f"{video} is no film: it has one picture only, or several without a frame rate")
        raise PipelineError(f"{video} has {_rate(rate)} frames a second, and --rate says {_rate(settings['rate'])}")
    w.extra = "decoding"
    # Half a frame early: times in a file are rounded, and the frame before must not slip in.
    start = max(Fraction(0), (wanted.start - Fraction(1, 2)) / settings["rate"])
    made = _made(await _run(w, SPLIT.format(start=float(start), frames=len(wanted))))
    if not made:
        raise no_frames(video, float(wanted.start / settings["rate"]))
    if made < len(wanted) and piece < settings["pieces"] - 1:
        raise PipelineError(
            f"piece {piece} of {video} has {made} of {len(wanted)} frames: the video is cut off, or its frame rate is "
            "not constant"
        )
    return made


async def _treat(w: Worker, piece: int) -> int:
    settings, wanted = w.settings, len(piece_frames(w.settings, piece))
    w.extra = "fetching"
    await w.retrieve(key(settings, "split", piece), "##TMPDIR##/in.pngs")
    w.extra = "treating"
    made = _made(await _run(w, TREAT.format(filter=quote(settings["filter"]), rate=settings["rate"])))
    if made > wanted or (made < wanted and piece < settings["pieces"] - 1) or not made:
        raise PipelineError(f"--filter made {made} of {wanted} frames of piece {piece}: it must keep each frame")
    return made


async def _chunk(w: Worker, chunk: int) -> int:
    settings, pieces, frames = w.settings, pieces_of(w.settings, chunk), chunk_frames(w.settings, chunk)
    w.extra = "fetching"
    keys = [key(settings, "treat", piece) for piece in pieces]
    await fetch(w, ((one, f"##TMPDIR##/in-{here:08d}.pngs") for here, one in enumerate(keys)))
    w.extra = "cutting"
    skipped = piece_frames(settings, pieces.start).start
    first, end = frames.start - skipped, frames.stop - skipped
    made = _made(await _run(w, CHUNK.format(first=first, end=end, rate=settings["rate"])))
    if made < len(frames) and (chunk < settings["chunks"] - 1 or not made):
        raise PipelineError(f"chunk {chunk} has {made} of {len(frames)} frames: -n is too large")
    return made


async def _encode(w: Worker, chunk: int) -> int:
    w.extra = "fetching"
    await w.retrieve(key(w.settings, "chunk", chunk), "##TMPDIR##/00000000.y4m")
    w.extra = "encoding"
    await w.run(EACH.format(first=0, end=1, suffix=".y4m"))
    await w.run('mv "##TMPDIR##/00000000.mp4" "##TMPDIR##/out.mp4"')
    return 1


async def _merge(w: Worker, _: int) -> int:
    chunks = w.settings["chunks"]
    w.extra = "fetching"
    await fetch(w, ((key(w.settings, "encode", chunk), f"##TMPDIR##/{chunk:08d}.mp4") for chunk in range(chunks)))
    w.extra = "merging"
    await w.run(concat_list(chunks, ".mp4"))
    await w.run(concat(copy=True, out="out.mp4"))
    return 1


async def _run(w: Worker, command: str) -> str:
    return (await w.run(command)).output


def _made(output: str) -> int:
    """The frames that ffmpeg says it has made."""
    found = _FRAMES.findall(output)
    return int(found[-1]) if found else 0


def _rate(rate: Fraction) -> str:
    return str(rate) if rate.denominator in (1, 1001) else f"{float(rate):g}"


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """How many frames the film has; each stage must have as many."""
    frames = dict.fromkeys(STAGES[:3], 0)
    for task, remark in remarks.items():
        stage, _ = place(settings, task)
        if stage in frames:
            frames[stage] += int(remark)
    if settings["tasks"] - 1 not in remarks:
        return Report()
    text = f"{counted(frames['chunk'], 'frame')} in {counted(settings['chunks'], 'chunk')}: {key(settings, 'merge', 0)}"
    if not settings["skip-existing"] and len(set(frames.values())) > 1:
        counts = ", ".join(f"{count} after {stage}" for stage, count in frames.items())
        return Report(text, error=f"frames are missing ({counts}): --filter must keep each, and the rate be constant")
    return Report(text)


pipeline = Pipeline(
    name="film",
    summary="treat a video in one job: split, treat, chunk, encode and merge, each part as soon as it can",
    first=film,
    options=Options,
    programs=("ffmpeg",),
    after=after,
    stage=lambda settings, task: place(settings, task)[0],
    label=lambda settings, task: "{} {}".format(*place(settings, task)),
    outputs=lambda settings, task: [key(settings, *place(settings, task))],
    examine=lambda settings: examine(settings, settings["pieces"]),
    report=report,
)

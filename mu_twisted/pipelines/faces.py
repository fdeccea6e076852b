"""faces looks for a face in a film: a picture of it goes in, and out come the seconds in which it appears.

Each task reads its own seconds of the film from S3, by a URL, and looks at a frame of each ``--every`` seconds. A
program on the worker does so (``mu faces`` writes it), which stays there with its models loaded.
``VIDEO-faces/found.json`` says when the face is seen, ``VIDEO-faces/sheet.jpg`` shows it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import ceil
from typing import Any

from twisted.python import usage

from mu_twisted.base import counted
from mu_twisted.fsm import Process, Worker
from mu_twisted.pipelines import (
    JobSettings,
    Looking,
    PartWanted,
    Pipeline,
    PipelineError,
    PipelineOptions,
    Report,
    at_least,
    coerced,
    s3_key,
)
from mu_twisted.pipelines._films import SECONDS, check_pieces, film_index, no_frames, positive
from mu_twisted.pipelines._frames import fetch

PROGRAM = "./face_finder.py"
STAGES = ("picture", "find", "sheet")
AT_ONCE = 20
"""Frames that the program is asked for at a time."""
MAX_FRAMES = 6000
"""Of a task."""
ANSWER = 600.0
"""Seconds for a question."""
READY = 300.0
"""Seconds for the program to load its models."""
MAX_TILES = 400
SHOWN = 50
"""Times that the report lists."""
_PICTURE = re.compile(rb"\xff\xd8\xff|\x89PNG\r\n|RIFF....WEBP|BM|GIF8|II\*\0|MM\0\*", re.DOTALL)
_FORMS = "JPEG, PNG, WebP, BMP, GIF or TIFF"


def _tiles(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MAX_TILES:
        raise ValueError
    return number


def _limit(text: str) -> float:
    value = float(text)
    if not 0 < value <= 2:
        raise ValueError
    return value


class Options(PipelineOptions):
    """What faces takes besides the options of every job."""

    longdesc = f"-b and --face must be given, and a piece has at most {MAX_FRAMES} frames that are looked at."
    optParameters = [
        ["tasks", "n", 1, "number of pieces of the film, each of --seconds, and each a task", at_least(1, "-n")],
        ["offset", "o", 0, "number of the first piece: skip this many", at_least(0, "-o")],
        ["video", "v", "film", "name of the video"],
        ["in", None, None, "S3 key of the video (default: VIDEO.mp4)", s3_key("--in")],
        ["face", None, None, "S3 key of a picture with the face, and no other; must be given", s3_key("--face")],
        ["seconds", None, "10", "seconds of a piece, at most 3600", SECONDS],
        [
            "every",
            None,
            "0.5",
            "seconds from a frame that is looked at to the next, at most 60",
            positive(60, "--every"),
        ],
        [
            "width",
            None,
            640,
            "pixels of width that frames are scaled down to, at least 80; a face that is found has about 80 of them",
            at_least(80, "--width"),
        ],
        [
            "limit",
            None,
            "0.6",
            "distance up to which a face is taken for the same, above 0, at most 2",
            coerced(_limit, "a number above 0, at most 2", "--limit"),
        ],
        [
            "tiles",
            None,
            48,
            f"pictures on the contact sheet, at most {MAX_TILES}",
            coerced(_tiles, f"a whole number from 1 to {MAX_TILES}", "--tiles"),
        ],
    ]

    def postOptions(self) -> None:
        """A task takes the face from the picture, and one makes the contact sheet."""
        if self["bucket"] is None:
            raise usage.UsageError("-b: the bucket of the video is missing")
        if self["face"] is None:
            raise usage.UsageError("--face: the key of a picture of the face is missing")
        if self["seconds"] < self["every"]:
            raise usage.UsageError("--seconds: a piece has no frame at this --every")
        if self["seconds"] / self["every"] > MAX_FRAMES:
            raise usage.UsageError(f"--seconds: a piece has at most {MAX_FRAMES} frames, one of each --every seconds")
        self["pieces"] = self["tasks"]
        self["tasks"] += 2


def source(settings: JobSettings) -> str:
    """Key of the video."""
    return settings["in"] or f"{settings['video']}.mp4"


def place(settings: JobSettings, task: int) -> tuple[str, int]:
    """The stage of a task, and its number in that, counted from 0."""
    if task == 0:
        return "picture", 0
    return ("find", task - 1) if task <= settings["pieces"] else ("sheet", 0)


def after(settings: JobSettings, task: int) -> Sequence[int]:
    """The tasks that make what a task reads."""
    stage, _ = place(settings, task)
    return {"picture": range(0), "find": range(1), "sheet": range(1, settings["pieces"] + 1)}[stage]


def key(settings: JobSettings, stage: str, number: int = 0) -> str:
    """Key of what the tasks of a stage store; ``found`` is what those of the last say."""
    name = {"picture": "picture.json", "find": f"find/{number:08d}.jsonl", "sheet": "sheet.jpg", "found": "found.json"}[
        stage
    ]
    return f"{settings['video']}-faces/{name}"


def samples(settings: JobSettings, piece: int) -> range:
    """The frames of a piece that are looked at; each stands for ``--every`` seconds of the video, from 0 on.

    :param piece: counted from the first of the job.
    """
    number, ratio = settings["offset"] + piece, settings["seconds"] / settings["every"]
    return range(ceil(number * ratio), ceil((number + 1) * ratio))


async def faces(w: Worker) -> None:
    """One task of any stage."""
    stage, number = place(w.settings, w.task)
    w.extra = "loading"
    program = await w.process(PROGRAM, keep=True, ready=READY)
    await {"picture": _picture, "find": _find, "sheet": _sheet}[stage](w, program, number)


async def _picture(w: Worker, program: Process, _: int) -> None:
    w.extra = "looking at the picture"
    await w.retrieve(w.settings["face"], "##TMPDIR##/picture")
    await _ask(program, w.settings["face"], do="picture", file="##TMPDIR##/picture", to="##TMPDIR##/picture.json")
    await w.upload(key(w.settings, "picture"), "##TMPDIR##/picture.json")


async def _find(w: Worker, program: Process, piece: int) -> None:
    settings, wanted = w.settings, samples(w.settings, piece)
    video, every = source(settings), settings["every"]
    w.extra = "fetching"
    await w.all(w.retrieve(key(settings, "picture"), "##TMPDIR##/picture.json"), w.presign(video, "##TMPDIR##/url"))
    looked, hits, tiles, duration = 0, 0, settings["tiles"], None
    for first in range(wanted.start, wanted.stop, AT_ONCE):
        count = min(AT_ONCE, wanted.stop - first)
        w.extra = f"{first - wanted.start} of {len(wanted)} frames, {hits} with the face"
        said = await _ask(
            program,
            video,
            do="find",
            url="##TMPDIR##/url",
            picture="##TMPDIR##/picture.json",
            to="##TMPDIR##/found.jsonl",
            first=first,
            every=float(every),
            count=count,
            width=settings["width"],
            limit=settings["limit"],
            tiles=tiles,
        )
        looked, hits, tiles = looked + said["frames"], hits + said["hits"], tiles - said["tiles"]
        duration = said["duration"] or duration
        _check_end(settings, piece, first, count, said["frames"], duration)
        if said["frames"] < count:
            break
    if not looked and duration is None and not wanted.start:
        raise PipelineError(f"{video} has one picture only, or lasts no {float(every):g} s: there is nothing to search")
    if not looked:
        raise no_frames(video, float(wanted.start * every))
    w.extra = "storing"
    await w.upload(key(settings, "find", piece), "##TMPDIR##/found.jsonl")
    w.info["remark"] = json.dumps([looked, duration])


def _check_end(settings: JobSettings, piece: int, first: int, wanted: int, looked: int, duration: float | None) -> None:
    """See that there are as many frames as the film says, or if it says nothing, that only its end has fewer.

    :param first: number of the first frame that was looked at.
    :param duration: of the film, in seconds.
    :raises PipelineError: there are fewer.
    """
    every, video = settings["every"], source(settings)
    from_here = f"has no frames from {float((first + looked) * every):g} s on"
    if duration is None:
        if looked < wanted and piece < settings["pieces"] - 1:
            raise PipelineError(f"{video} {from_here}: it is cut off, or -n is too large")
    # Whether the last frame is counted is a matter of rounding.
    elif looked < min(wanted, int(Fraction(duration) / every) - 1 - first):
        raise PipelineError(f"{video} {from_here} and says that it has {duration:g} s: it is cut off")


async def _sheet(w: Worker, program: Process, _: int) -> None:
    settings, names = w.settings, [f"{piece:08d}.jsonl" for piece in range(w.settings["pieces"])]
    w.extra = "fetching"
    await fetch(w, ((key(settings, "find", piece), f"##TMPDIR##/{name}") for piece, name in enumerate(names)))
    w.extra = "making the contact sheet"
    said = await _ask(
        program,
        source(settings),
        do="sheet",
        files=[f"##TMPDIR##/{name}" for name in names],
        to="##TMPDIR##/found.json",
        sheet="##TMPDIR##/sheet.jpg",
        every=float(settings["every"]),
        tiles=settings["tiles"],
        shown=SHOWN,
    )
    w.extra = "storing"
    await w.upload(key(settings, "found"), "##TMPDIR##/found.json")
    if said["tiles"]:
        await w.upload(key(settings, "sheet"), "##TMPDIR##/sheet.jpg")
    w.info["remark"] = json.dumps(said)


async def _ask(program: Process, about: str, **question: Any) -> Any:
    """What the program answers.

    :param about: the object that the question is about.
    :raises PipelineError: that is to blame.
    """
    answer = json.loads(await program.ask(json.dumps(question), timeout=ANSWER))
    if "error" in answer:
        raise PipelineError(f"{about} {answer['error']}")
    return answer


def examine(settings: JobSettings) -> Looking:
    """Look at the picture and the film before anything is launched: whether they can be such, and the film has frames.

    :raises PipelineError: they are not.
    """
    part = yield PartWanted(settings["face"], 0, 16)
    if not part.size:
        raise PipelineError(f"{settings['face']} is empty")
    if _PICTURE.match(part.data) is None:
        raise PipelineError(f"{settings['face']} is no picture: {_FORMS} is expected")
    video = source(settings)
    index = yield from film_index(video)
    if index is not None:
        check_pieces(settings, video, index, index.rate, settings["pieces"])


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """When the face appears."""
    if settings["tasks"] - 1 not in remarks:
        return Report()
    said, video, face = json.loads(remarks[settings["tasks"] - 1]), source(settings), settings["face"]
    pieces = [json.loads(remark) for task, remark in sorted(remarks.items()) if place(settings, task)[0] == "find"]
    every = float(settings["every"])
    searched = f"{round(sum(looked for looked, _ in pieces) * every, 3):g} s"
    if said["count"]:
        count = said["count"]
        times = "once" if count == 1 else f"{count} times"
        lines = [f"{face} appears {times}, {said['seconds']:g} s of {searched} of {video}:"]
        lines += [f"  {clock(first)} - {clock(end)}  distance {near:.2f}" for first, end, near in said["ranges"]]
        if count > len(said["ranges"]):
            lines.append(f"  and {counted(count - len(said['ranges']), 'time')} more")
        bucket = settings["bucket"]
        lines.append(f"contact sheet: s3://{bucket}/{key(settings, 'sheet')}")
        lines.append(f"all times: s3://{bucket}/{key(settings, 'found')}")
    else:
        lines = [f"{face} does not appear in {searched} of {video}"]
    durations = [duration for _, duration in pieces if duration is not None]
    end = samples(settings, settings["pieces"] - 1).stop * every
    if durations and durations[0] > end + every:
        more = ceil(Fraction(durations[0]) / settings["seconds"]) - settings["offset"]
        lines.append(f"{video} goes on to {clock(durations[0])}: -n {more} searches it to its end")
    return Report("\n".join(lines))


def clock(seconds: float) -> str:
    """A time in a film, as 1:02:03.5."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{tenths / 10:04.1f}"


pipeline = Pipeline(
    name="faces",
    summary="look for a face in a film: the seconds in which it appears, and a contact sheet",
    first=faces,
    options=Options,
    programs=("face_finder.py", "object_server.py", "face_models.py", "ffmpeg"),
    after=after,
    stage=lambda settings, task: place(settings, task)[0],
    label=lambda settings, task: "{} {}".format(*place(settings, task)),
    examine=examine,
    made_by="mu faces",
    report=report,
)

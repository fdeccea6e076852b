"""The pipelines that measure what xcenc and xcenc7 have made differ in what they compare, which is said here.

A chunk that is not the first of its group is decoded from the state that the chunk before ended with, by alfalfa's
xc-decode-bundle: no other program knows these states.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.pipelines import ORIGINAL_BUCKET, Pipeline, PipelineOptions, at_least
from mu_twisted.pipelines._films import positive
from mu_twisted.pipelines._options import JobSettings
from mu_twisted.pipelines._ssim import TOOL, SsimResults, frame_bytes, measure, report

DECODE = 'echo "##TMPDIR##/{name}.ivf" | ./xc-decode-bundle {state} > "##TMPDIR##/{name}.y4m"'
_STATE = '"##TMPDIR##/final.state"'


@dataclass(frozen=True)
class Measured:
    """What a pipeline measures of each chunk.

    :param first: whether the first encode is measured, too.
    :param half: frames of a half, each of which is a task; None: a task has a whole chunk.
    :param group: chunks of a group, by default; None: all are one.
    """

    first: bool
    half: int | None
    group: int | None


def make_options(measured: Measured, video: str) -> type[PipelineOptions]:
    """The options of a pipeline that measures this."""
    every = " (default: all are one)" if measured.group is None else ""
    halves = ", each measured in two halves" if measured.half is not None else ""

    class Options(PipelineOptions):
        """What it takes besides the options of every job."""

        optParameters = [
            ["tasks", "n", 1, f"number of chunks{halves}", at_least(1, "-n")],
            ORIGINAL_BUCKET,
            ["video", "v", video, "name of the video: chunks are read from VIDEO/, VIDEO/out/ and VIDEO/final_state/"],
            ["group", "K", measured.group, f"chunks of a group{every}", at_least(1, "-K")],
            [
                "quality-name",
                None,
                None,
                "behind the names of the folders, as 30_x for VIDEO/out_30_x/ (default: none)",
            ],
            [
                "rate",
                None,
                "24",
                "frames a second, at most 1000, for the report's bits a second",
                positive(1000, "--rate"),
            ],
            TOOL,
        ]

        def postOptions(self) -> None:
            """Where chunks are halved, two tasks have one."""
            if self["quality-name"] is not None and "/" in self["quality-name"]:
                raise usage.UsageError("--quality-name: a part of a folder's name is expected, without a slash")
            if measured.half is not None:
                self["tasks"] *= 2

    return Options


def chunk_of(measured: Measured, settings: JobSettings, task: int) -> int:
    """The chunk that a task measures, counted from the first of the job."""
    return task if measured.half is None else task // 2


def _folder(settings: JobSettings, name: str) -> str:
    suffix = settings["quality-name"]
    return f"{settings['video']}/{name}" + (f"_{suffix}" if suffix else "")


def make_script(measured: Measured) -> Callable[[Worker], Any]:
    """The script of a pipeline that measures this."""

    async def dump_ssim(w: Worker) -> None:
        """One chunk, or a half of it."""
        settings, chunk = w.settings, chunk_of(measured, w.settings, w.task)
        number, group = settings["offset"] + chunk, settings["group"]
        continues = chunk > 0 if group is None else chunk % group > 0
        names = ["first", "out"] if measured.first else ["out"]
        wanted = [(f"{settings['video']}/{number:08d}.y4m", "##TMPDIR##/orig.y4m")]
        wanted += [(f"{_folder(settings, name)}/{number:08d}.ivf", f"##TMPDIR##/{name}.ivf") for name in names]
        if continues:
            wanted.append((f"{_folder(settings, 'final_state')}/{number - 1:08d}.state", "##TMPDIR##/final.state"))
        w.extra = "fetching"
        await w.all(*(w.retrieve(key, file) for key, file in wanted))
        results = SsimResults()
        frames = None
        if measured.half is not None:
            frames = range(measured.half * (w.task % 2), measured.half * (w.task % 2 + 1))
        for name in names:
            w.extra = f"measuring {name}"
            # The first encodes of whole chunks stand by themselves; those of the halves' chunks do not, as there.
            own = name == "first" and measured.half is None
            await w.run(DECODE.format(name=name, state=_STATE if continues and not own else ""))
            count, size = await frame_bytes(w, f'"##TMPDIR##/{name}.ivf"')
            ssim = await measure(w, f'"##TMPDIR##/{name}.y4m"', '"##TMPDIR##/orig.y4m"', frames)
            results.add(name, count, size, ssim, counted=frames is None or not frames.start)
        w.extra = "storing"
        await results.store(w, output(measured, settings, w.task))

    return dump_ssim


def output(measured: Measured, settings: JobSettings, task: int) -> str:
    """Key of what a task stores."""
    first = settings["offset"] * (1 if measured.half is None else 2)
    return f"{_folder(settings, 'out_ssim')}/{first + task:08d}.txt"


def make_pipeline(name: str, summary: str, measured: Measured, video: str) -> Pipeline:
    """A pipeline that measures this."""

    def programs(settings: JobSettings) -> tuple[str, ...]:
        own = settings["ssim"] == "dump_ssim"
        cuts = ("ffmpeg",) if not own or measured.half is not None else ()
        return ("xc-decode-bundle", *(("dump_ssim",) if own else ()), *cuts)

    return Pipeline(
        name=name,
        summary=summary,
        first=make_script(measured),
        options=make_options(measured, video),
        programs=programs,
        outputs=lambda settings, task: [output(measured, settings, task)],
        report=report,
    )

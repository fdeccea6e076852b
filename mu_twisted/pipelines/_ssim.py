"""SSIM of what an encoder made, against its original, is measured on a worker, kept as text, and summed for a report.

The text is the original mu's: ``Total BYTES``, the bytes of all frames, and ``Total: DB (SSIM)``, behind a line
``QUALITY:Q`` where there are several. SSIM is that of ffmpeg's filter, or of the program dump_ssim as the original
had it; their figures are not the same, as they weigh windows and planes differently.
"""

import re
from collections.abc import Iterable, Mapping
from math import log10
from shlex import quote

from mu_twisted.base import counted
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import PipelineError, Plot, Report, coerced, thinned
from mu_twisted.pipelines._options import JobSettings
from mu_twisted.pipelines._plots import MAX_SERIES

MOST = 100.0
"""Decibels of two videos that are the same."""
_ALL = re.compile(r"\bAll:([0-9.]+)")
_TOTAL = re.compile(r"^Total: ([0-9.]+) ", re.MULTILINE)


def _tool(text: str) -> str:
    if text not in ("ffmpeg", "dump_ssim"):
        raise ValueError
    return text


TOOL = ["ssim", None, "ffmpeg", "what measures: ffmpeg or dump_ssim", coerced(_tool, "ffmpeg or dump_ssim", "--ssim")]
"""The option of the pipelines that measure."""


def decibels(ssim: float) -> float:
    """SSIM as the original says it."""
    return MOST if ssim >= 1 else min(MOST, -10 * log10(1 - ssim))


async def frame_bytes(w: Worker, ivf: str) -> tuple[int, int]:
    """The frames of an IVF file, and the bytes of them all: its header has 32 bytes, and that of each frame 12."""
    result = await w.run(f"wc -c < {ivf} && od -An -tu4 -j24 -N4 {ivf}")
    size, frames = map(int, result.output.split())
    if not frames or size < 32 + 12 * frames:
        raise PipelineError(f"the encoder made {counted(frames, 'frame')} in {size} bytes: that is no video")
    return frames, size - 32 - 12 * frames


async def measure(w: Worker, decoded: str, original: str, frames: range | None = None) -> float:
    """SSIM of two videos in files, quoted for the shell.

    :param frames: which of theirs; None: all. Only ffmpeg cuts.
    """
    if w.settings["ssim"] == "dump_ssim":
        if frames is not None:
            cut = []
            for number, file in enumerate((decoded, original)):
                part = f'"##TMPDIR##/part{number}.y4m"'
                trim = f"trim=start_frame={frames.start}:end_frame={frames.stop},setpts=PTS-STARTPTS"
                await w.run(f"./ffmpeg -nostdin -v error -y -i {file} -vf {trim} {part}")
                cut.append(part)
            decoded, original = cut
        found = _TOTAL.findall((await w.run(f"./dump_ssim {decoded} {original}")).output)
        if not found:
            raise PipelineError("dump_ssim has printed no line `Total: DB ...`")
        return 1 - 10 ** (-float(found[-1]) / 10)
    part = "" if frames is None else f"trim=start_frame={frames.start}:end_frame={frames.stop},"
    graph = f"[0:v]{part}setpts=N[a];[1:v]{part}setpts=N[b];[a][b]ssim"
    result = await w.run(
        f"./ffmpeg -nostdin -hide_banner -i {decoded} -i {original} -lavfi {quote(graph)} -f null - 2>&1"
    )
    said = _ALL.findall(result.output)
    if not said:
        raise PipelineError("ffmpeg has compared no frames: are the videos of the same size?")
    return float(said[-1])


class SsimResults:
    """What was measured in one task: for each name frames, their bytes, and SSIM."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._remark: list[str] = []

    def add(self, name: str, frames: int, size: int, ssim: float, *, head: str = "", counted: bool = True) -> None:
        """One more.

        :param head: a line that stands before it.
        :param counted: whether its frames are those of no other task.
        """
        self._lines += [*([head] if head else []), f"Total {size}", f"Total: {decibels(ssim):.4f} ({ssim:.6f})"]
        self._remark.append(f"{name}:{frames * counted}:{size * counted}:{ssim:.6f}")

    async def store(self, w: Worker, key: str) -> None:
        """Store the text, and leave the figures for the report."""
        text = quote("\n".join(self._lines) + "\n")
        await w.run(f'printf %s {text} > "##TMPDIR##/ssim.txt"')
        await w.upload(key, "##TMPDIR##/ssim.txt")
        w.info["remark"] = " ".join(self._remark)


def report(settings: JobSettings, remarks: Mapping[int, str]) -> Report:
    """For each name bits a second, and SSIM over all tasks, added up and plotted as the original's scripts do."""
    sums: dict[str, list[float]] = {}
    each: dict[str, list[tuple[float, float]]] = {}
    sizes: dict[str, list[tuple[float, float]]] = {}
    for task, name, frames, size, ssim in _figures(remarks):
        one = sums.setdefault(name, [0.0, 0.0, 0.0, 0.0])
        for at, value in enumerate((frames, size, 1 - ssim, 1)):
            one[at] += value
        number = float(settings["offset"] + task)
        each.setdefault(name, []).append((number, decibels(ssim)))
        if size:
            sizes.setdefault(name, []).append((number, size / 1000))
    lines, rated = [], []
    for name, (count, total, missing, tasks) in sums.items():
        ssim, rate = 1 - missing / tasks, float(settings["rate"])
        kilobits = 8 * total * rate / max(count, 1) / 1000
        rated.append((kilobits, decibels(ssim)))
        lines.append(
            f"{name}: {counted(int(count), 'frame')}, {total:.0f} bytes, {kilobits:.1f} kbit/s "
            f"at {rate:g} frames a second, SSIM {ssim:.6f} ({decibels(ssim):.4f} dB)"
        )
    return Report("\n".join(lines), plots=_plots(rated, each, sizes))


_Curves = dict[str, list[tuple[float, float]]]


def _plots(rated: list[tuple[float, float]], each: _Curves, sizes: _Curves) -> tuple[Plot, ...]:
    found = []
    if len(rated) > 1:
        found.append(Plot("Quality by rate", "kbit/s", "SSIM, dB", {"all tasks": thinned(sorted(rated))}))
    by_task = (("Quality of each task", "SSIM, dB", each), ("Size of each task", "kB", sizes))
    for title, unit, series in by_task:
        if any(len(points) > 1 for points in series.values()):
            drawn = list(series.items())[:MAX_SERIES]
            found.append(Plot(title, "task", unit, {name: thinned(points) for name, points in drawn}))
    return tuple(found)


def _figures(remarks: Mapping[int, str]) -> Iterable[tuple[int, str, int, int, float]]:
    for task, remark in sorted(remarks.items()):
        for figures in remark.split():
            name, frames, size, ssim = figures.rsplit(":", 3)
            yield task, name, int(frames), int(size), float(ssim)

"""Films are looked at here as split and film need it: rate and frames, by their index or by what ffmpeg says."""

import re
from collections.abc import Generator
from fractions import Fraction
from math import ceil
from typing import Any

from mu_twisted.base import counted
from mu_twisted.fsm import RunError, Worker
from mu_twisted.pipelines import PipelineError, coerced
from mu_twisted.pipelines._examination import Looking, ObjectPart, PartWanted
from mu_twisted.pipelines._mp4 import Index, IndexFault, reading_index
from mu_twisted.pipelines._options import JobSettings

_RATE = re.compile(r"\b([0-9]+(?:\.[0-9]+)?)(k?) fps\b")
_PICTURES = re.compile(r"^Input #0, (?:image2|[a-z0-9]+_pipe),", re.MULTILINE)
_NTSC = {f"{rate * 1000 / 1001:.2f}": Fraction(rate * 1000, 1001) for rate in (24, 30, 48, 60, 120)}


def positive(most: int, switch: str, what: str = "a number or a fraction") -> Any:
    """A converter for fractions above 0; its error names the ``switch``."""

    def convert(text: str) -> Fraction:
        try:
            value = Fraction(text)
        except ZeroDivisionError:
            raise ValueError from None
        if not 0 < value <= most:
            raise ValueError
        return value

    return coerced(convert, f"{what} above 0, at most {most}", switch)


SECONDS = positive(3600, "--seconds", "a number")
"""Of a piece."""


def frames_between(begin: Fraction, end: Fraction, rate: Fraction) -> range:
    """The frames that begin in a span of time, counted from 0.

    :param begin: seconds; a frame that begins then belongs to the span.
    :param end: seconds; one that begins then does not.
    """
    return range(ceil(begin * rate), ceil(end * rate))


async def described(w: Worker, path: str) -> str:
    """What ffmpeg says of a video on the worker. It is given no output, and so ends with a status that says nothing.

    :raises RunError: it was killed before it had said all.
    """
    result = await w.run(f'./ffmpeg -nostdin -hide_banner -i "{path}"', check=False)
    if result.killed:
        raise RunError(result)
    return result.output


def is_pictures(text: str) -> bool:
    """Whether what ffmpeg says is about pictures, one or several in a file, which have no rate of their own."""
    return _PICTURES.search(text) is not None


def read_rate(text: str) -> Fraction | None:
    """The frame rate in what ffmpeg says of a video; those of NTSC, which it rounds, are meant exactly."""
    streams = [line for line in text.splitlines() if "Video:" in line]
    found = _RATE.search(streams[0]) if streams else None
    if found is None:
        return None
    return _NTSC.get(found[1], Fraction(found[1])) * (1000 if found[2] else 1) or None


def examine(settings: JobSettings, pieces: int) -> Looking:
    """Look at a job's video, before anything is launched: whether it has frames, at a constant rate, and enough.

    Of a video that is no MP4 or MOV nothing is known before it is decoded.

    :param pieces: of ``--seconds`` each, from ``-o`` on.
    :raises PipelineError: the video is none that can be cut so.
    """
    key = settings["in"] or f"{settings['video']}.mp4"
    index = yield from film_index(key, settings["rate"])
    if index is None:
        return
    rate = settings["rate"] or index.rate
    if abs(index.rate - rate) * index.frames > rate / 2:
        raise PipelineError(f"{key} has {_shown(index.rate)} frames a second, and --rate says {_shown(rate)}")
    check_pieces(settings, key, index, rate, pieces)


def film_index(
    key: str, rate: Fraction | None = None, *, is_constant: bool = True
) -> Generator[PartWanted, ObjectPart, Index | None]:
    """Read a film's index, which has frames.

    :param key: of the film.
    :param rate: that it is to have; None: its own.
    :param is_constant: whether its rate must be constant.
    :returns: None: the film is no MP4 or MOV, and nothing is known of it before it is decoded.
    :raises PipelineError: it has none, or is cut off.
    """
    try:
        index = yield from reading_index(key)
    except IndexFault as error:
        raise PipelineError(f"{key} {error}") from None
    if index is None:
        return None
    if not index.frames:
        raise PipelineError(f"{key} has no frames: there is no video in it")
    if is_constant and not index.is_constant:
        made = f"`ffmpeg -i IN -r {_shown(rate or index.rate)} OUT` makes one of it"
        raise PipelineError(f"{key} has no constant frame rate: {made}")
    return index


def check_pieces(settings: JobSettings, key: str, index: Index, rate: Fraction, pieces: int) -> None:
    """Look whether each piece of ``--seconds``, from ``-o`` on, has a frame.

    :raises PipelineError: the film ends before one.
    """
    first = frames_between((settings["offset"] + pieces - 1) * settings["seconds"], Fraction(1 << 40), rate).start
    if first >= index.frames:
        most = ceil(index.frames / (rate * settings["seconds"])) - settings["offset"]
        has = f"{key} has {counted(index.frames, 'frame')}, {float(index.frames / rate):g} s"
        raise PipelineError(f"{has}: {f'-n is at most {most}' if most > 0 else '-o is behind its end'}")


def no_frames(key: str, start: float) -> PipelineError:
    """What is wrong with a video of which a worker found no frame where its task begins.

    :param start: seconds from the video's beginning.
    """
    if not start:
        return PipelineError(f"{key} has no frames: it is cut off, or there are none in it")
    return PipelineError(f"{key} has no frames from {start:g} s on: -n is too large, or it is cut off")


def _shown(rate: Fraction) -> str:
    return str(rate) if rate.denominator in (1, 1001) else f"{float(rate):.6g}"

#!/usr/bin/env python3
"""face_finder looks for a face in a film, frame by frame, and is asked line by line on the worker that it stays on.

A question and its answer are a JSON object each, on a line: see :class:`Finder`. The answer is ``{"error": ...}`` where
the picture or the film is to blame; whatever else goes wrong ends it, with a line on its standard error. It runs in the
function, beside ffmpeg, on Python's standard library alone; the module ``face_models`` beside it finds the faces.
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

Face = tuple[int, int, int, int, Sequence[float]]
"""Left, top, right and bottom edge in pixels, and a descriptor: those of the same person lie near one another."""
Find = Callable[[int, int, bytes, bool], list[Face]]
"""From width, height, pixels as RGB and whether small faces are wanted, too, to the faces."""

FFMPEG = ("./ffmpeg", "-nostdin", "-hide_banner", "-nostats")
PICTURE_WIDTH = 1280
TILE_WIDTH = 192
TRIES = 3
"""That a film is read again where its reading breaks off."""
MAX_SIDE = 16_384
"""Pixels of a picture's."""
MAX_NOISE = 64 << 10
"""Bytes that are kept of what ffmpeg says."""
BOX, PAPER, INK = b"\xff\xd8\x00", b"\x00\x00\x00", b"\xff\xff\xff"
GLYPHS = dict(
    zip(
        "0123456789:.",
        (0o75557, 0o26227, 0o71747, 0o71717, 0o55711, 0o74717, 0o74757, 0o71222, 0o75757, 0o75717, 0o02020, 0o00002),
        strict=True,
    )
)
"""Five rows of three pixels, an octal digit for each."""
_DURATION = re.compile(r"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_NO_FILM = ("Invalid data found", "moov atom not found")
_NO_VIDEO = ("matches no streams", "does not contain any stream")


class Blame(Exception):
    """The picture or the film is to blame, and another attempt would come to the same; completes a sentence."""


class Broken(Exception):
    """The film could not be read to its end this time."""


class Frame:
    """One picture.

    :param pixels: RGB, row by row.
    """

    def __init__(self, width: int, height: int, pixels: bytes) -> None:
        self.width = width
        self.height = height
        self.pixels = pixels

    def tile(self, box: Sequence[int], seconds: float) -> Frame:
        """A small picture of it, with a box around the face, and when it is.

        :param box: left, top, right and bottom edge.
        """
        width = min(TILE_WIDTH, self.width)
        height = max(1, round(self.height * width / self.width))
        columns = [3 * (x * self.width // width) for x in range(width)]
        pixels = bytearray()
        for y in range(height):
            row = self.pixels[(y * self.height // height) * self.width * 3 :][: self.width * 3]
            pixels += b"".join([row[at : at + 3] for at in columns])
        small = _Canvas(width, height, pixels)
        left, top, right, bottom = (edge * width // self.width for edge in box)
        for edge in (top, bottom):
            small.fill(left, edge, right + 1, edge + 1, BOX)
        for edge in (left, right):
            small.fill(edge, top, edge + 1, bottom + 1, BOX)
        small.write(clock(seconds), 2, height - 14)
        return Frame(width, height, bytes(pixels))


class _Canvas:
    def __init__(self, width: int, height: int, pixels: bytearray) -> None:
        self._width = width
        self._height = height
        self._pixels = pixels

    def fill(self, left: int, top: int, right: int, bottom: int, colour: bytes) -> None:
        """Fill what of a rectangle is on the picture."""
        left, right = max(0, left), min(self._width, right)
        for y in range(max(0, top), min(self._height, bottom)):
            if right > left:
                self._pixels[3 * (y * self._width + left) : 3 * (y * self._width + right)] = colour * (right - left)

    def write(self, text: str, left: int, top: int) -> None:
        """Write digits, two pixels for each of a glyph's, on a dark ground."""
        self.fill(left - 2, top - 2, left + 8 * len(text), top + 12, PAPER)
        for at, sign in enumerate(text):
            for pixel in range(15):
                if GLYPHS[sign] & (1 << (14 - pixel)):
                    x, y = left + 8 * at + 2 * (pixel % 3), top + 2 * (pixel // 3)
                    self.fill(x, y, x + 2, y + 2, INK)


class Finder:
    """Answers questions.

    :param find: finds the faces in a picture.
    """

    def __init__(self, find: Find) -> None:
        self._find = find

    def answer(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to one.

        :raises Broken: the film could not be read.
        """
        does = {"picture": self.picture, "find": self.find, "sheet": self.sheet}
        try:
            return does[question["do"]](question)
        except Blame as error:
            return {"error": str(error)}

    def picture(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Take the one face in the picture ``file``, and write its descriptor to the file ``to``."""
        command = [*FFMPEG, "-i", question["file"], "-vf", f"scale='min({PICTURE_WIDTH},iw)':-2", "-frames:v", "1"]
        with _VideoFrames(command) as frames:
            shown = next(frames, None)
        if shown is None:
            raise Blame("is no picture that ffmpeg reads")
        pixels = (shown.width, shown.height, shown.pixels)
        faces = self._find(*pixels, False) or self._find(*pixels, True)
        if len(faces) != 1:
            many = f"has {len(faces)} faces: cut out the one that is looked for" if faces else "has no face in it"
            raise Blame(many)
        with Path(question["to"]).open("w", encoding="ascii") as file:
            json.dump([float(number) for number in faces[0][4]], file)
        return {}

    def find(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Look at ``count`` frames of a film from number ``first`` on, one of each ``every`` seconds.

        The film's URL, or its path, stands in the file ``url``, the descriptor in ``picture``. Frames are scaled down
        to ``width`` pixels; a face is the same that is nearer than ``limit``. What is found is added to the file
        ``to``, a JSON object on each line: ``hits``, number and distance of frames with the face, and of each run of
        such frames the nearest as a tile, ``tiles`` of them at most. Answers with ``frames``, ``hits`` and ``tiles``,
        how many there were, and with ``duration``, the film's, if it is known.
        """
        with Path(question["url"]).open(encoding="utf-8") as file:
            url = file.readline().rstrip("\n")
        wanted = json.loads(Path(question["picture"]).read_text("ascii"))
        first, every, count = question["first"], question["every"], question["count"]
        filters = f"fps=1/{every},scale='min({question['width']},iw)':-2"
        said = [*FFMPEG, "-ss", f"{first * every:.6f}", "-t", f"{count * every:.6f}", "-i"]
        shown = ["-map", "0:v:0", "-vf", filters, "-frames:v", str(count)]
        hits: list[tuple[int, float]] = []
        best: list[tuple[float, Frame]] = []
        kept = False
        with _read(url) as film, _VideoFrames([*said, film.address, *shown]) as frames:
            number = -1
            for number, frame in enumerate(frames):  # noqa: B007 - how many there were
                near = self._nearest(frame, wanted)
                if near is None or near[0] > question["limit"]:
                    continue
                distance, box = near
                begins = not hits or hits[-1][0] < first + number - 1
                kept = len(best) < question["tiles"] if begins else kept
                if kept and (begins or distance < best[-1][0]):
                    tile = frame.tile(box, (first + number + 0.5) * every)
                    best[len(best) - (not begins) :] = [(distance, tile)]
                hits.append((first + number, round(distance, 4)))
            if film.fault:
                raise Broken(film.fault)
        self._keep(hits, [tile for _, tile in best], question["to"])
        return {"frames": number + 1, "duration": frames.duration, "hits": len(hits), "tiles": len(best)}

    def sheet(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Put together what the ``files`` have, which are those of the film's pieces in their order.

        The file ``to`` becomes JSON with all ranges of time in which the face is seen: frames of ``every`` seconds that
        follow one another, one that is missed between them counted in. The file ``sheet`` becomes a picture of
        ``tiles`` tiles, spread over all; without any there is none. Answers with the first ``shown`` ranges, from,
        to and least distance, with how many there are (``count``) and their ``seconds``, and with ``tiles``.
        """
        found, ranges, every = [], list[list[float]](), question["every"]
        for name in question["files"]:
            with Path(name).open(encoding="ascii") as file:
                for line in file:
                    record = json.loads(line)
                    if "hits" not in record:
                        found.append(record)
                    for number, distance in record.get("hits", ()):
                        if ranges and number <= ranges[-1][1] + 1:
                            ranges[-1][1:] = number + 1, min(ranges[-1][2], distance)
                        else:
                            ranges.append([number, number + 1, distance])
        times = [[round(first * every, 3), round(end * every, 3), near] for first, end, near in ranges]
        listed = [{"from": first, "to": end, "distance": near} for first, end, near in times]
        Path(question["to"]).write_text(json.dumps({"ranges": listed}) + "\n", "ascii")
        most = min(question["tiles"], len(found))
        if most:
            self._contact_sheet([found[at * len(found) // most] for at in range(most)], question["sheet"])
        seconds = round(sum(end - first for first, end, _ in times), 3)
        return {"ranges": times[: question["shown"]], "count": len(times), "seconds": seconds, "tiles": most}

    def _contact_sheet(self, chosen: Sequence[Mapping[str, Any]], name: str) -> None:
        width, height = chosen[0]["width"], chosen[0]["height"]
        columns = min(8, math.ceil(math.sqrt(len(chosen))))
        rows = math.ceil(len(chosen) / columns)
        pixels = bytearray(3 * width * columns * height * rows)
        for at, tile in enumerate(chosen):
            data = base64.b64decode(tile["pixels"])
            for y in range(height):
                first = 3 * width * (((at // columns) * height + y) * columns + at % columns)
                pixels[first : first + 3 * width] = data[3 * width * y : 3 * width * (y + 1)]
        size = f"{width * columns}x{height * rows}"
        command = ["./ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size]
        command += ["-i", "pipe:", "-q:v", "3", "-f", "image2", "-update", "1"]
        done = subprocess.run([*command, name], input=bytes(pixels), capture_output=True, check=False)
        if done.returncode:
            raise Broken(f"the contact sheet could not be made: {_said(done.stderr.decode('utf-8', 'replace'))}")

    def _nearest(self, frame: Frame, wanted: Sequence[float]) -> tuple[float, tuple[int, int, int, int]] | None:
        """The distance and the box of the nearest face, if there is one."""
        faces = self._find(frame.width, frame.height, frame.pixels, False)
        return min(((math.dist(face[4], wanted), face[:4]) for face in faces), default=None)

    def _keep(self, hits: Sequence[tuple[int, float]], tiles: Sequence[Frame], name: str) -> None:
        with Path(name).open("a", encoding="ascii") as file:
            file.write(json.dumps({"hits": hits}) + "\n")
            for tile in tiles:
                pixels = base64.b64encode(tile.pixels).decode("ascii")
                file.write(json.dumps({"width": tile.width, "height": tile.height, "pixels": pixels}) + "\n")


class _File:
    """A film that is a file here."""

    fault = ""

    def __init__(self, path: str) -> None:
        self.address = path

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _read(url: str) -> Any:
    """What ffmpeg is to read, for as long as the context lasts: its ``address``, and the ``fault`` of that."""
    if not url.startswith(("http://", "https://")):
        return _File(url)
    from object_server import ObjectServer

    return ObjectServer(url)


class _VideoFrames:
    """The frames that ffmpeg makes, one after the other.

    :param command: of ffmpeg, but for the form of its output.
    :ivar duration: of what is read, in seconds; None: it is not said, or not yet.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.duration: float | None = None
        self._noise: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the frames
        words = [*command, "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "pipe:"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._noise, bufsize=1 << 20
        )

    def __enter__(self) -> _VideoFrames:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._noise.close()

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        out = self._process.stdout
        assert out is not None
        header = [out.readline() for _ in range(3)]
        if not all(header):
            self._end()
            raise StopIteration
        size = header[1].split()
        if header[0] != b"P6\n" or header[2] != b"255\n" or len(size) != 2:
            raise Broken("ffmpeg has made no pictures")
        width, height = (int(side[:9]) for side in size)
        if not 0 < width <= MAX_SIDE or not 0 < height <= MAX_SIDE:
            raise Blame(f"has pictures of {width}x{height} pixels, and {MAX_SIDE} are the limit")
        pixels = out.read(3 * width * height)
        if len(pixels) < 3 * width * height:
            self._end()
            raise StopIteration
        return Frame(width, height, pixels)

    def _end(self) -> None:
        status = self._process.wait()
        self._noise.seek(max(0, self._noise.seek(0, os.SEEK_END) - MAX_NOISE))
        said = self._noise.read().decode("utf-8", "replace")
        found = _DURATION.search(said)
        if found is not None:
            self.duration = 3600 * int(found[1]) + 60 * int(found[2]) + float(found[3])
        if any(text in said for text in _NO_VIDEO):
            raise Blame("has no frames: ffmpeg finds no video in it")
        if status and found is None and any(text in said for text in _NO_FILM):
            raise Blame("is nothing that ffmpeg reads")
        if status:
            raise Broken(f"ffmpeg ended with status {status}: {_said(said)}")


def clock(seconds: float) -> str:
    """A time in a film, as 1:02:03.5."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{tenths / 10:04.1f}"


def _said(text: str) -> str:
    """The last line of what ffmpeg says."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it says nothing"


def main() -> int:
    """Answer until there are no more questions; the exit status."""
    from face_models import find

    finder = Finder(find)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(_tried(finder, json.loads(line))), flush=True)
    return 0


def _tried(finder: Finder, question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer, of another try where a film's reading breaks off; a network's fault may pass."""
    for tried in range(1, TRIES):
        with suppress(Broken):
            return finder.answer(question)
        time.sleep(0.5 * tried)
    return finder.answer(question)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Broken, OSError, ImportError, ValueError, KeyError) as error:
        print(f"{type(error).__name__ if not isinstance(error, Broken) else 'reading'}: {error}", file=sys.stderr)
        sys.exit(1)

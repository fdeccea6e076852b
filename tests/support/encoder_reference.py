"""What xcenc must come to: the same commands, one after the other, with no worker, no message and no pipeline."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from pathlib import Path

VPXENC = (
    "--ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level={quality} "
    "--buf-initial-sz=10000 --buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 "
    "--threads=1 --token-parts=0 --tune=ssim --target-bitrate=4294967295"
)


def y4m(number: int, size: int = 500) -> bytes:
    """A chunk's input, unlike any other's."""
    return b"YUV4MPEG2 W16 H16 F24:1\nFRAME\n" + (b"%d." % number) * size


@dataclass
class Chunk:
    """What becomes of a chunk.

    :ivar states: what it hands to the next chunk, by number.
    """

    first: bytes = b""
    output: bytes = b""
    final: bytes = b""
    comparison: bytes | None = None
    states: dict[int, bytes] = field(default_factory=dict)


def serial(tools: Path, work: Path, inputs: list[bytes], group: int, quality: int = 30) -> list[Chunk]:
    """Encode all chunks in order.

    :param tools: where the programs are.
    :param work: an empty directory.
    :param inputs: the chunks' Y4M.
    :param group: how many chunks make a group.
    """
    chunks: list[Chunk] = []
    for task, video in enumerate(inputs):
        place = task % group
        (work / "in.y4m").write_bytes(video)
        _run(tools, work, "vpxenc", *VPXENC.format(quality=quality).split(), "-o", "vpx.ivf", "in.y4m")
        if place == 0:
            chunks.append(_head(tools, work))
        else:
            chunks.append(_rebased(tools, work, place, chunks[-1].states))
    return chunks


def chained(
    tools: Path, work: Path, inputs: list[bytes], passes: int, y_ac_qi: int = 30, s_ac_qi: int = 127
) -> list[Chunk]:
    """Encode all chunks in order, as the chain mode does."""
    chunks: list[Chunk] = []
    for task, video in enumerate(inputs):
        (work / "in.y4m").write_bytes(video)
        chunk = Chunk()
        for number in range(min(passes, task + 1)):
            words = ["--s-ac-qi" if number else "--y-ac-qi", str(s_ac_qi if number else y_ac_qi), "-i", "y4m"]
            words += ["-O", f"{number}.state", "-o", f"{number}.ivf"]
            if number:
                (work / "given.state").write_bytes(chunks[-1].states[number - 1])
                words += ["-r", "-I", "given.state", "-p", f"{number - 1}.ivf"]
            if number > 1:
                (work / "before.state").write_bytes(chunks[-1].states[number - 2])
                words += ["-S", "before.state"]
            _run(tools, work, "xc-enc", *words, "in.y4m")
            chunk.states[number] = _read(work, f"{number}.state")
            chunk.output = _read(work, f"{number}.ivf")
            if number:
                chunk.comparison = _run(tools, work, "comp-states", f"{number - 1}.state", f"{number}.state", most=1)
        chunks.append(chunk)
    return chunks


def seventh(
    tools: Path, work: Path, heads: list[bytes], others: list[bytes], group: int, quality: int = 30
) -> list[Chunk]:
    """Encode all chunks in order, as xcenc7 does.

    :param heads: the chunks' Y4M.
    :param others: the same with a frame of the chunk before in front, for all that are not first in their group.
    """
    chunks: list[Chunk] = []
    for task in range(len(heads)):
        place = task % group
        (work / "in.y4m").write_bytes(others[task] if place else heads[task])
        _run(tools, work, "vpxenc", *VPXENC.format(quality=quality).split(), "-o", "vpx.ivf", "in.y4m")
        if place == 0:
            _run(tools, work, "xc-terminate-chunk", "vpx.ivf", "out.ivf", "final.state")
        else:
            (work / "given.state").write_bytes(chunks[-1].final)
            words = ["-e", "-w", "0.75", "-i", "y4m", "-O", "final.state", "-o", "out.ivf"]
            _run(tools, work, "xc-enc", *words, "-r", "-I", "given.state", "-p", "vpx.ivf", "in.y4m")
        first = _read(work, "vpx.ivf" if place else "out.ivf")
        chunks.append(Chunk(first, _read(work, "out.ivf"), _read(work, "final.state")))
    return chunks


def _head(tools: Path, work: Path) -> Chunk:
    _run(tools, work, "xc-terminate-chunk", "vpx.ivf", "out.ivf", "final.state")
    output, final = _read(work, "out.ivf"), _read(work, "final.state")
    return Chunk(output, output, final, states={0: final})


def _rebased(tools: Path, work: Path, place: int, given: dict[int, bytes]) -> Chunk:
    _run(tools, work, "xc-dump", "vpx.ivf", "final.state")
    chunk = Chunk(first=_read(work, "vpx.ivf"), states={0: _read(work, "final.state")})
    (work / "given.state").write_bytes(given[0])
    (work / "last.state").write_bytes(given[place - 1])
    common = ["-w", "0.75", "-i", "y4m", "-O", "final.state"]
    _run(tools, work, "xc-enc", *common, "-o", "one.ivf", "-r", "-I", "given.state", "-p", "vpx.ivf", "in.y4m")
    result = "one.ivf"
    if place >= 2:
        words = ["-r", "-I", "last.state", "-p", "one.ivf", "-S", "given.state", "in.y4m"]
        _run(tools, work, "xc-enc", *common, "-o", "two.ivf", *words)
        result = "two.ivf"
    chunk.output, chunk.final = _read(work, result), _read(work, "final.state")
    chunk.states[place] = chunk.final
    chunk.comparison = _run(tools, work, "comp-states", "given.state", "last.state", most=1)
    return chunk


def _run(tools: Path, work: Path, name: str, *words: str, most: int = 0) -> bytes:
    done = subprocess.run([tools / name, *words], cwd=work, input=b"hi\n", capture_output=True, check=False)
    assert 0 <= done.returncode <= most, (name, words, done.stderr)
    return done.stdout


def _read(work: Path, name: str) -> bytes:
    return (work / name).read_bytes()

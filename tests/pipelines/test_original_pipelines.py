"""The original's other pipelines: their keys, with a real ffmpeg, and stand-ins for alfalfa's tools."""

from pathlib import Path

import pytest
from encoder_workers import Job, failures
from twisted.python import usage

from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.pipelines import (
    Pipeline,
    dump_ssim,
    dump_ssim7,
    ffmpeg_split_upload,
    frame7,
    split12_dump_ssim,
    split_dump_ssim,
    stitch2,
    vpx_ssim,
)

TOOLS = {
    "vpxenc": """q=${4#--min-q=}
for last; do :; done
exec ./ffmpeg -nostdin -v error -y -i "$last" -c:v libvpx -qmin $q -qmax $q -b:v 5M "$7"
""",
    "vpxdec": 'exec ./ffmpeg -nostdin -v error -y -i "$4" "$3"\n',
    "xc-decode-bundle": """read -r path
[ -z "$1" ] || [ -e "$1" ] || exit 9
exec ./ffmpeg -nostdin -v error -i "$path" -f yuv4mpegpipe -
""",
    "dump_ssim": '[ -e "$1" ] && [ -e "$2" ] && echo "Total: 12.5 (of both)"\n',
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("originals")
    (directory / "ffmpeg").symlink_to(find_ffmpeg())
    for name, script in TOOLS.items():
        (directory / name).write_text(f"#!/bin/sh\n{script}")
        (directory / name).chmod(0o755)
    return directory


def chunk(tools: Path, frames: int, first: int = 0) -> bytes:
    """A chunk of Y4M, of frames of a source from this one on."""
    path = tools / f"chunk-{first}-{frames}.y4m"
    trim = f"trim=start_frame={first}:end_frame={first + frames},setpts=PTS-STARTPTS"
    if not path.exists():
        source = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=4", "-vf", trim, "-pix_fmt", "yuv420p"]
        run_ffmpeg(find_ffmpeg(), *source, str(path))
    return path.read_bytes()


def ivf(tools: Path, frames: int, first: int = 0) -> bytes:
    chunk(tools, frames, first)
    path = tools / f"chunk-{first}-{frames}.ivf"
    if not path.exists():
        words = ["-i", str(path.with_suffix(".y4m")), "-c:v", "libvpx", "-b:v", "1M"]
        run_ffmpeg(find_ffmpeg(), "-y", *words, str(path))
    return path.read_bytes()


def ran(pipeline: Pipeline, tools: Path, work: Path, store: dict[str, bytes], *words: object) -> Job:
    job = Job(pipeline, pipeline.parse(list(map(str, words))), tools, work, store)
    job.run()
    return job


def test_two_chunks_become_one(tools: Path, tmp_path: Path) -> None:
    store = {f"sintel-1k-y4m_06/{number:08d}.y4m": chunk(tools, 6, 6 * number) for number in range(4, 8)}
    job = ran(stitch2.pipeline, tools, tmp_path, store, "-n", 2, "-o", 2)
    assert failures(job) == {}
    assert job.store["sintel-1k-y4m_12/00000002.y4m"] == chunk(tools, 12, 24)
    assert job.store["sintel-1k-y4m_12/00000003.y4m"] == chunk(tools, 12, 36)


def test_chunks_of_other_sizes_are_not_joined(tools: Path, tmp_path: Path) -> None:
    other = chunk(tools, 6).replace(b"W64 H48", b"W48 H64")
    store = {"a-y4m_06/00000000.y4m": chunk(tools, 6), "a-y4m_06/00000001.y4m": other}
    job = ran(stitch2.pipeline, tools, tmp_path, store, "-v", "a")
    assert "different headers" in str(failures(job)[0])


@pytest.mark.parametrize("frames", [6, 5])
def test_the_frame_before_comes_in_front(tools: Path, tmp_path: Path, frames: int) -> None:
    store = {f"v-y4m_{frames:02d}/{number:08d}.y4m": chunk(tools, frames, frames * number) for number in range(3)}
    job = ran(frame7.pipeline, tools, tmp_path, store, "-n", 2, "-v", "v", "-f", frames)
    assert failures(job) == {}
    for number in (1, 2):
        wanted = chunk(tools, frames + 1, frames * number - 1)
        assert job.store[f"v-y4m_{frames + 1:02d}/{number:08d}.y4m"] == wanted
    short = {**store, f"v-y4m_{frames:02d}/00000000.y4m": chunk(tools, frames - 1)}
    (tmp_path / "short").mkdir()
    job = ran(frame7.pipeline, tools, tmp_path / "short", short, "-v", "v", "-f", frames)
    assert f"has not {frames} frames" in str(failures(job)[0])


def test_there_is_no_chunk_before_the_first() -> None:
    with pytest.raises(usage.UsageError, match="-o"):
        frame7.pipeline.parse(["-o", "0"])


def test_frames_are_taken_of_each_second(tools: Path, tmp_path: Path) -> None:
    path = tmp_path / "input.mp4"
    run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "testsrc2=size=64x48:rate=24:duration=4", str(path))
    store = {"input.mp4": path.read_bytes()}
    job = ran(ffmpeg_split_upload.pipeline, tools, tmp_path, store, "-n", 2, "-f", 2, "--seconds", 2)
    assert failures(job) == {}
    assert sorted(store.keys() - {"input.mp4"}) == [f"video-mp4-png-split/{number:08d}.png" for number in range(1, 9)]
    (tmp_path / "late").mkdir()
    job = ran(ffmpeg_split_upload.pipeline, tools, tmp_path / "late", store, "-o", 9)
    assert "-n is too large" in str(failures(job)[0])


@pytest.mark.parametrize("tool", ["ffmpeg", "dump_ssim"])
def test_each_quality_has_its_size_and_ssim(tools: Path, tmp_path: Path, tool: str) -> None:
    store = {f"v/{number:08d}.y4m": chunk(tools, 6, 6 * number) for number in range(2)}
    job = ran(vpx_ssim.pipeline, tools, tmp_path, store, "-n", 2, "-v", "v", "-q", "4,60", "--ssim", tool)
    assert failures(job) == {}
    lines = job.store["v/ssim_txt_4_60/00000001.txt"].decode().splitlines()
    assert [lines[0], lines[3]] == ["QUALITY:4", "QUALITY:60"]
    good, bad = (int(lines[at].removeprefix("Total ")) for at in (1, 4))
    assert good > bad > 0
    better, worse = (float(lines[at].split()[1]) for at in (2, 5))
    assert better > worse if tool == "ffmpeg" else better == worse == 12.5
    first, second = job.report.text.splitlines()
    assert first.startswith("quality=4: 12 frames, ")
    assert "kbit/s at 24 frames a second, SSIM 0." in second
    by_rate, quality, size = job.report.plots
    assert (by_rate.title, quality.title, size.title) == (
        "Quality by rate",
        "Quality of each task",
        "Size of each task",
    )
    (low, worst), (high, best) = by_rate.series["all tasks"]
    assert low < high
    assert worst < best if tool == "ffmpeg" else worst == best
    assert quality.series.keys() == size.series.keys() == {"quality=4", "quality=60"}
    assert size.series["quality=4"][1] == (1.0, good / 1000)
    assert [task for task, _ in quality.series["quality=60"]] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("pipeline", "frames", "group", "video", "names"),
    [
        (dump_ssim.pipeline, 6, 2, "sintel-1k-y4m_06", ["first", "out"]),
        (dump_ssim7.pipeline, 6, 2, "sintel-1k-y4m_06", ["out"]),
        (split_dump_ssim.pipeline, 24, 2, "sintel-4k-y4m_24", ["out"]),
        (split12_dump_ssim.pipeline, 12, 2, "sintel-4k-y4m_12", ["first", "out"]),
    ],
)
@pytest.mark.parametrize("tool", ["ffmpeg", "dump_ssim"])
def test_what_encoders_have_made_is_measured(
    tools: Path, tmp_path: Path, pipeline: Pipeline, frames: int, group: int, video: str, names: list[str], tool: str
) -> None:
    store = {}
    for number in range(1, 4):
        store[f"{video}/{number:08d}.y4m"] = chunk(tools, frames, number)
        for name in names:
            store[f"{video}/{name}_30_x/{number:08d}.ivf"] = ivf(tools, frames, number)
        if number > 1:  # the state that chunk 0 ended with is not wanted: 1 is the first of a group
            store[f"{video}/final_state_30_x/{number - 1:08d}.state"] = b"state"
    del store[f"{video}/final_state_30_x/00000002.state"]
    words = ["-n", 3, "-o", 1, "-K", group, "--quality-name", "30_x", "--ssim", tool]
    before = dict(store)
    job = ran(pipeline, tools, tmp_path, store, *words)
    assert failures(job) == {}
    halves = 2 if "split" in pipeline.name else 1
    made = sorted(job.store.keys() - before.keys())
    assert made == [f"{video}/out_ssim_30_x/{number:08d}.txt" for number in range(halves, 4 * halves)]
    text = job.store[made[0]].decode()
    assert text.count("Total: ") == len(names)
    assert [line.partition(":")[0] for line in job.report.text.splitlines()] == names
    needed = pipeline.needs(job.settings)
    assert needed[0] == "xc-decode-bundle"
    assert tool in needed
    assert "ffmpeg" in needed or halves == 1
    assert all(f": {3 * frames} frames, " in line for line in job.report.text.splitlines())


@pytest.mark.parametrize("words", [["-q", "64"], ["-q", "1,1"], ["-q", ""], ["-q", "a"], ["--ssim", "eyes"]])
def test_options_that_measure_nothing_are_refused(words: list[str]) -> None:
    with pytest.raises(usage.UsageError):
        vpx_ssim.pipeline.parse(words)

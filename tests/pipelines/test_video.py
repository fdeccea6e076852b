"""The small pipelines of frames: their keys and numbers in memory, with a fake ffmpeg; options."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from encoder_workers import Job, failures
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.pipelines import Pipeline, grayscale, load_pipeline, merge, split, vpxenc, y4m2png
from mu_twisted.pipelines._films import frames_between, read_rate

FFMPEG = """#!/bin/sh
# Says a rate, makes frames 1 to the number given with -frames:v, or copies each input to its output.
for last; do :; done
frames=$(echo "$*" | sed -n 's/.*-frames:v \\([0-9]*\\).*/\\1/p')
case "$*" in
    *-frames:v*)
        start=$(echo "$*" | sed -n 's/.*-ss \\([0-9.]*\\).*/\\1/p')
        n=1
        while [ $n -le $frames ]; do echo "$start $n" > "$(printf "$last" $n)"; n=$((n + 1)); done ;;
    *hue=s=0*)
        n=1
        in=$(echo "$*" | sed 's/.* -i \\(.*%08d.png\\) -vf .*/\\1/')
        while [ -e "$(printf "$in" $n)" ]; do
            { echo gray; cat "$(printf "$in" $n)"; } > "$(printf "$last" $n)"
            n=$((n + 1))
        done ;;
    *concat*)
        list=$(echo "$*" | sed 's/.* -i \\(.*list.txt\\) .*/\\1/')
        cd "${list%/*}"
        { echo "$*" | grep -o ' -c[ :].* -mov'; sed "s/file '\\(.*\\)'/\\1/" list.txt | xargs cat; } > "$last" ;;
    *) echo >&2 "  Stream #0:0: Video: h264, yuv420p, 320x180, 24 fps, 24 tbr"; exit 1 ;;
esac
"""


@pytest.fixture(scope="module")
def ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a program of that name, which keeps its command lines' promises and knows no video."""
    directory = tmp_path_factory.mktemp("ffmpeg")
    path = directory / "ffmpeg"
    path.write_text(FFMPEG)
    path.chmod(0o755)
    return directory


def parsed(pipeline: Pipeline, *words: object) -> Any:
    options = pipeline.options()
    options.parseOptions([str(word) for word in words])  # type: ignore[no-untyped-call]
    return options


def ran(
    pipeline: Pipeline, tools: Path, work: Path, store: dict[str, bytes], *words: object, command: str = "false"
) -> Job:
    job = Job(pipeline, parsed(pipeline, *words), tools, work, store, command)
    job.run()
    return job


def made(job: Job, before: dict[str, bytes]) -> dict[str, bytes]:
    return {key: value for key, value in job.store.items() if key not in before}


def test_vpxenc_runs_the_packaged_command_on_each_chunk(tmp_path: Path) -> None:
    before = {f"clip/{number:08d}.y4m": b"chunk %d" % number for number in range(5, 8)}
    words = ("-n", 3, "-o", 5, "-v", "clip")
    job = ran(vpxenc.pipeline, tmp_path, tmp_path, dict(before), *words, command="rev < '##INFILE##' > '##OUTFILE##'")
    assert failures(job) == {}
    assert made(job, before) == {f"clip/out/{number:08d}.ivf": b"%d knuhc" % number for number in range(5, 8)}
    assert vpxenc.pipeline.outputs is not None
    assert vpxenc.pipeline.outputs(job.settings, 1) == ["clip/out/00000006.ivf"]


def test_grayscale_keeps_the_frames_numbers(ffmpeg: Path, tmp_path: Path) -> None:
    before = {f"clip-png16/{number:08d}.png": b"frame %d" % number for number in range(5, 13)}
    job = ran(grayscale.pipeline, ffmpeg, tmp_path, dict(before), "-n", 2, "-f", 4, "-o", 1, "-v", "clip")
    assert failures(job) == {}
    assert made(job, before) == {f"clip-gray/{number:08d}.png": b"gray\nframe %d" % number for number in range(5, 13)}


def test_y4m2png_numbers_frames_through_the_video(tmp_path: Path) -> None:
    before = {f"clip-y4m_03/{number:08d}.y4m": b"%d" % number for number in range(2)}
    command = 'for n in 1 2 3; do echo "$(cat "##INFILE##").$n" > "$(printf "##OUTFILE##" $n)"; done'
    words = ("-n", 2, "-f", 3, "-v", "clip", "-i", "y4m_03")
    job = ran(y4m2png.pipeline, tmp_path, tmp_path, dict(before), *words, command=command)
    assert failures(job) == {}
    assert [job.store[f"clip-png16/{number:08d}.png"] for number in range(1, 7)] == [
        b"%d.%d\n" % (chunk, frame) for chunk in range(2) for frame in (1, 2, 3)
    ]


@pytest.mark.parametrize(("frames", "failing"), [(0, {0, 1}), (2, {0}), (4, {0, 1})])
def test_y4m2png_refuses_chunks_that_would_shift_the_numbers(tmp_path: Path, frames: int, failing: set[int]) -> None:
    before = {f"sintel-1k-y4m_06/{number:08d}.y4m": b"%d" % number for number in range(2)}
    command = f'n=1; while [ $n -le {frames} ]; do : > "$(printf "##OUTFILE##" $n)"; n=$((n + 1)); done'
    job = ran(y4m2png.pipeline, tmp_path, tmp_path, before, "-n", 2, "-f", 3, command=command)
    assert set(failures(job)) == failing
    assert all(f"holds {frames} frames, and -f says 3" in (error or "") for error in failures(job).values())


def test_split_gives_each_frame_its_number_in_the_video(ffmpeg: Path, tmp_path: Path) -> None:
    before = {"clip.mp4": b"video"}
    job = ran(split.pipeline, ffmpeg, tmp_path, dict(before), "-n", 3, "-v", "clip", "--seconds", "0.25")
    assert failures(job) == {}
    starts = ["0.000000", "0.229167", "0.479167"]  # half a frame before the first of each
    expected = [f"{starts[task]} {here}\n".encode() for task in range(3) for here in range(1, 7)]
    assert [job.store[f"clip-png16/{number:08d}.png"] for number in range(1, 19)] == expected
    assert len(made(job, before)) == 18
    assert (job.report.text, job.report.error) == ("18 frames: clip-png16/", None)


def test_split_takes_another_key_rate_and_name(ffmpeg: Path, tmp_path: Path) -> None:
    before = {"a/b.mkv": b"video"}
    words = ("-o", 2, "-v", "clip", "--in", "a/b.mkv", "--rate", "30000/1001", "--to", "frames")
    job = ran(split.pipeline, ffmpeg, tmp_path, dict(before), *words)
    assert failures(job) == {}
    assert sorted(made(job, before)) == [f"clip-frames/{number:08d}.png" for number in range(61, 91)]


def test_split_says_which_seconds_hold_no_frame_or_too_few() -> None:
    settings = parsed(split.pipeline, "-n", 4, "-v", "clip")
    well = split.report(settings, {0: "24 24", 1: "24 24", 2: "24 24", 3: "7 24"})
    assert (well.text, well.error) == ("79 frames: clip-png16/", None)
    gap = split.report(settings, {0: "24 24", 1: "23 24", 2: "24 24", 3: "24 24"})
    assert "task 1 found 23 of 24 frames, though the video goes on" in (gap.error or "")
    assert split.report(settings, {}).text == ""


def test_split_of_what_is_no_video_says_so(tmp_path: Path) -> None:
    (tmp_path / "ffmpeg").write_text("#!/bin/sh\necho Invalid data\nexit 1\n")
    (tmp_path / "ffmpeg").chmod(0o755)
    job = ran(split.pipeline, tmp_path, tmp_path, {"sintel-1k.mp4": b"no video"})
    assert "ffmpeg says no frame rate of sintel-1k.mp4" in (failures(job)[0] or "")


@given(
    rate=st.fractions(Fraction(1, 2), 240, max_denominator=1001),
    seconds=st.fractions(Fraction(1, 10), 10, max_denominator=100),
    tasks=st.integers(1, 30),
)
def test_every_frame_belongs_to_one_task(rate: Fraction, seconds: Fraction, tasks: int) -> None:
    spans = [frames_between(task * seconds, (task + 1) * seconds, rate) for task in range(tasks)]
    numbers = [number for span in spans for number in span]
    assert numbers == list(range(len(numbers)))
    for task, span in enumerate(spans):
        assert all(task * seconds <= number / rate < (task + 1) * seconds for number in span)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("Stream #0:0: Video: h264, 233 kb/s, 24 fps, 24 tbr", Fraction(24)),
        ("Stream #0:0: Video: h264, 23.98 fps", Fraction(24000, 1001)),
        ("Stream #0:0: Video: vp9, 29.97 fps", Fraction(30000, 1001)),
        ("title: 60 fps\nStream: Audio: aac\nStream: Video: h264, 12.50 fps", Fraction(25, 2)),
        ("Video: rawvideo, 1k fps", Fraction(1000)),
        ("Video: png, 0 fps", None),
        ("Audio: aac, 24 fps", None),
        ("", None),
    ],
)
def test_rates_are_read_from_what_ffmpeg_says(text: str, rate: Fraction | None) -> None:
    assert read_rate(text) == rate


def test_merge_joins_chunks_in_order(ffmpeg: Path, tmp_path: Path) -> None:
    before = {f"clip-y4m_06/{number:08d}.y4m": b"%d;" % number for number in range(3, 15)}
    job = ran(merge.pipeline, ffmpeg, tmp_path, dict(before), "-v", "clip", "--chunks", 12, "-o", 3)
    assert failures(job) == {}
    codec, _, joined = made(job, before)["clip.mp4"].partition(b"\n")
    assert joined == b"".join(b"%d;" % number for number in range(3, 15))
    assert codec.startswith(b" -c:v libx264")


def test_merge_copies_what_is_mp4_already(ffmpeg: Path, tmp_path: Path) -> None:
    before = {f"x/{number:03d}/video.mp4": b"%d;" % number for number in range(2)}
    job = ran(
        merge.pipeline, ffmpeg, tmp_path, dict(before), "--chunks", 2, "--in", "x/{n:03d}/video.mp4", "--out", "y.mp4"
    )
    assert failures(job) == {}
    assert made(job, before) == {"y.mp4": b" -c copy -mov\n0;1;"}


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("merge", "-n 2", "merge makes one file in one task: --chunks says of how many chunks"),
        ("merge", "--in same.mp4 --chunks 2", "put {n:08d} in for its number"),
        ("merge", "--chunks 0", "--chunks: expected a whole number of at least 1"),
        ("split", "--seconds 0", "--seconds: expected a number above 0"),
        ("split", "--rate 1/0", "--rate: expected a number or a fraction above 0"),
        ("split", "--rate x", "--rate: expected a number or a fraction above 0"),
        ("grayscale", "-f 0", "-f: expected a whole number of at least 1"),
        ("y4m2png", "-f x", "-f: expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(name: str, words: str, said: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(load_pipeline(name), *words.split())
    assert said in str(caught.value)

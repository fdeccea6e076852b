"""film: which task needs which, and the whole with a real ffmpeg on a small clip, its workers in memory."""

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from encoder_workers import Job, failures
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.pipelines import film
from mu_twisted.pipelines.film import STAGES, chunk_frames, piece_frames, pieces_of, place

RATE = 10


def parsed(*words: object) -> Any:
    return film.pipeline.parse(["-b", "mine", *map(str, words)])


@given(
    st.integers(1, 12),
    st.integers(0, 5),
    st.fractions(Fraction(1, 10), 5, max_denominator=10),
    st.sampled_from([Fraction(24), Fraction(30000, 1001), Fraction(7, 2)]),
    st.integers(1, 200) | st.none(),
)
def test_each_frame_is_in_one_chunk_which_comes_after_the_pieces_that_it_is_in(
    pieces: int, offset: int, seconds: Fraction, rate: Fraction, frames: int | None
) -> None:
    words = ["-n", pieces, "-o", offset, "--seconds", seconds, "--rate", rate]
    try:
        settings = parsed(*words, *([] if frames is None else ["-f", frames]))
    except usage.UsageError:
        assume(False)
    chunks = [frame for chunk in range(settings["chunks"]) for frame in chunk_frames(settings, chunk)]
    assert chunks == [frame for piece in range(pieces) for frame in piece_frames(settings, piece)]
    places = [place(settings, task) for task in range(settings["tasks"])]
    assert places[-1] == ("merge", 0)
    with pytest.raises(IndexError):
        place(settings, settings["tasks"])
    for task, (stage, number) in enumerate(places):
        before = [places[other] for other in film.after(settings, task)]
        if stage == "split":
            assert before == []
        elif stage == "chunk":
            holding = [
                piece
                for piece in range(pieces)
                if set(chunk_frames(settings, number)).intersection(piece_frames(settings, piece))
            ]
            assert before == [("treat", piece) for piece in pieces_of(settings, number)]
            assert [piece for _, piece in before if piece in holding] == holding
        elif stage == "merge":
            assert before == [("encode", chunk) for chunk in range(settings["chunks"])]
        else:
            assert before == [(STAGES[STAGES.index(stage) - 1], number)]
    assert {name: len(tasks) for name, tasks in exhaust(film.pipeline.reading_stages(settings)).items()} == {
        "split": pieces,
        "treat": pieces,
        "chunk": settings["chunks"],
        "encode": settings["chunks"],
        "merge": 1,
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "0"], "--rate"),
        (["--rate", "1/0"], "--rate"),
        (["--seconds", "0.01"], "no frame at this --rate"),
        (["--filter", ""], "--filter"),
        (["--filter", "a\nb"], "--filter"),
        (["--filter", "x" * 1001], "--filter"),
        (["-f", "0"], "-f"),
        (["--in", "a.mp4", "--out", "a.mp4"], "is the video that is read"),
        (["-v", "clip", "--out", "clip.mp4"], "is the video that is read"),
    ],
)
def test_options_that_make_no_film_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(usage.UsageError, match=said):
        parsed(*words)


def test_without_a_bucket_there_is_no_film() -> None:
    with pytest.raises(usage.UsageError, match="-b"):
        film.pipeline.parse(["-n", "2"])


# -- with ffmpeg -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with ffmpeg and a clip of 23 frames, 64x48, and one that has sound only."""
    directory = tmp_path_factory.mktemp("film")
    (directory / "ffmpeg").symlink_to(find_ffmpeg())
    source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={RATE}:duration=2.3"]
    run_ffmpeg(find_ffmpeg(), *source, "-pix_fmt", "yuv420p", str(directory / "clip.mp4"))
    run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "sine=duration=1", str(directory / "sound.mp4"))
    run_ffmpeg(find_ffmpeg(), *source, "-frames:v", "1", str(directory / "still.png"))
    return directory


def ran(tools: Path, work: Path, store: dict[str, bytes], *words: object) -> Job:
    settings = parsed("-v", "clip", "--rate", RATE, *words)
    job = Job(film.pipeline, settings, tools, work, store)
    for worker in job.workers:  # each comes after those before it
        while worker.can_go_on:
            worker.step()
        if worker.machine.error:
            break
    return job


def pixels(video: bytes, work: Path) -> bytes:
    path = work / "video.mp4"
    path.write_bytes(video)
    return run_ffmpeg(find_ffmpeg(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", "gray", "-")


def test_a_film_has_all_frames_treated_also_where_chunks_are_no_pieces(tools: Path, tmp_path: Path) -> None:
    clip = (tools / "clip.mp4").read_bytes()
    job = ran(tools, tmp_path, {"clip.mp4": clip}, "-n", 4, "--seconds", "0.6", "-f", 7, "--filter", "negate")
    assert failures(job) == {}
    assert (job.report.text, job.report.error) == ("23 frames in 4 chunks: clip-film.mp4", None)
    before, after = pixels(clip, tmp_path), pixels(job.store["clip-film.mp4"], tmp_path)
    assert len(after) == len(before) == 23 * 64 * 48
    size = 64 * 48
    for frame in range(23):
        one, other = before[frame * size : (frame + 1) * size], after[frame * size : (frame + 1) * size]
        assert sum(abs(255 - a - b) for a, b in zip(one, other, strict=True)) < 12 * size
    stored = {key for stage in range(job.settings["tasks"]) for key in film.pipeline.outputs(job.settings, stage)}  # type: ignore[misc]
    assert stored == job.store.keys() - {"clip.mp4"}


@pytest.mark.parametrize(
    ("video", "words", "stage", "said"),
    [
        ("clip.mp4", ["-n", 2, "--filter", "select=mod(n\\,2)"], "treat", "made 5 of 10 frames of piece 0"),
        ("clip.mp4", ["-n", 2, "--filter", "nosuch; touch hacked"], "treat", "status"),
        ("clip.mp4", ["-n", 2, "--rate", "12"], "split", "10 frames a second, and --rate says 12"),
        ("clip.mp4", ["-n", 1, "-o", 9], "split", "has no frames from 9 s on: -n is too large"),
        ("still.png", ["-n", 1], "split", "clip.mp4 is no film: it has one picture only"),
        ("sound.mp4", ["-n", 1], "split", "ffmpeg finds no video in it"),
        (None, ["-n", 1], "split", "ffmpeg finds no video in it"),
    ],
)
def test_what_cannot_be_treated_is_one_line(
    tools: Path, tmp_path: Path, video: str | None, words: list[Any], stage: str, said: str
) -> None:
    content = b"no film at all" if video is None else (tools / video).read_bytes()
    job = ran(tools, tmp_path, {"clip.mp4": content}, *words)
    task, error = next((one.task, one.machine.error) for one in job.workers if one.machine.error)
    assert place(job.settings, task)[0] == stage
    assert error is not None
    assert said in error
    assert not list(tools.glob("hacked"))


def test_a_film_that_loses_frames_on_the_way_has_failed() -> None:
    settings = parsed("-n", 2)
    remarks = {0: "24", 1: "20", 2: "24", 3: "12", 4: "24", 5: "12", 6: "1", 7: "1", 8: "1"}
    report = film.report(settings, remarks)
    assert report.error is not None
    assert "44 after split, 36 after treat, 36 after chunk" in report.error
    assert film.report(settings, {0: "24"}) == film.Report()
    one = parsed("-n", 1, "--seconds", "0.05", "--rate", 20, "-v", "clip")
    assert film.report(one, {0: "1", 1: "1", 2: "1", 3: "1", 4: "1"}).text == "1 frame in 1 chunk: clip-film.mp4"


def test_merge_encodes_each_chunk_by_itself_if_it_is_to(tools: Path, tmp_path: Path) -> None:
    from mu_twisted.pipelines import merge

    source = ["-f", "lavfi", "-i", f"testsrc2=size=64x48:rate={RATE}:duration=0.4", "-pix_fmt", "yuv420p"]
    run_ffmpeg(find_ffmpeg(), *source, str(tmp_path / "a.y4m"))
    chunk = (tmp_path / "a.y4m").read_bytes()
    store = {f"clip-y4m_04/{number:08d}.y4m": chunk for number in range(2)}
    keys = {}
    for flag in ([], ["--each"]):
        settings = merge.pipeline.parse(["-v", "clip", "-i", "y4m_04", "--chunks", "2", *flag])
        work = tmp_path / f"work{len(flag)}"
        work.mkdir()
        job = Job(merge.pipeline, settings, tools, work, dict(store))
        job.run()
        assert failures(job) == {}
        (work / "x.mp4").write_bytes(job.store["clip.mp4"])
        shown = subprocess.run(
            [tools / "ffmpeg", "-nostdin", "-i", work / "x.mp4", "-vf", "showinfo", "-f", "null", "-"],
            capture_output=True,
            text=True,
            check=True,
        ).stderr
        keys[len(flag)] = shown.count("iskey:1")
    assert keys == {0: 1, 1: 2}

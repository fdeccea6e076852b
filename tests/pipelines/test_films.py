"""What is known of a film before anything is launched: its index, read in parts; real films of ffmpeg's, and damage."""

import struct
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.pipelines import Looking, ObjectPart, PartWanted, PipelineError, ffmpeg_split_upload, film, split
from mu_twisted.pipelines._examination import MAX_PART, MAX_PARTS
from mu_twisted.pipelines._films import no_frames
from mu_twisted.pipelines._mp4 import MAX_INDEX, Index, IndexFault, reading_index
from mu_twisted.pipelines._pipeline import Pipeline

RATE = 10


def answered(looking: Any, data: bytes, size: int | None = None) -> Any:
    """What an examination comes to that reads these bytes."""
    parts = 0
    try:
        wanted = next(looking)
        while True:
            parts += 1
            assert parts <= MAX_PARTS
            assert isinstance(wanted, PartWanted)
            assert 0 < wanted.count <= MAX_PART
            wanted = looking.send(ObjectPart(data[wanted.first : wanted.first + wanted.count], size or len(data)))
    except StopIteration as end:
        return end.value


def index(data: bytes) -> Index | None:
    found: Index | None = answered(reading_index("x"), data)
    return found


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    directory = tmp_path_factory.mktemp("films")

    def make(name: str, *words: str, frames: int = 23) -> bytes:
        path = directory / name
        source = ["-f", "lavfi", "-i", f"testsrc2=size=32x32:rate={RATE}:duration={frames / RATE}"]
        if not path.exists():
            run_ffmpeg(find_ffmpeg(), *source, "-pix_fmt", "yuv420p", *words, str(path))
        return path.read_bytes()

    return make


def test_the_index_stands_before_or_behind_the_pictures(films: Callable[..., bytes]) -> None:
    for words in ((), ("-movflags", "+faststart"), ("-bf", "0"), ("-c:v", "mpeg4")):
        assert index(films(f"a{len(words)}{words[-1:]}.mp4".replace("'", ""), *words)) == Index(
            23, Fraction(RATE), True
        )
    assert index(films("a.mov")) == Index(23, Fraction(RATE), True)
    assert index(films("ntsc.mp4", "-r", "30000/1001")) == Index(69, Fraction(30000, 1001), True)


def test_a_rate_that_changes_is_seen(films: Callable[..., bytes]) -> None:
    found = index(films("vfr.mp4", "-vf", "select='lt(n,10)+not(mod(n,3))'", "-fps_mode", "passthrough"))
    assert found is not None
    assert found.frames < 23
    assert not found.is_constant


def test_a_film_that_is_no_mp4_says_nothing_and_fragments_do_not_either(films: Callable[..., bytes]) -> None:
    assert index(films("a.mkv")) is None
    assert index(films("a.avi")) is None
    assert index(films("live.mp4", "-movflags", "+frag_keyframe+empty_moov")) is None
    assert index(b"\x07\xff, of which it is not known what it is") is None
    assert index(b"\xff\xd8\xff\xe0\0\x10JFIF") is None, "one picture after the other is a film"
    assert index(b"YUV4MPEG2 W16 H16 F24:1\nFRAME\n" + b"A" * 384) is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"not a film, but notes\non one\n", "text"),
        ("größer als ein Stück davon: ä".encode() * 5000, "text"),
        (b'{"json": 1}\r\n', "text"),
        (b"PK\3\4\x14\0\0\0", "a ZIP archive"),
        (b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\x7fELF\2\1\1\0", "a program"),
    ],
)
def test_what_is_no_film_is_told_by_what_it_is(data: bytes, what: str) -> None:
    with pytest.raises(IndexFault, match=f"^is no film: it is {what}$"):
        index(data)


@pytest.mark.parametrize(
    "words", [["rgb24", "a.png"], ["yuvj420p", "a.jpg"], ["yuvj444p", "-s", "1600x900", "-q:v", "1", "b.jpg"]]
)
def test_one_picture_is_no_film_and_several_may_be_one(films: Callable[..., bytes], words: list[str]) -> None:
    picture = films(words[-1], "-frames:v", "1", "-update", "1", "-pix_fmt", *words[:-1])
    with pytest.raises(IndexFault, match="^is no film: it is a picture$"):
        index(picture)
    assert index(picture + picture) is None
    assert index(picture[: len(picture) // 2]) is None
    assert answered(reading_index("x"), picture, size=(4 << 20) + 1) is None, "it may go on"


def test_an_animation_is_a_film(films: Callable[..., bytes]) -> None:
    assert index(films("a.apng", "-f", "apng", "-pix_fmt", "rgb24")) is None


@given(st.binary(max_size=60), st.sampled_from([b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"]))
def test_whatever_begins_as_a_picture_is_one_or_may_be_a_film(rest: bytes, beginning: bytes) -> None:
    with suppress(IndexFault):
        assert index(beginning + rest) is None


@given(st.integers(0, 100), st.sampled_from(["whole.mp4", "fast.mp4"]))
def test_what_is_cut_off_is_told_so(films: Callable[..., bytes], percent: int, name: str) -> None:
    data = films(name, *(["-movflags", "+faststart"] if name == "fast.mp4" else []))
    cut = data[: len(data) * percent // 100]
    if len(cut) == len(data):
        assert index(cut) == Index(23, Fraction(RATE), True)
        return
    if 0 < len(cut) < 8:
        assert index(cut) is None
        return
    with pytest.raises(IndexFault, match="is empty" if not cut else "is cut off: "):
        index(cut)


@given(st.data())
def test_damage_is_a_fault_or_another_film(films: Callable[..., bytes], data: st.DataObject) -> None:
    damaged = bytearray(films("whole.mp4"))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(IndexFault):
        index(bytes(damaged))


def test_little_is_read_of_a_film_whatever_its_size() -> None:
    def box(kind: bytes, content: bytes = b"", length: int | None = None) -> bytes:
        return struct.pack(">I4s", 8 + len(content) if length is None else length, kind) + content

    head = box(b"ftyp", b"isom") + struct.pack(">I4sQ", 1, b"mdat", 5 << 40)
    with pytest.raises(IndexFault, match=r"is cut off: \d+ bytes are missing"):
        answered(reading_index("x"), head, size=1 << 40)
    assert answered(reading_index("x"), box(b"moov", length=MAX_INDEX + 1), size=1 << 40) is None
    assert index(box(b"free") * 200) is None
    with pytest.raises(IndexFault, match="shorter than its header"):
        index(box(b"free", length=3) + b"x" * 20)


# -- as split and film ask -------------------------------------------------------------------------------------------


def examined(pipeline: Pipeline, data: bytes, *words: object) -> None:
    settings = pipeline.parse(["-b", "mine", "-v", "clip", *map(str, words)])
    looking: Looking | None = pipeline.examination(settings)
    assert looking is not None
    part = None
    while (wanted := pipeline.next_part(looking, part)) is not None:
        assert wanted.key == "clip.mp4"
        part = ObjectPart(data[wanted.first : wanted.first + wanted.count], len(data))


@pytest.mark.parametrize(("pipeline", "rate"), [(film.pipeline, ["--rate", RATE]), (split.pipeline, [])])
def test_bad_films_are_refused_before_anything_is_launched(
    films: Callable[..., bytes], tmp_path: Path, pipeline: Pipeline, rate: list[Any]
) -> None:
    whole = films("whole.mp4")
    vfr = films("vfr.mp4", "-vf", "select='lt(n,10)+not(mod(n,3))'", "-fps_mode", "passthrough")
    run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "sound.mp4"))
    sound = (tmp_path / "sound.mp4").read_bytes()
    examined(pipeline, whole, "-n", 3, *rate)
    examined(pipeline, b"\xffno film that is known", "-n", 3, *rate)
    for data, words, said in [
        (sound, ["-n", 1, *rate], "clip.mp4 has no frames: there is no video in it"),
        (vfr, ["-n", 1, *rate], "clip.mp4 has no constant frame rate"),
        (whole[:-9], ["-n", 1, *rate], "clip.mp4 is cut off: 9 bytes are missing"),
        (b"", ["-n", 1, *rate], "clip.mp4 is empty"),
        (b"notes on a film", ["-n", 1, *rate], "clip.mp4 is no film: it is text"),
        (whole, ["-n", 1, "--rate", "24"], "clip.mp4 has 10 frames a second, and --rate says 24"),
        (whole, ["-n", 4, *rate], "clip.mp4 has 23 frames, 2.3 s: -n is at most 3"),
        (whole, ["-n", 2, "-o", 2, *rate], "clip.mp4 has 23 frames, 2.3 s: -n is at most 1"),
        (whole, ["-n", 1, "-o", 7, *rate], "clip.mp4 has 23 frames, 2.3 s: -o is behind its end"),
    ]:
        with pytest.raises(PipelineError) as refused:
            examined(pipeline, data, *words)
        assert str(refused.value).startswith(said)


def test_frames_of_each_second_are_taken_of_any_rate_and_of_whole_films_only(films: Callable[..., bytes]) -> None:
    whole = films("whole.mp4")
    vfr = films("vfr.mp4", "-vf", "select='lt(n,10)+not(mod(n,3))'", "-fps_mode", "passthrough")
    pipeline = partial(examined, ffmpeg_split_upload.pipeline)
    pipeline(whole, "--in", "clip.mp4", "-n", 3)
    pipeline(vfr, "--in", "clip.mp4", "-n", 2)
    for data, words, said in [
        (whole[:-9], ["-n", 1], "clip.mp4 is cut off: 9 bytes are missing"),
        (b"notes on a film", ["-n", 1], "clip.mp4 is no film: it is text"),
        (whole, ["-n", 2, "--seconds", 2, "-o", 1], "clip.mp4 has 23 frames, 2.3 s: -n is at most 1"),
    ]:
        with pytest.raises(PipelineError) as refused:
            pipeline(data, "--in", "clip.mp4", *words)
        assert str(refused.value) == said


@pytest.mark.parametrize(
    ("start", "said"), [(0.0, "a has no frames: it is cut off"), (2.5, "from 2.5 s on: -n is too")]
)
def test_a_film_without_a_frame_at_its_beginning_is_not_said_to_be_too_short(start: float, said: str) -> None:
    assert said in str(no_frames("a", start))


@pytest.mark.parametrize(
    ("looks", "said"),
    [
        (lambda _: iter(["no part"]), "a part of an object has 1 to"),
        (lambda _: iter([PartWanted("a", 0, 0)]), "a part of an object has 1 to"),
        (lambda _: iter([PartWanted("a", 0, 1 << 40)]), "a part of an object has 1 to"),
        (lambda _: (1 / 0 for _ in range(1)), "ZeroDivisionError"),
    ],
)
def test_an_examination_that_asks_for_nonsense_is_one_line(looks: Any, said: str) -> None:
    from mu_twisted.fsm import TerminalState

    pipeline = Pipeline(name="p", summary="", first=TerminalState, examine=looks)
    looking = pipeline.examination({})
    assert looking is not None
    with pytest.raises(PipelineError, match=said) as refused:
        pipeline.next_part(looking, None)
    assert "\n" not in str(refused.value)

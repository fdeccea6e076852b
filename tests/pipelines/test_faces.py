"""faces: films with patches of colour in place of faces, a real ffmpeg and the real program, its workers in memory."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from encoder_workers import Job, failures
from hypothesis import assume, given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.cli.faces import command, face_finder
from mu_twisted.pipelines import ObjectPart, PipelineError, faces

SUPPORT = Path(__file__).parents[1] / "support"
RATE = 8
PNG = b"\x89PNG\r\n\x1a\n"


def parsed(*words: object) -> Any:
    return faces.pipeline.parse(["-b", "mine", "-v", "clip", "--face", "face.png", *map(str, words)])


def patch(colour: str, size: int = 24, left: int = 8, when: str = "") -> str:
    enabled = f":enable='{when}'" if when else ""
    return f"drawbox=x={left}:y=8:w={size}:h={size}:color={colour}:t=fill{enabled}"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the function holds, with faces that cost little."""
    directory = tmp_path_factory.mktemp("faces")
    (directory / "ffmpeg").symlink_to(find_ffmpeg())
    for name in command.PROGRAMS:
        shutil.copy(Path(command.__file__).with_name(name), directory / name)
        (directory / name).chmod(0o755)
    shutil.copy(SUPPORT / "coloured_faces.py", directory / "face_models.py")
    return directory


Shoot = Callable[..., bytes]


@pytest.fixture(scope="module")
def shoot(tmp_path_factory: pytest.TempPathFactory) -> Shoot:
    """A film, or a picture, of so many seconds with these patches."""
    directory = tmp_path_factory.mktemp("films")

    def make(name: str, *patches: str, seconds: float = 6.0) -> bytes:
        path = directory / name
        if not path.exists():
            source = f"color=gray:size=64x48:rate={RATE}:duration={seconds}"
            words = ["-frames:v", "1"] if name.endswith(".png") else ["-pix_fmt", "yuv420p", "-crf", "10"]
            words += {"vfr.mp4": ["-fps_mode", "passthrough"], "live.mkv": ["-live", "1"]}.get(name, [])
            run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", ",".join([source, *patches]), *words, str(path))
        return path.read_bytes()

    return make


@pytest.fixture
def run(tools: Path, tmp_path: Path) -> Iterator[Callable[..., Job]]:
    """Run a job, its tasks one after the other, until one fails."""
    jobs = []

    def ran(film: bytes, picture: bytes, *words: object) -> Job:
        job = Job(faces.pipeline, parsed(*words), tools, tmp_path, {"clip.mp4": film, "face.png": picture})
        jobs.append(job)
        for worker in job.workers:
            while worker.can_go_on:
                worker.step()
            if worker.machine.error:
                break
        return job

    yield ran
    for job in jobs:
        job.close()


@pytest.fixture(scope="module")
def red(shoot: Shoot) -> bytes:
    return shoot("red.png", patch("red"))


def test_a_face_is_found_when_it_is_seen_and_no_other_is(run: Callable[..., Job], shoot: Shoot, red: bytes) -> None:
    seen = patch("red", when="between(t,1,2.99)+between(t,4.5,4.99)")
    other = patch("blue", left=36, when="between(t,0,3.49)")
    job = run(shoot("two.mp4", seen, other), red, "-n", 3, "--seconds", 2)
    assert failures(job) == {}
    assert job.report.text.splitlines() == [
        "face.png appears 2 times, 2.5 s of 6 s of clip.mp4:",
        "  0:00:01.0 - 0:00:03.0  distance 0.00",
        "  0:00:04.5 - 0:00:05.0  distance 0.00",
        "contact sheet: s3://mine/clip-faces/sheet.jpg",
        "all times: s3://mine/clip-faces/found.json",
    ]
    assert json.loads(job.store["clip-faces/found.json"]) == {
        "ranges": [{"from": 1.0, "to": 3.0, "distance": 0.0}, {"from": 4.5, "to": 5.0, "distance": 0.0}]
    }
    assert job.begun == 1, "the program stays between tasks"
    assert not [one for worker in job.workers for one in worker.log if one.startswith("run:")], (
        "`mu output` shows those"
    )
    sheet = job.work / "sheet.jpg"
    sheet.write_bytes(job.store["clip-faces/sheet.jpg"])
    # Piece 0 and piece 1 have a run of the first appearance each, piece 2 the second one: three tiles of 64x48.
    pixels = run_ffmpeg(find_ffmpeg(), "-i", str(sheet), "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    assert len(pixels) == 3 * (2 * 64) * (2 * 48)


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        ([], "face.png does not appear in 6 s of clip.mp4"),
        ([patch("blue")], "face.png does not appear in 6 s of clip.mp4"),
        ([patch("red", size=10)], "face.png does not appear in 6 s of clip.mp4"),
    ],
)
def test_a_film_without_the_face_is_no_failure(
    run: Callable[..., Job], shoot: Shoot, red: bytes, patches: list[str], said: str
) -> None:
    job = run(shoot(f"without{len(''.join(patches))}.mp4", *patches), red, "-n", 1, "--seconds", 6)
    assert failures(job) == {}
    assert (job.report.text, job.report.error) == (said, None)
    assert json.loads(job.store["clip-faces/found.json"]) == {"ranges": []}
    assert "clip-faces/sheet.jpg" not in job.store


def test_one_missed_frame_parts_nothing_and_the_rest_of_the_film_is_told(
    run: Callable[..., Job], shoot: Shoot, red: bytes
) -> None:
    seen = patch("red", when="between(t,0.5,0.99)+between(t,1.5,1.99)")
    job = run(shoot("missed.mp4", seen, seconds=5), red, "-n", 1, "--seconds", 2)
    assert failures(job) == {}
    assert "appears once, 1.5 s of 2 s" in job.report.text
    assert job.report.text.endswith("clip.mp4 goes on to 0:00:05.0: -n 3 searches it to its end")


def test_the_last_seconds_count_and_those_before_the_first_piece_do_not(
    run: Callable[..., Job], shoot: Shoot, red: bytes
) -> None:
    film = shoot("end.mp4", patch("red", when="lt(t,1)+gte(t,4)"), seconds=4.75)
    job = run(film, red, "-o", 1, "-n", 2, "--seconds", 2, "--every", "0.25", "--tiles", 1)
    assert failures(job) == {}
    assert json.loads(job.store["clip-faces/found.json"])["ranges"] == [{"from": 4.0, "to": 4.75, "distance": 0.0}]


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        ([], "face.png has no face in it"),
        ([patch("red"), patch("blue", left=36)], "face.png has 2 faces: cut out the one that is looked for"),
        (None, "face.png is nothing that ffmpeg reads"),
    ],
)
def test_a_picture_of_no_one_face_is_one_line_before_the_film_is_read(
    run: Callable[..., Job], shoot: Shoot, patches: list[str] | None, said: str
) -> None:
    picture = PNG + b"rubbish" * 99 if patches is None else shoot(f"many{len(patches)}.png", *patches)
    job = run(b"", picture, "-n", 1)
    assert job.workers[0].machine.error is not None
    assert said in job.workers[0].machine.error
    assert "clip-faces/picture.json" not in job.store


def test_a_small_face_is_one_where_the_picture_has_no_larger_one(run: Callable[..., Job], shoot: Shoot) -> None:
    film = shoot("red.mp4", patch("red"), seconds=1)
    for patches in ([patch("red", size=10)], [patch("red"), patch("blue", size=10, left=40)]):
        job = run(film, shoot(f"small{len(patches)}.png", *patches), "-n", 1, "--seconds", 1)
        assert failures(job) == {}
        assert "appears once, 1 s of 1 s" in job.report.text
        for directory in job.work.glob("worker *"):
            shutil.rmtree(directory)


def test_a_program_that_dies_fails_its_attempt_and_begins_anew(
    run: Callable[..., Job], shoot: Shoot, red: bytes
) -> None:
    job = run(shoot("white.mp4", patch("white"), seconds=1), red, "-n", 1, "--seconds", 1)
    assert "has ended (status 3)" in str(job.workers[1].machine.error)
    job.workers[2].step()
    assert job.begun == 2


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("sound.mkv", [], "clip.mp4 has no frames: ffmpeg finds no video in it"),
        ("text", [], "clip.mp4 is nothing that ffmpeg reads"),
        ("still.png", [], "clip.mp4 has one picture only, or lasts no 0.5 s: there is nothing to search"),
        ("short.mkv", ["-o", 1], "clip.mp4 has no frames from 4 s on: -n is too large"),
        ("cut.mkv", [], "and says that it has 3 s: it is cut off"),
        ("live.mkv", ["-n", 2], "clip.mp4 has no frames from 3 s on: it is cut off, or -n is too large"),
    ],
)
def test_a_film_of_which_nothing_is_known_before_is_one_line(
    run: Callable[..., Job], shoot: Shoot, red: bytes, tmp_path: Path, name: str, words: list[Any], said: str
) -> None:
    if name == "text":
        film = b"no film at all\n" * 99
    elif name == "sound.mkv":
        run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / name))
        film = (tmp_path / name).read_bytes()
    else:
        film = shoot(name, *(["noise=alls=40:allf=t"] if name == "cut.mkv" else []), seconds=3)
        film = film[: len(film) // 2] if name == "cut.mkv" else film
    job = run(film, red, "-n", 1, "--seconds", 4, *words)
    error = next((worker.machine.error for worker in job.workers if worker.machine.error), "")
    assert said in str(error)
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "0.1", "--every", "0.5"], "a piece has no frame at this --every"),
        (["--seconds", "3600", "--every", "0.5"], "at most 6000 frames"),
        (["--every", "0"], "--every"),
        (["--every", "61"], "--every"),
        (["--limit", "0"], "--limit"),
        (["--limit", "nan"], "--limit"),
        (["--width", "79"], "--width"),
        (["--tiles", "0"], "--tiles"),
        (["--tiles", "401"], "--tiles"),
        (["--face", ""], "--face"),
        (["-n", "0"], "-n"),
    ],
)
def test_options_that_make_no_search_are_one_line(words: list[str], said: str) -> None:
    with pytest.raises(usage.UsageError, match=said):
        parsed(*words)


@pytest.mark.parametrize(
    ("switch", "most", "said"),
    [
        ("seconds", "3600", "at most 3600"),
        ("every", "60", "at most 60"),
        ("limit", "2", "above 0, at most 2"),
        ("tiles", "400", "at most 400"),
        ("width", "80", "at least 80"),
    ],
)
def test_the_help_names_the_bounds_and_what_must_be_given(switch: str, most: str, said: str) -> None:
    texts = {option[0]: str(option[3]) for option in faces.Options.optParameters}
    assert said in texts[switch]
    parsed("--seconds", 3600, "--every", 2, f"--{switch}", most)
    with pytest.raises(usage.UsageError):
        parsed(f"--{switch}", int(most) + (-1 if switch == "width" else 1))
    assert "must be given" in texts["face"]
    assert "-b and --face must be given" in faces.pipeline.description


def test_without_a_picture_or_a_bucket_there_is_no_search() -> None:
    with pytest.raises(usage.UsageError, match="--face"):
        faces.pipeline.parse(["-b", "mine"])
    with pytest.raises(usage.UsageError, match="-b"):
        faces.pipeline.parse(["--face", "face.png"])


def examined(film: bytes, picture: bytes, *words: object) -> None:
    looking = faces.pipeline.examination(parsed(*words))
    assert looking is not None
    part = None
    while (wanted := faces.pipeline.next_part(looking, part)) is not None:
        data = {"clip.mp4": film, "face.png": picture}[wanted.key]
        part = ObjectPart(data[wanted.first : wanted.first + wanted.count], len(data))


def test_what_is_wrong_with_picture_or_film_is_said_before_anything_is_launched(
    shoot: Shoot, red: bytes, tmp_path: Path
) -> None:
    film = shoot("empty.mp4", seconds=5)
    run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "sine=duration=1", str(tmp_path / "sound.mp4"))
    changing = shoot("vfr.mp4", "select='lt(n,10)+not(mod(n,3))'", seconds=5)
    examined(film, red, "-n", 3, "--seconds", 2)
    examined(b"\x1aE\xdf\xa3 no film that is known", red, "-n", 3)
    for form in (b"\xff\xd8\xff\xe0", b"RIFF1234WEBPVP8 ", b"GIF89a", b"BM", b"II*\0", b"MM\0*"):
        examined(film, form + bytes(16))
    for data, picture, words, said in [
        (film, b"", [], "face.png is empty"),
        (film, b"any text", [], "face.png is no picture: JPEG, PNG"),
        (film, film, [], "face.png is no picture: JPEG, PNG"),
        (b"", red, [], "clip.mp4 is empty"),
        (film[:-9], red, [], "clip.mp4 is cut off: 9 bytes are missing"),
        ((tmp_path / "sound.mp4").read_bytes(), red, [], "clip.mp4 has no frames: there is no video in it"),
        (changing, red, [], "clip.mp4 has no constant frame rate"),
        (film, red, ["-n", 4, "--seconds", 2], "clip.mp4 has 40 frames, 5 s: -n is at most 3"),
        (film, red, ["-o", 1], "clip.mp4 has 40 frames, 5 s: -o is behind its end"),
    ]:
        with pytest.raises(PipelineError) as refused:
            examined(data, picture, *words)
        assert str(refused.value).startswith(said)


@given(
    st.integers(1, 12),
    st.integers(0, 5),
    st.fractions(Fraction(1, 10), 20, max_denominator=10),
    st.fractions(Fraction(1, 10), 2, max_denominator=10),
)
def test_each_frame_that_is_looked_at_is_one_tasks_and_the_sheet_comes_last(
    pieces: int, offset: int, seconds: Fraction, every: Fraction
) -> None:
    try:
        settings = parsed("-n", pieces, "-o", offset, "--seconds", seconds, "--every", every)
    except usage.UsageError:
        assume(False)
    looked = [frame for piece in range(pieces) for frame in faces.samples(settings, piece)]
    assert looked == list(range(looked[0], looked[0] + len(looked)))
    assert all(offset * seconds <= frame * every < (offset + pieces) * seconds for frame in looked)
    stages = [faces.place(settings, task) for task in range(settings["tasks"])]
    assert stages == [("picture", 0), *(("find", piece) for piece in range(pieces)), ("sheet", 0)]
    for task, (stage, _) in enumerate(stages):
        before = {"picture": [], "find": [0], "sheet": list(range(1, pieces + 1))}[stage]
        assert list(faces.after(settings, task)) == before


def test_a_search_without_an_end_reports_nothing_and_a_long_one_the_first() -> None:
    settings = parsed("-n", 1, "--seconds", "60")
    assert faces.report(settings, {1: "[120, 60.0]"}).text == ""
    times = [[one, one + 0.5, 0.1] for one in range(faces.SHOWN)]
    said = json.dumps({"ranges": times, "count": 4000, "seconds": 2000, "tiles": 48})
    assert len(said) < 2000, "a remark's limit"
    report = faces.report(settings, {1: "[120, 60.0]", 2: said})
    assert f"  and {4000 - faces.SHOWN} times more\n" in report.text


# -- the program -------------------------------------------------------------------------------------------------------


@given(st.integers(0, 10**8))
def test_a_clock_is_the_same_on_the_sheet_and_in_the_report(tenths: int) -> None:
    shown = face_finder.clock(tenths / 10)
    assert set(shown) <= set(face_finder.GLYPHS)
    assert faces.clock(tenths / 10) == shown


@pytest.mark.parametrize(("width", "height"), [(640, 360), (300, 500), (20, 10), (1, 1)])
def test_a_tile_has_a_box_around_the_face_and_is_whole_whatever_the_frames_size(width: int, height: int) -> None:
    frame = face_finder.Frame(width, height, bytes(3 * width * height))
    tile = frame.tile((-5, 2, width // 2, height + 9), 3599.95)
    assert len(tile.pixels) == 3 * tile.width * tile.height
    assert tile.width == min(width, face_finder.TILE_WIDTH)
    if width > 100:
        assert face_finder.BOX in tile.pixels
        assert face_finder.INK in tile.pixels


def test_a_film_whose_reading_breaks_off_is_read_again(tools: Path, tmp_path: Path) -> None:
    """By an ffmpeg that fails the first time."""
    broken = tmp_path / "function"
    shutil.copytree(tools, broken, symlinks=True)
    (broken / "really").symlink_to(find_ffmpeg())
    (broken / "ffmpeg").unlink()
    script = "#!/bin/sh\nif [ -e seen ]; then exec ./really \"$@\"; fi\ntouch seen\necho 'input: reset' >&2\nexit 1\n"
    (broken / "ffmpeg").write_text(script)
    (broken / "ffmpeg").chmod(0o755)
    run_ffmpeg(find_ffmpeg(), "-f", "lavfi", "-i", "color=gray:size=64x48", "-frames:v", "1", str(broken / "a.png"))
    question = json.dumps({"do": "picture", "file": "a.png", "to": "a.json"})
    words = ["python3", "face_finder.py"]
    done = subprocess.run(words, cwd=broken, input=question, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["ready", '{"error": "has no face in it"}']
    (broken / "ffmpeg").write_text(script.replace("-e seen", "-e never"))
    done = subprocess.run(words, cwd=broken, input=question, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "ready\n")
    assert done.stderr == "reading: ffmpeg ended with status 1: input: reset\n"

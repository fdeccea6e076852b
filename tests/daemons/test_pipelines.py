"""Each pipeline from end to end: coordinator, embedded Lambda and S3, workers, where they talk a rendezvous."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from encoder_jobs import FakeEncoders
from encoder_reference import chained, seventh, y4m

from mu_twisted.aws import build_package
from mu_twisted.cli.demo.fixtures import find_ffmpeg, run_ffmpeg
from mu_twisted.cli.demo.linpack import make_linpack

pytestmark = pytest.mark.process

REALLY = 'place=$(mktemp -d) && ln -s "$PWD/really-${0##*/}" "$place/${0##*/}" && exec "$place/${0##*/}" "$@"'
CONTENT = f"#!/bin/sh\n({REALLY})\nexit 0\n"
"""A comp-states as it was before it had an exit status."""
MORTAL = """
import re
_serve = lambda_handler
def lambda_handler(event, context=None):
    if re.search("0-[0-4]$", event["launch_id"]):
        os.environ["MORTAL"] = str(os.getpid())
    return _serve(event, context)
"""
"""Tells the programs of the first five workers which process they can kill."""
DEATHS = ("0-xc-enc-", "1-xc-enc-", "2-xc-enc-0", "3-xc-enc-1", "4-comp-states-")
"""A chunk, a program, and the state that it begins with."""
KILLING = rf"""#!/bin/sh
for last; do :; done
chunk=$(head -c 60 "${{last%/*}}/input.y4m" | tr '\n' ' ' | sed 's/.*FRAME \([0-9]*\)\..*/\1/')
phase=${{0##*/}}-$(echo "$*" | sed -n 's/.* -I [^ ]*\/\([0-9]*\)\.state .*/\1/p')
case " {" ".join(DEATHS)} " in *" $chunk-$phase "*)
    [ -z "$MORTAL" ] || kill -9 "$MORTAL"
esac
{REALLY}
"""


def chain(encoders: FakeEncoders, work: Path, tasks: int, passes: int) -> list[Any]:
    work.mkdir()
    return chained(encoders.tools, work, [y4m(number) for number in range(tasks)], passes)


def test_a_chain_comes_to_the_serial_references_bytes(coordinate: Any, encoders: FakeEncoders, tmp_path: Path) -> None:
    encoders.put(6, "chain")
    ended = encoders.run(coordinate, "xcenc", "xcenc", 6, "chain", "-p", "4", "--allow-unconverged")
    assert ended.status == 0, ended.err
    assert "6 of 6 tasks done" in ended.out
    assert "3 of 6 tasks have not converged after 4 passes: 3, 4, 5\n" in ended.out
    expected = chain(encoders, tmp_path / "serial", 6, 4)
    assert encoders.stored(6, "chain") == [chunk.output for chunk in expected]
    control = encoders.local.control
    assert control.get_object(encoders.local.BUCKET, "chain/comp_txt/00000005.txt") == expected[5].comparison


def test_states_that_still_change_fail_the_job_once_all_is_done(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path
) -> None:
    content = tmp_path / "content"
    content.write_text(CONTENT)
    encoders.put(4, "content")
    function = encoders.make("content", ["xc-enc", "comp-states"], instead={"comp-states": content})
    ended = encoders.run(coordinate, "xcenc", function, 4, "content", "-p", "3")
    assert ended.status == 1
    assert "4 of 4 tasks done" in ended.out
    assert "2 of 4 tasks have not converged after 3 passes: give more passes with -p" in ended.complained()
    assert encoders.stored(4, "content") == [chunk.output for chunk in chain(encoders, tmp_path / "serial", 4, 3)]


@pytest.mark.long
def test_a_chain_bears_a_worker_that_dies_in_each_of_its_phases(
    coordinate: Any, encoders: FakeEncoders, tmp_path: Path
) -> None:
    tools = {}
    for name in ("xc-enc", "comp-states"):
        tools[name] = tmp_path / name
        tools[name].write_text(KILLING)
    function = encoders.make("killing", ["xc-enc", "comp-states"], more=MORTAL, instead=tools)
    encoders.put(5, "killed")
    # The worker that takes a dead worker's task may be one of the first five, and die of it too.
    more = ("-p", "3", "--allow-unconverged", "--retries", "5")
    ended = encoders.run(coordinate, "xcenc", function, 5, "killed", *more)
    assert ended.status == 0, ended.err
    lost = {int(task) for task in re.findall(r"task ([0-9]), attempt [0-9]+ failed: .*its worker was lost", ended.err)}
    assert lost == set(range(5)), ended.err
    assert "5 of 5 tasks done" in ended.out
    expected = chain(encoders, tmp_path / "serial", 5, 3)
    assert encoders.stored(5, "killed") == [chunk.output for chunk in expected]
    compared = encoders.local.control.get_object(encoders.local.BUCKET, "killed/comp_txt/00000004.txt")
    assert compared == expected[4].comparison


def test_xcenc7_comes_to_the_serial_references_bytes(coordinate: Any, encoders: FakeEncoders, tmp_path: Path) -> None:
    encoders.put(4, "seven_06")
    encoders.put(4, "seven_07", 100)
    ended = encoders.run(coordinate, "xcenc7", "xcenc", 4, "seven_06", "-K", "3", "-u")
    assert ended.status == 0, ended.err
    (tmp_path / "serial").mkdir()
    heads, others = ([y4m(add + number) for number in range(4)] for add in (0, 100))
    expected = seventh(encoders.tools, tmp_path / "serial", heads, others, 3)
    assert encoders.stored(4, "seven_06") == [chunk.output for chunk in expected]
    assert encoders.stored(4, "seven_06", "final_state", "state") == [chunk.final for chunk in expected]


def test_vpxenc_encodes_each_chunk_by_itself(coordinate: Any, encoders: FakeEncoders, tmp_path: Path) -> None:
    command = b'./vpxenc --ivf --cq-level=20 -o "##OUTFILE##" "##INFILE##"'
    function = encoders.make("vpxenc", ["vpxenc"], command=command)
    encoders.put(3, "alone")
    ended = coordinate(*encoders.local.words("vpxenc"), "-l", function, "-n", "3", "-v", "alone")
    assert ended.status == 0, ended.err
    for number, chunk in enumerate(encoders.stored(3, "alone")):
        (tmp_path / "in.y4m").write_bytes(y4m(number))
        words = ["--ivf", "--cq-level=20", "-o", "out.ivf", "in.y4m"]
        subprocess.run([encoders.tools / "vpxenc", *words], cwd=tmp_path, check=True)
        assert chunk == (tmp_path / "out.ivf").read_bytes()


def test_linpack_sums_up_what_all_runs_said(coordinate: Any, local: Any, tmp_path: Path) -> None:
    package = build_package([make_linpack(tmp_path / "linpack")], b"./linpack 100 0.01")
    local.control.create_function("linpack", package)
    ended = coordinate(*local.words("linpack"), "-l", "linpack", "-n", "3", "-X", "1", "-m", "30")
    assert ended.status == 0, ended.err
    total = re.search(r"^6 runs: ([0-9.]+) ([MG])FLOPS in all\nlowest .* highest .*FLOPS\n", ended.out, re.MULTILINE)
    assert total is not None, ended.out
    outputs = [local.control.get_object(local.BUCKET, f"linpack/{n:08d}-{run}.txt") for n in range(3) for run in (0, 1)]
    rates = [float(re.search(rb"rate: ([0-9.]+) MFLOPS", output)[1]) for output in outputs]  # type: ignore[index]
    assert float(total[1]) == pytest.approx(sum(rates) / {"M": 1, "G": 1000}[total[2]], rel=0.01)


@pytest.fixture(scope="module")
def clip(local: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A second and a half of film, in S3, and a function with ffmpeg."""
    ffmpeg = find_ffmpeg()
    command = b"./ffmpeg -nostdin -v error -y -i ##INFILE## -pix_fmt yuv420p ##OUTFILE##"
    local.control.create_function("ffmpeg", build_package([ffmpeg], command, names={ffmpeg: "ffmpeg"}))
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    words = ["-f", "lavfi", "-i", "testsrc2=size=64x48:rate=8", "-frames:v", "12", "-pix_fmt", "yuv420p"]
    run_ffmpeg(ffmpeg, *words, "-c:v", "libx264", "-bf", "2", str(path))
    local.control.put_object(local.BUCKET, "clip.mp4", path.read_bytes())
    return path.read_bytes()


def shown(path: Path, form: str) -> bytes:
    """The frames of a film, or of numbered pictures, as bare pixels."""
    return run_ffmpeg(find_ffmpeg(), "-i", str(path), "-f", "rawvideo", "-pix_fmt", form, "-")


@pytest.mark.long
def test_frames_go_there_and_back_again(coordinate: Any, local: Any, clip: bytes, tmp_path: Path) -> None:
    size, get = 64 * 48, local.control.get_object
    (tmp_path / "clip.mp4").write_bytes(clip)

    def job(pipeline: str, *words: str) -> str:
        ended = coordinate(*local.words(pipeline), "-v", "clip", "-l", "ffmpeg", *words)
        assert ended.status == 0, ended.err
        return str(ended.out)

    def frames(form: str, as_what: str) -> bytes:
        directory = tmp_path / form
        directory.mkdir()
        for number in range(1, 13):
            name = f"{number:08d}.png"
            (directory / name).write_bytes(get(local.BUCKET, f"clip-{form}/{name}"))
        return shown(directory / "%08d.png", as_what)

    assert "12 frames: clip-png16/" in job("split", "-n", "3", "--seconds", "0.5")
    assert frames("png16", "rgb24") == shown(tmp_path / "clip.mp4", "rgb24")

    job("grayscale", "-n", "2", "-f", "6")
    gray = frames("gray", "rgb24")
    assert gray[0::3] == gray[1::3] == gray[2::3]
    assert len(gray) == 12 * 3 * size

    job("png2y4m", "-n", "3", "-f", "4", "-i", "gray")
    job("y4m2png", "-n", "3", "-f", "4", "-i", "y4m_04", "--to", "again")
    again = frames("again", "rgb24")
    assert max(abs(a - b) for a, b in zip(again, gray, strict=True)) <= 2

    job("merge", "--chunks", "3", "-i", "y4m_04", "--out", "merged.mp4")
    (tmp_path / "merged.mp4").write_bytes(get(local.BUCKET, "merged.mp4"))
    merged = shown(tmp_path / "merged.mp4", "rgb24")
    assert len(merged) == len(gray)
    for number in range(0, len(gray), 3 * size):
        pairs = zip(merged[number : number + 3 * size], gray[number : number + 3 * size], strict=True)
        assert sum(abs(a - b) for a, b in pairs) < 3 * size * 8

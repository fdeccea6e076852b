"""The fake encoders: what it takes, what it refuses, and what its output depends on."""

import os
import subprocess
import threading
from pathlib import Path

import pytest
from warm_processes import LIMIT

from mu_twisted.cli.demo.fake_encoders import SOURCE, CompileError, make_fake_encoders

REBASE = "-w 0.75 -i y4m -O out.state -o out.ivf -r -I 0.state -p prev.ivf in.y4m"


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tools")
    make_fake_encoders(directory)
    return directory


@pytest.fixture
def run(tools: Path, tmp_path: Path) -> "Runner":
    runner = Runner(tools, tmp_path)
    (tmp_path / "in.y4m").write_bytes(b"YUV4MPEG2 1")
    (tmp_path / "other.y4m").write_bytes(b"YUV4MPEG2 2")
    runner("vpxenc", "--ivf -o prev.ivf in.y4m")
    runner("xc-dump", "prev.ivf 0.state")
    runner("vpxenc", "--ivf -o other.ivf other.y4m")
    runner("xc-dump", "other.ivf other.state")
    return runner


class Runner:
    """Runs one of the tools in a directory of the test's."""

    def __init__(self, tools: Path, work: Path) -> None:
        self.tools = tools
        self.work = work

    def __call__(self, name: str, words: str, status: int = 0) -> str:
        done = subprocess.run(
            [self.tools / name, *words.split()],
            cwd=self.work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done.stderr if status else done.stdout

    def output(self, name: str, words: str) -> bytes:
        self(name, words)
        return (self.work / "out.ivf").read_bytes()


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("vpxenc", "--ivf --best -o out.ivf in.y4m", "unrecognized option --best"),
        ("vpxenc", "--cq-level= -o out.ivf in.y4m", "unrecognized option --cq-level="),
        ("vpxenc", "--ivf in.y4m", "expected -o OUTPUT INPUT"),
        ("vpxenc", "--ivf -o out.ivf prev.ivf", "is no Y4M"),
        ("xc-dump", "in.y4m out.state", "is no IVF"),
        ("xc-dump", "-S 0.state prev.ivf", "expected IVF STATE"),
        ("xc-terminate-chunk", "prev.ivf out.ivf", "expected IVF-IN IVF-OUT STATE"),
        ("xc-enc", f"--nosuch {REBASE}", "--nosuch"),
        ("xc-enc", f"-W {REBASE}", "invalid option"),
        ("xc-enc", REBASE.replace("-I 0.state", ""), "expected -r -I STATE"),
        ("xc-enc", REBASE.replace("y4m -O", "ivf -O"), "unsupported input format"),
        ("xc-enc", REBASE.replace("0.state", "nosuch"), "cannot open nosuch"),
        ("xc-enc", f"-S 0.state {REBASE}", "Mismatch between prediction IVF"),
    ],
)
def test_what_it_does_not_know_is_refused(run: Runner, name: str, words: str, said: str) -> None:
    assert said in run(name, words, status=1)


@pytest.mark.parametrize(
    ("old", "new"), [("0.75", "0.5"), ("0.state", "other.state"), ("prev.ivf", "other.ivf"), ("in.y4m", "other.y4m")]
)
def test_a_re_encode_depends_on_all_that_it_is_given(run: Runner, old: str, new: str) -> None:
    assert run.output("xc-enc", REBASE) == run.output("xc-enc", REBASE)
    assert run.output("xc-enc", REBASE) != run.output("xc-enc", REBASE.replace(old, new))


def test_a_prediction_goes_with_the_state_that_it_was_made_for(run: Runner) -> None:
    run("xc-enc", REBASE.replace("out.ivf", "one.ivf"))
    again = REBASE.replace("prev.ivf", "one.ivf").replace("-I 0.state", "-I other.state")
    run("xc-enc", f"-S 0.state {again}")
    assert "Mismatch" in run("xc-enc", again, status=1)
    assert "Mismatch" in run("xc-enc", f"-S other.state {again}", status=1)


def test_an_encode_depends_on_its_switches(run: Runner) -> None:
    words = "--ivf --cq-level=30 -o out.ivf in.y4m"
    assert run.output("vpxenc", words) != run.output("vpxenc", words.replace("30", "31"))


def test_the_end_of_a_chunk_is_another_chunk(run: Runner) -> None:
    assert run.output("xc-terminate-chunk", "prev.ivf out.ivf out.state") != (run.work / "prev.ivf").read_bytes()
    assert (run.work / "out.state").read_bytes() != (run.work / "0.state").read_bytes()


def test_states_are_compared_bit_by_bit(run: Runner) -> None:
    assert run("comp-states", "0.state 0.state") == "0\n"
    (run.work / "near.state").write_bytes((run.work / "0.state").read_bytes()[:-1])
    run("comp-states", "0.state near.state", status=1)


def test_a_re_encoder_reads_its_input_first_and_the_state_when_standard_input_ends(run: Runner) -> None:
    expected = run.output("xc-enc", REBASE)
    os.mkfifo(run.work / "fifo")
    state = (run.work / "0.state").read_bytes()
    (run.work / "0.state").unlink()
    words = REBASE.replace("in.y4m", "fifo").split()
    with subprocess.Popen([run.tools / "xc-enc", *words], cwd=run.work, stdin=subprocess.PIPE) as process:
        guard = threading.Timer(LIMIT, process.kill)
        guard.start()
        (run.work / "fifo").write_bytes((run.work / "in.y4m").read_bytes())  # ends when it is opened for reading
        (run.work / "0.state").write_bytes(state)
        process.communicate(b"hi\n")
        guard.cancel()
    assert process.returncode == 0
    assert (run.work / "out.ivf").read_bytes() == expected


def test_an_encoder_of_2016_does_not_wait_and_fails_where_its_state_is_not_there(run: Runner) -> None:
    words = REBASE.replace("-w 0.75", "--s-ac-qi 127")
    expected = run.output("xc-enc", words)
    with subprocess.Popen([run.tools / "xc-enc", *words.split()], cwd=run.work, stdin=subprocess.PIPE) as process:
        guard = threading.Timer(LIMIT, process.kill)
        guard.start()
        assert process.wait() == 0  # standard input is open
        guard.cancel()
    assert (run.work / "out.ivf").read_bytes() == expected
    (run.work / "0.state").unlink()
    assert "0.state: No such file or directory" in run("xc-enc", words, status=1)


def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Werror", "-std=gnu11", "-fsyntax-only"]
    subprocess.run(["cc", *warnings, SOURCE], cwd=tmp_path, check=True)


def test_without_a_compiler_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CompileError, match="install gcc"):
        make_fake_encoders(tmp_path / "tools")

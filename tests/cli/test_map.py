"""mu map: where inputs come from, what is submitted and printed, and what is refused before anything is launched."""

from __future__ import annotations

import fnmatch
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import warm_processes
from command_line import Mu
from control_server import Loop, Served
from hypothesis import given
from hypothesis import strategies as st
from warm_processes import LIMIT
from wheel_index import WheelIndex

from mu_twisted.aws import Clients
from mu_twisted.cli._map import split
from mu_twisted.client.map_sources import Limits, SourceError, list_objects, translate
from mu_twisted.local import default_state_dir, stop
from mu_twisted.pipelines import InputList
from mu_twisted.pipelines._input_list import unpack


@pytest.fixture
def s3(moto_server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An S3 with an empty bucket ``mine``."""
    for name, value in (
        ("AWS_ENDPOINT_URL", moto_server),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "example"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", region_name="us-east-1")
    client.create_bucket(Bucket="mine")
    yield client
    for item in client.list_objects_v2(Bucket="mine").get("Contents", ()):
        client.delete_object(Bucket="mine", Key=item["Key"])


@pytest.fixture
def submitted(run: Mu, served: Served, loop: Loop) -> Callable[..., InputList]:
    """Submits, and gives the inputs that the coordinator has got."""

    def submit(*words: str) -> InputList:
        at = words.index("--")
        done = run("map", "--no-wait", "--state-dir", str(served.state), *words)
        assert done.status == 0, (done.err, at)
        request = served.service.requests[-1]
        assert request.pipeline == "map"
        assert request.inputs is not None
        return unpack(request.inputs)

    return submit


def put(s3: Any, *keys: str) -> None:
    for key in keys:
        s3.put_object(Bucket="mine", Key=key, Body=b"x")


KEYS = ("p/a.png", "p/b c.png", "p/d/e.png", "p/d/f.txt", "p/a;rm -rf x.png", "p/d/", "q.png")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["s3://mine/p/*.png"], ["p/a.png", "p/a;rm -rf x.png", "p/b c.png"]),
        (["s3://mine/p/**.png"], ["p/a.png", "p/a;rm -rf x.png", "p/b c.png", "p/d/e.png"]),
        (["s3://mine/p/d/"], ["p/d/e.png", "p/d/f.txt"]),
        (["s3://mine/*.png"], ["q.png"]),
        (["s3://mine/p/?.png"], ["p/a.png"]),
        (["s3://mine/p/[!b]*.png"], ["p/a.png", "p/a;rm -rf x.png"]),
        (["s3://mine/*/d/e.png", "s3://mine/p/a.png", "s3://mine/p/d/*"], ["p/d/e.png", "p/a.png", "p/d/f.txt"]),
    ],
)
def test_objects_are_listed_by_patterns(
    submitted: Callable[..., InputList], s3: Any, patterns: list[str], expected: list[str]
) -> None:
    put(s3, *KEYS)
    inputs = submitted(*patterns, "--", "wc {in}")
    assert inputs == InputList((expected,), bucket="mine")


def test_a_long_listing_is_read_page_by_page(s3: Any) -> None:
    put(s3, *(f"many/{number}" for number in range(7)))
    clients = Clients(boto3.Session(), "us-east-1", s3_endpoint=os.environ["AWS_ENDPOINT_URL"])
    told: list[str] = []
    assert len(list_objects(clients, ["s3://mine/many/*"], told.append, Limits(page=3))) == 7
    assert [text.partition(" ")[0] for text in told] == ["3", "6", "7"]


def test_files_and_folders_are_uploaded_once(submitted: Callable[..., InputList], s3: Any, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("one")
    (folder / "sub" / "b $(x).txt").write_text("two")
    for _ in range(2):
        inputs = submitted("-b", "mine", "photos", "--", "wc {in}")
        assert list(inputs.columns[0]) == ["photos/a.txt", "photos/sub/b $(x).txt"]
        keys = list(inputs.columns[1])
        assert all(key.startswith("mu-inputs/") for key in keys)
        assert [s3.get_object(Bucket="mine", Key=key)["Body"].read() for key in keys] == [b"one", b"two"]
    times = {item["Key"]: item["LastModified"] for item in s3.list_objects_v2(Bucket="mine")["Contents"]}
    submitted("-b", "mine", "photos/a.txt", "--", "wc {in}")
    assert times == {item["Key"]: item["LastModified"] for item in s3.list_objects_v2(Bucket="mine")["Contents"]}


def test_lines_come_from_a_file_or_standard_input(
    submitted: Callable[..., InputList], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "list").write_bytes(b"a b\n\n-x;y\n\xff\xfe\nlast")
    expected = ["a b", "-x;y", "\udcff\udcfe", "last"]
    assert list(submitted("--each", "list", "--", "echo {}").columns[0]) == expected
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"one\ntwo\n")))
    assert list(submitted("--each", "-", "--", "echo {line}").columns[0]) == ["one", "two"]


@pytest.mark.parametrize(("name", "more"), [("t.csv", []), ("t", ["--csv"]), ("T.CSV", [])])
def test_rows_of_a_table_have_named_columns(
    submitted: Callable[..., InputList], tmp_path: Path, name: str, more: list[str]
) -> None:
    (tmp_path / name).write_text('\ufeffwho,age\n"Ann, ""A""",3\r\nBob,"4\n5"\n')
    inputs = submitted("--each", name, *more, "--", "echo {who} {age}")
    assert inputs == InputList((['Ann, "A"', "Bob"], ["3", "4\n5"]), ("who", "age"))


def test_values_are_combined(submitted: Callable[..., InputList]) -> None:
    inputs = submitted(":::", "a", "-b", ":::", "1", "2", "--", "echo", "{1}", "{2}")
    assert [inputs.row(number) for number in range(4)] == [("a", "1"), ("a", "2"), ("-b", "1"), ("-b", "2")]


def test_a_range_travels_as_words(run: Mu, served: Served) -> None:
    assert (
        run("map", "--no-wait", "--state-dir", str(served.state), "--range", "1:1000000", "--", "echo {}").status == 0
    )
    request = served.service.requests[-1]
    assert request.inputs is None
    assert "--range=1:1000000" in request.words


def test_job_options_and_the_name_are_handed_on(run: Mu, served: Served) -> None:
    words = ["-l", "f", "--batch", "3", "--halt", "soon,fail=10%", "--max-cost", "2", "--skip-existing"]
    out = ["--out", "s3://mine/{}", "--name", "photos"]
    done = run(
        "map", "--no-wait", "--state-dir", str(served.state), *words, *out, ":::", "a", "b", "--", "x", "-y", "{}"
    )
    assert done.status == 0, done.err
    request = served.service.requests[-1]
    assert request.name == "photos"
    assert request.words[-4:] == ("--", "x", "-y", "{}")
    assert set(request.words[:-4]) == {
        "--function=f",
        "--batch=3",
        "--halt=soon,fail=10%",
        "--max-cost=2",
        "--skip-existing",
        "--out=s3://mine/{}",
    }


def test_where_results_will_be_is_said_with_the_command_that_reads_them(run: Mu, served: Served) -> None:
    done = run("map", "--no-wait", "--state-dir", str(served.state), "-b", "mine", "--out", "-", ":::", "a", "--", "x")
    assert done.status == 0, done.err
    name = done.out.strip()
    assert re.fullmatch(
        r"results will be in (s3://mine/mu-results/[0-9a-f]+/), an object each: "
        rf"`mu wait {name}; mu cp -r \1 results` copies them to results/\n",
        done.err,
    )


def test_a_dry_run_says_what_would_be_done_and_does_nothing(run: Mu, served: Served, s3: Any) -> None:
    put(s3, "t/a.txt", "t/b c.txt")
    words = ["--dry-run", "--state-dir", str(served.state), "-l", "shell", "--out", "s3://mine/o/{/.}.n"]
    done = run("map", *words, "s3://mine/t/*", "--", "wc -l < {in} > {out}")
    assert done.status == 0, done.err
    assert done.out.splitlines()[:6] == [
        "would run",
        "  inputs    2, t/a.txt ... t/b c.txt",
        "  outputs   s3://mine/o/a.n ... s3://mine/o/b c.n",
        "  first     wc -l < a.txt > a.n",
        "  last      wc -l < 'b c.txt' > 'b c.n'",
        "  tasks     2, on 2 workers of shell",
    ]
    assert "not known: there is no function shell" in done.out
    assert not served.service.requests


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["s3://mine/t/*.png", "--", "x"], 1, "nothing matches s3://mine/t/*.png"),
        (["s3://mine/t/vanished", "--", "x"], 1, "nothing matches s3://mine/t/vanished"),
        (["s3://no-such-bucket/*", "--", "x"], 1, "there is no bucket no-such-bucket"),
        (["s3://", "--", "x"], 2, "expected s3://BUCKET/KEY, got s3://"),
        (["s3://mine/a", "s3://other/b", "--", "x"], 2, "two buckets, mine and other"),
        (["s3://mine/a", "b", "--", "x"], 2, "not both"),
        (["nosuch.png", "-b", "mine", "--", "x"], 1, "there is no file nosuch.png"),
        (["empty", "-b", "mine", "--", "x"], 1, "the folder empty has no files"),
        (["list", "--", "x"], 2, "the files that are uploaded must have a bucket: say which with -b BUCKET"),
        (["--each", "nosuch", "--", "x"], 1, "cannot read nosuch: No such file or directory"),
        (["--each", "empty", "--", "x"], 1, "cannot read empty: Is a directory"),
        (["--each", "void", "--", "x"], 1, "there are no lines in void"),
        (["--each", "head.csv", "--", "x"], 1, "there are no rows below the header of head.csv"),
        (["--each", "ragged.csv", "--", "x"], 1, "row 3 of ragged.csv has 1 value, its header 2"),
        (["--each", "twice.csv", "--", "x"], 1, "two columns are called 'a'"),
        (["--each", "own.csv", "--", "x"], 1, "a column is called 'in', a name of mu's own"),
        (["--each", "list", ":::", "a", "--", "x"], 2, "inputs are given in two ways"),
        (["--csv", ":::", "a", "--", "x"], 2, "--csv goes with --each"),
        (["--", "x"], 2, "there are no inputs"),
        ([":::", "a"], 2, "put -- between the inputs and the command"),
        ([":::", "a", "--"], 2, "map needs a command"),
        (["--out", "s3://mine/same", ":::", "a", "b", "--", "x"], 2, "2 inputs would overwrite one object"),
        (["--out", "s3://mine/{/}", ":::", "p/a", "q/a", "--", "x"], 2, "inputs p/a and q/a have the same output, a"),
        (
            ["--out", "-", ":::", "a", "--", "x"],
            2,
            "what is printed must have a bucket: say which with -b BUCKET; `mu mb` makes one",
        ),
        (["--unordered", ":::", "a", "--", "x"], 2, "--unordered goes with --out -"),
        (["--batch", "0", ":::", "a", "--", "x"], 2, "--batch: expected a whole number of at least 1"),
        (["--halt", "sometime", ":::", "a", "--", "x"], 2, "--halt: expected never"),
        (["--with", "x", ":::", "a", "--", "x"], 2, "--with says how the function of --program is made"),
        (
            ["--requirements", "x", ":::", "a", "--", "x"],
            2,
            "--requirements says how the function of --program is made",
        ),
        (["--program", "x", "-l", "f", ":::", "a", "--", "x"], 2, "-l names another (f)"),
        (["--program", "x", "--memory", "12", ":::", "a", "--", "x"], 2, "--memory: expected a whole number from 128"),
        (["--program", "nosuch", "--role", "r", ":::", "a", "--", "x"], 1, "cannot pack nosuch: No such file"),
        ([":::", "--", "echo"], 2, "::: is followed by no value"),
        ([":::", "a", ":::", "--", "echo"], 2, "::: is followed by no value"),
        (["-l", "bad name!", ":::", "a", "--", "x"], 2, "-l: expected a function's name"),
        (["-b", "Bad_Bucket!", ":::", "a", "--", "x"], 2, "-b: expected a bucket's name"),
        (["--range", "9:1", "--", "x"], 2, "--range: expected FIRST:LAST[:STEP]"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_nothing_is_launched(
    run: Mu, served: Served, s3: Any, tmp_path: Path, words: list[str], status: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in (
        ("list", "a\n"),
        ("void", "\n\n"),
        ("head.csv", "a,b\n"),
        ("ragged.csv", "a,b\n1,2\n3\n"),
        ("twice.csv", "a,a\n1,2\n"),
        ("own.csv", "in,x\n1,2\n"),
    ):
        (tmp_path / name).write_text(text)
    done = run("map", "--state-dir", str(served.state), *words)
    assert done.status == status
    assert said in done.error()
    assert not served.service.requests


def test_an_unreadable_file_is_named_before_anything_is_uploaded(
    run: Mu, served: Served, s3: Any, tmp_path: Path
) -> None:
    (tmp_path / "good").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    done = run("map", "--state-dir", str(served.state), "-b", "mine", "good", "loop", "--", "x")
    assert "loop" in done.error()
    assert "Contents" not in s3.list_objects_v2(Bucket="mine")


def test_a_pattern_with_too_many_matches_stops_at_the_limit(
    s3: Any,
) -> None:
    put(s3, *(f"k{number}" for number in range(6)))
    clients = Clients(boto3.Session(), "us-east-1", s3_endpoint=os.environ["AWS_ENDPOINT_URL"])
    told: list[str] = []
    for patterns, limits, said in (
        (["s3://mine/k*"], Limits(4, 100), r"s3://mine/k\* matches more than 4 objects"),
        (["s3://mine/k*z"], Limits(100, 4), "there are more than 4 keys below s3://mine/k"),
    ):
        with pytest.raises(SourceError, match=said):
            list_objects(clients, patterns, told.append, limits)
    assert told[-1] == "6 keys looked at below s3://mine/k"


@pytest.mark.parametrize("ordered", [True, False])
def test_results_are_printed_as_they_are_and_taken_away(
    run: Mu, served: Served, loop: Loop, s3: Any, ordered: bool
) -> None:
    submit = served.service.submit

    def and_do(request: Any) -> Any:
        taken = submit(request)
        where = next(word for word in request.words if word.startswith("--out="))
        prefix = where.removeprefix("--out=s3://mine/").removesuffix("{n:08d}")
        for number, content in enumerate((b"one\n", "\0zwei ü".encode())):
            s3.put_object(Bucket="mine", Key=f"{prefix}{number:08d}", Body=content)
        loop.reactor.callLater(0, served.service.end, "map-00000001")
        return taken

    served.service.submit = and_do  # type: ignore[method-assign]
    more = [] if ordered else ["--unordered"]
    words = ["-b", "mine", "--batch", "2", "--out", "-", *more, ":::", "a", "b", "--", "echo {}"]
    done = run("map", "--state-dir", str(served.state), *words)
    assert done.status == 0, done.err
    assert done.out == "one\n\0zwei ü"
    assert "map-00000001: 1 of 1 tasks done" in done.err
    assert "Contents" not in s3.list_objects_v2(Bucket="mine")


def test_a_task_that_failed_is_called_by_its_input(run: Mu, served: Served, loop: Loop) -> None:
    from msgspec.structs import replace

    job = json.loads(run("map", "--no-wait", "--json", "--state-dir", str(served.state), ":::", "a", "--", "x").out)[
        "job"
    ]
    loop.do(served.service.end, job, "failed", "exit status 1")
    tasks = served.service._tasks[job]
    served.service._tasks[job] = [replace(task, label="photos/a b.png") for task in tasks]
    said = run("status", "--state-dir", str(served.state), job).out
    assert "photos/a b.png (task 0) failed after 3 attempts: exit status 1" in said


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["a", "--", "x", "--", "y"], (["a"], [], ("x", "--", "y"))),
        (["-l", "f", ":::", "a", "-b", ":::", "c", "--", "x"], (["-l", "f"], [["a", "-b"], ["c"]], ("x",))),
        (["a"], (["a"], [], None)),
        (["--", ":::", "a"], ([], [], (":::", "a"))),
    ],
)
def test_a_command_line_is_cut_at_its_marks(words: list[str], expected: Any) -> None:
    left, taken = split(words)
    assert (left, taken["values"], taken["shell_command"]) == expected


@given(st.text("ab/[]!*?\\.^-$(|\n", max_size=12), st.text("ab/[]!.^-$\n", max_size=12))
def test_a_pattern_is_a_regular_expression_and_without_wildcards_matches_itself(pattern: str, key: str) -> None:
    try:
        found = re.compile(translate(pattern), re.DOTALL)
    except re.error:
        raise AssertionError(pattern) from None
    found.fullmatch(key)
    if not set(pattern) & set("*?["):
        assert found.fullmatch(pattern)


@pytest.mark.parametrize(
    "pattern", ["[?-]", "[a-]", "[-a]", "[-]", "[!-]", "[!a-]", "[a-c-]", "[c-a-]", "[--]", "[a--]"]
)
def test_a_hyphen_at_an_edge_of_brackets_stands_for_itself(pattern: str) -> None:
    for key in "-?abcd":
        assert bool(re.fullmatch(translate(pattern), key)) == fnmatch.fnmatchcase(key, pattern), key


def test_not_to_wait_needs_a_coordinator_that_runs(run: Mu, tmp_path: Path) -> None:
    done = run("map", "--no-wait", "--state-dir", str(tmp_path / "none"), ":::", "a", "--", "x")
    assert done.status == 1
    assert done.error().startswith("error: --no-wait leaves the job to a coordinator, and no coordinator runs in")


PRINTING = ("map", "--local", "-b", "mine", "--out", "-")


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``mu`` as a user without any daemon does, with packages of the test's own."""

    def mu(*words: str) -> subprocess.CompletedProcess[str]:
        return warm_processes.run(*warm_processes.MU, *words, env=_home(tmp_path), cwd=tmp_path, timeout=LIMIT)

    yield mu
    stop(default_state_dir({"XDG_STATE_HOME": str(tmp_path / ".local" / "state")}))


def _home(directory: Path) -> dict[str, str]:
    (directory / "index").mkdir(exist_ok=True)
    index = WheelIndex(directory / "index")
    return {"HOME": str(directory), "PATH": os.environ["PATH"], **index.environment}


@pytest.mark.process
def test_where_nothing_runs_it_runs_the_job_and_keeps_its_record(
    alone: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    wrong = alone(*PRINTING, ":::", "a", "--", "echo '{}'")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("error: the command: {} stands in single quotes")
    assert wrong.stderr.count("\n") == 1
    assert alone("mb", "--local", "s3://mine").returncode == 0
    done = alone(*PRINTING, "--tee", ":::", "a", "b", "--", "echo of {} >&2; echo {}")
    assert (done.returncode, done.stdout) == (0, "a\nb\n"), done.stderr
    assert {"a\tof a", "b\tof b"} < set(done.stderr.splitlines())
    assert "true" not in done.stderr, "its function is there for its shell, whatever it was made of"
    failed = alone(*PRINTING, "--retries", "0", ":::", "a", "x", "--", "[ {} = a ] && echo {} || ! echo no {} >&2")
    assert (failed.returncode, failed.stdout) == (1, "a\n"), failed.stderr
    hint = re.search(r"`mu (output (\S+) --task 1)` shows more", failed.stderr)
    assert hint, failed.stderr
    assert alone(*hint[1].split()).stdout == alone("output", hint[2], "x").stdout == "no x\n"
    assert "x (task 1) failed after 1 attempt" in failed.stderr
    states = [job["state"] for job in json.loads(alone("jobs", "--json").stdout)["jobs"]]
    assert sorted(states) == ["done", "failed"]


@pytest.mark.process
@pytest.mark.long
def test_programs_and_wheels_go_with_the_job_and_an_interrupt_keeps_its_record(
    alone: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    environment = _home(tmp_path)
    WheelIndex(tmp_path / "index").wheel("greeting", files={"greeting.py": b"def of(name): return 'hello ' + name\n"})
    assert alone("mb", "--local", "s3://mine").returncode == 0
    packed = alone(*PRINTING, "--program", "/bin/gzip", ":::", "a", "--", "echo {} | ./gzip | gunzip")
    assert (packed.returncode, packed.stdout) == (0, "a\n"), packed.stderr
    (tmp_path / "requirements.txt").write_text("greeting\n")
    command = 'python3 -c "import greeting, sys; print(greeting.of(sys.argv[1]))" {} | ./gzip | gunzip'
    wheels = ("--requirements", "requirements.txt")
    greeted = alone(*PRINTING, "--program", "/bin/gzip", *wheels, ":::", "a", "--", command)
    assert (greeted.returncode, greeted.stdout) == (0, "hello a\n"), greeted.stderr
    interrupted = warm_processes.Process(
        *warm_processes.MU,
        *(*PRINTING, ":::", "a", "b", "--", "echo {}; [ {} = a ] || sleep 50"),
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert interrupted.stdout is not None
        assert interrupted.stdout.readline() == "a\n"
        interrupted.send_signal(signal.SIGINT)
        _, err = interrupted.communicate(timeout=LIMIT)
    finally:
        interrupted.kill()
    assert interrupted.returncode == -signal.SIGINT  # as of `mu run`
    assert "error: interrupted; its record is kept: `mu retry map-" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "notes"),
    [
        (
            (":::", "a", "--bogus", "-x=1", "--", "echo {}"),
            ["note: --bogus (and 1 more) is a value, as it stands behind `:::`: options of mu map stand before that"],
        ),
        ((":::", "a", "-1", "--", "echo {}"), []),
        (
            (":::", "a", "--", "echo {nosuch}"),
            ["note: {nosuch} is no replacement, and stays as it is: `mu map --help` lists them"],
        ),
        (
            ("-b", "mine", "--out", "{}/{sub}", ":::", "a", "--", "sh", "-c", "echo {2}"),
            ["note: {2} (and 1 more) is no replacement, and stays as it is: `mu map --help` lists them"],
        ),
        ((":::", "a", "--", "awk '{print}' ${HOME}/{}"), []),
    ],
)
def test_words_that_may_be_meant_otherwise_are_told(
    run: Mu, served: Served, loop: Loop, words: tuple[str, ...], notes: list[str]
) -> None:
    done = run("map", "--no-wait", "--state-dir", str(served.state), *words)
    assert (done.status, done.err.splitlines()) == (0, notes)
    assert len(served.service.requests) == 1

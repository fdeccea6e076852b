"""Commands of several workers joined by pipes, from end to end: coordinator, rendezvous, embedded Lambda and S3."""

import gzip
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
STREAM = """
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import PeerOptions, Pipeline, Report

PEAK = "grep VmHWM /proc/$PPID/status"


async def task(w: Worker) -> None:
    before = (await w.run(PEAK)).output.split()[1]
    if w.task == 0:
        await w.run("seq 1 9000000 > {x}", x=w.pipe_to(1, "x"))
        said = "-"
    else:
        done = await w.run("{ dd bs=1000 count=500 2> /dev/null; sleep 4; cat; } < {x} | md5sum", x=w.pipe_from(0, "x"))
        said = done.output.split()[0]
    after = (await w.run(PEAK)).output.split()[1]
    w.info["remark"] = f"{int(after) - int(before)} {said}"


pipeline = Pipeline(
    name="stream",
    summary="a stream that is larger than anything that may hold it",
    first=task,
    options=PeerOptions,
    pipes=lambda settings: [(0, 1, "x")],
    report=lambda settings, remarks: Report(f"writer {remarks[0]}\\nreader {remarks[1]}"),
)
"""
BAD = """
from mu_twisted.pipelines import PeerOptions, Pipeline


async def task(w):
    await w.run("true")


pipeline = Pipeline(name="bad", summary="", first=task, options=PeerOptions, pipes=lambda settings: {pipes})
"""


def test_the_pipeline_of_the_page_sorts_on_three_workers_at_once(
    coordinate: Any, local: Any, rendezvous_port: int, tmp_path: Path
) -> None:
    page = (ROOT / "docs" / "links.md").read_text(encoding="utf-8")
    [text] = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "pipes=lambda" in block]
    (tmp_path / "sorted.py").write_text(text, encoding="utf-8")
    bodies = ["".join(f"{number * 7919 % 5003}\n" for number in range(first, first + 3000)) for first in (1, 77)]
    for number, body in enumerate(bodies):
        local.control.put_object(local.BUCKET, f"logs/{number:08d}.gz", gzip.compress(body.encode()))
    ended = coordinate(*local.words("./sorted.py"), "-T", str(rendezvous_port), "-n", "6", "--max-workers", "3")
    assert ended.status == 0, ended.err
    assert "6 of 6 tasks done" in ended.out
    for number, body in enumerate(bodies):
        stored = gzip.decompress(local.control.get_object(local.BUCKET, f"sorted/{number:08d}.gz")).decode()
        assert sorted(stored.splitlines()) == sorted(body.splitlines())
        assert hashlib.sha256(stored.encode()).digest() != hashlib.sha256(body.encode()).digest()


@pytest.mark.parametrize(
    ("pipes", "words", "says"),
    [
        ('[(0, 5, "x")]', [], "pipeline bad: pipe 'x' joins task 5, which the job does not have"),
        ('[(0, 1, "a b")]', [], "a pipe's name has 1 to 64 letters, digits"),
        ("[(0, 1)]", [], "error: pipeline bad: a pipe is (task that writes, task that reads, name), got (0, 1)"),
        ('[(0, "1", "x")]', [], "a pipe joins tasks by their numbers, got (0, '1', 'x')"),
        ("None", [], "bad: its pipes cannot be found: TypeError: 'NoneType' object is not iterable"),
        ("{}[9]", [], "bad: its pipes cannot be found: KeyError: 9 (bad.py, line "),
        ('[(0, 1, "x")], after=lambda _, t: [0] * t', [], "bad: tasks are joined by pipes with others that come after"),
        ("[], after=lambda _, t: [1 - t]", [], "bad: tasks come after one another in a circle, among them 0, 1: one"),
        ('[], stage=lambda _, t: "a b"', [], "that of task 0 is 'a b'"),
        ('[(0, 1, "x")]', ["--max-workers", "1"], "which takes 2 workers: there may be 1 (--max-workers)"),
    ],
)
def test_pipes_that_cannot_be_are_one_line_before_anything_is_launched(
    coordinate: Any, local: Any, rendezvous_port: int, tmp_path: Path, pipes: str, words: list[str], says: str
) -> None:
    (tmp_path / "bad.py").write_text(BAD.replace("{pipes}", pipes), encoding="utf-8")
    ended = coordinate(*local.words("./bad.py"), "-T", str(rendezvous_port), "-n", "2", *words)
    assert ended.status == 2
    assert says in ended.complained()


def test_a_gang_larger_than_the_coordinators_workers_is_one_line(
    coordinate: Any, local: Any, rendezvous_port: int, tmp_path: Path
) -> None:
    (tmp_path / "bad.py").write_text(BAD.replace("{pipes}", '[(0, 1, "x"), (1, 2, "y")]'), encoding="utf-8")
    ended = coordinate("--worker-limit", "2", *local.words("./bad.py"), "-T", str(rendezvous_port), "-n", "3")
    assert "which takes 3 workers: there may be 2 (--worker-limit)" in ended.complained()


@pytest.mark.long
def test_a_large_stream_to_a_slow_reader_takes_no_memory_of_the_workers(
    coordinate: Any, local: Any, rendezvous_port: int, tmp_path: Path
) -> None:
    (tmp_path / "stream.py").write_text(STREAM, encoding="utf-8")
    ended = coordinate(*local.words("./stream.py"), "-T", str(rendezvous_port), "-n", "2")
    assert ended.status == 0, ended.err
    grown = {who: (int(kib), said) for who, kib, said in re.findall(r"(writer|reader) (\d+) (\S+)", ended.out)}
    body = "".join(f"{number}\n" for number in range(1, 9_000_001)).encode()
    assert len(body) > 70_000_000
    assert grown["reader"][1] == hashlib.md5(body).hexdigest()  # noqa: S324
    assert grown["writer"][0] < 16_000, grown
    assert grown["reader"][0] < 16_000, grown

"""A report is one file that runs nothing and loads nothing, whatever users and their programs have put into it."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from command_line import Mu
from memory_jobs import MemoryCoordinator
from msgspec import to_builtins
from twisted.internet.defer import Deferred

from mu_twisted.cli._report import write_whole
from mu_twisted.cli.report import gantt, page, standalone
from mu_twisted.cli.report._svg import MAX_ROWS, rows_of
from mu_twisted.pipelines import Pipeline

HOSTILE = "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m\u202e&\"'`\udcff\uffff"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3", "span", "p", "section"),
    *("dl", "div", "dt", "dd", "small", "pre", "code", "figure", "table", "thead", "tbody", "tr", "th", "td", "footer"),
    *("svg", "g", "rect", "text", "line", "polyline", "polygon", "circle"),
}


class Tags(HTMLParser):
    """Collects what a page is made of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def world(tmp_path: Path) -> Iterator[MemoryCoordinator]:
    world = MemoryCoordinator(tmp_path)
    yield world
    world.journal.close()


def seen(world: MemoryCoordinator, job: str) -> tuple[Any, Any, Any]:
    """The job, its timeline and its failures, as JSON holds them."""
    observation = world.jobs.observation
    found = [
        world.jobs.job(job),
        world.at_once(Deferred.fromCoroutine(observation.timeline(job))),
        world.at_once(Deferred.fromCoroutine(observation.failures(job))),
    ]
    job_status, timeline, failures = [json.loads(json.dumps(to_builtins(one, str_keys=True))) for one in found]
    return job_status, timeline, failures


def hostile_job(world: MemoryCoordinator) -> str:
    world.pipeline = Pipeline(
        name="p",
        summary="",
        first=world.pipeline.first,
        label=lambda _, task: f"{HOSTILE}{task}",
        after=lambda _, task: [task - 1] if task == 2 else [],
    )
    job = world.submit("-n", "4", "--retries", "0")
    for number, says in enumerate((b"OK:ECHO(hi)", b"FAIL(" + HOSTILE.encode("utf-8", "surrogateescape") + b")")):
        world.wall += 1.0
        world.worker(job, f"0-{number}").says(says)
    world.wall += 2.0
    return job


def test_hostile_text_stays_text(world: MemoryCoordinator) -> None:
    job, timeline, failures = seen(world, hostile_job(world))
    failures["groups"][0]["output"] = HOSTILE
    job["note"] = job["report"] = HOSTILE
    points = [[0, 1.5], [1, 2.5]]
    job["plots"] = [{"title": HOSTILE, "across": HOSTILE, "up": HOSTILE, "series": {HOSTILE: points}}]
    text = page(job, timeline, failures)
    tags = Tags(text)
    assert tags.tags <= TAGS
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name in ("src", "href", "srcset")]
    assert "url(" not in text
    assert "@import" not in text
    assert "alert(1)" in tags.text  # to be read
    for character in "\x00\x1b\u202e\udcff\uffff":
        assert character not in text
    text.encode()
    assert "default-src 'none'" in text
    assert "circle" in tags.tags


def test_what_stages_come_after_and_what_killed_a_program_are_told(world: MemoryCoordinator) -> None:
    names = ["read", "list", "join"]
    world.pipeline = Pipeline(
        name="p",
        summary="",
        first=world.pipeline.first,
        stage=lambda _, task: names[task],
        after=lambda _, task: [0, 1] if task == 2 else [],
    )
    job = world.submit("-n", "3", "--retries", "0")
    world.worker(job, "0-0").says(b"FAIL(no)")
    status, timeline, failures = seen(world, job)
    failures["groups"][0].update(output="reading", status=-11)
    text = page(status, timeline, failures)
    assert "printed, killed by SIGSEGV:" in text
    stages = text[text.index("<h2>Stages</h2>") : text.index("The slowest attempts")]
    assert re.findall(r"<td>(\w+)</td><td>([^<]*)</td>", stages) == [
        ("read", "-"),
        ("list", "-"),
        ("join", "read, list"),
    ]


def test_the_drawing_is_xml_by_itself(world: MemoryCoordinator) -> None:
    job = hostile_job(world)
    _, timeline, _ = seen(world, job)
    drawn = standalone(gantt(timeline))
    root = ElementTree.fromstring(drawn)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not [one for one in root.iter() if one.tag.rpartition("}")[2] == "script"]


def test_a_job_that_runs_and_one_that_is_over_are_told_with_their_path(world: MemoryCoordinator) -> None:
    job = hostile_job(world)
    running = page(*seen(world, job))
    assert ">running<" in running
    assert "What failed" in running
    assert "Stages" in running
    world.worker(job, "0-2").says(b"OK:ECHO(hi)")
    world.wall += 5.0
    world.worker(job, "0-3").says(b"OK:ECHO(hi)")
    world.clock.pump([1.0] * 5)
    text = page(*seen(world, job))
    assert ">failed<" in text
    slowest = text[text.index("The slowest attempts") :]
    assert "Attempt, from 0" in slowest
    numbers = [row.split("</td><td")[1].partition(">")[2] for row in slowest.split("<tr>")[2:] if "</td><td" in row]
    assert set(numbers) == {"0"}, numbers


def test_tables_have_a_column_for_each_kind_of_bytes_that_was_moved(world: MemoryCoordinator) -> None:
    job = hostile_job(world)
    status, timeline, failures = seen(world, job)
    assert "From S3" not in page(status, timeline, failures)
    place = timeline["slowest"][0]
    timeline["bytes"] = {str(place): {"retrieved": 12_345_678, "uploaded": 0, "sent": 0, "received": 3}}
    timeline["stages"][0]["bytes"] = {"retrieved": 0, "uploaded": 45_678, "sent": 0, "received": 0}
    text = page(status, timeline, failures)
    slowest = text[text.index("The slowest attempts") :]
    heads = [cell.rpartition(">")[2] for cell in slowest[: slowest.index("</thead>")].split("</th>")[:-1]]
    assert heads == ["Task", "Attempt, from 0", "Ended", "Began at", "Took", "From S3", "From tasks"]
    rows = [row.split("</td>")[-3:-1] for row in slowest.split("<tr>")[2:]]
    ends = [[cell.rpartition(">")[2] for cell in row] for row in rows]
    assert ends == [["12.3 MB", "3 bytes"], ["-", "-"]]
    stages = text[text.index("<h2>Stages</h2>") : text.index("The slowest attempts")]
    assert ("To S3" in stages, "45.7 kB" in stages, "From S3" in stages) == (True, True, False)


def test_a_reason_names_the_inputs_that_failed_of_it(world: MemoryCoordinator) -> None:
    status, timeline, failures = seen(world, hostile_job(world))
    failures["groups"][0] |= {"count": 9, "labels": {"1": "a/<1>.png", "4": "a/4.png"}}
    assert "<p>a/&lt;1&gt;.png, a/4.png, and 7 more</p>" in page(status, timeline, failures)
    failures["groups"][0] |= {"count": 2}
    assert "<p>a/&lt;1&gt;.png, a/4.png</p>" in page(status, timeline, failures)


def test_a_job_of_which_nothing_began_has_a_report(world: MemoryCoordinator) -> None:
    job, _, failures = seen(world, world.submit("-n", "4"))
    assert "<h1>" in page(job, None, failures)


def test_of_many_tasks_some_are_drawn_the_path_and_the_failed_among_them() -> None:
    count = 5000
    attempts = {
        "task": list(range(count)),
        "attempt": [0] * count,
        "begin": [float(task) for task in range(count)],
        "end": [task + 1.0 + task % 7 / 7 for task in range(count)],
        "outcome": [2 if task == 3000 else 1 for task in range(count)],
    }
    timeline = {
        "attempts": attempts,
        "outcomes": ["running", "done", "failed", "beaten", "withdrawn"],
        "now": 5002.0,
        "states": [],
        "labels": {},
        "path": [{"task": 17, "begin": 17.0, "end": 18.0}],
    }
    rows = rows_of(timeline)
    assert len(rows) == MAX_ROWS
    assert {17, 3000} <= {row.task for row in rows}
    assert len(gantt(timeline)) < 200_000


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--svg", "a.svg", "-o", "b.html"], 2, "give one of them"),
        (["-o", ""], 2, "expected a value, got ''"),
        ([], 1, "no coordinator runs"),
    ],
)
def test_mistakes_are_one_line(run: Mu, words: list[str], status: int, said: str, tmp_path: Path) -> None:
    done = run("report", "j", "--state-dir", str(tmp_path / "none"), *words)
    assert done.status == status
    assert said in done.error()


def test_a_file_that_cannot_be_written_leaves_none(tmp_path: Path) -> None:
    from mu_twisted.base import MuError

    with pytest.raises(MuError, match="cannot be written: No such file"):
        write_whole(tmp_path / "none" / "a.html", "x")
    for directory in (tmp_path, Path()):
        with pytest.raises(MuError, match="cannot be written: Is a directory"):
            write_whole(directory, "x")
    target = tmp_path / "a.html"
    write_whole(target, "old")
    write_whole(target, "new")
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]

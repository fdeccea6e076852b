"""xcenc7: its options, its commands, and the bytes that it comes to, with no network."""

from pathlib import Path
from typing import Any

import pytest
from encoder_reference import Chunk, seventh, y4m
from encoder_workers import ADDRESS, Job, failures
from twisted.python import usage

from mu_twisted.pipelines.xcenc7 import Options, longer, pipeline

VIDEO = "sintel-1k-y4m_06"
LONGER = "sintel-1k-y4m_07"


def parsed(*words: object) -> Any:
    options = Options()
    options.parseOptions([str(word) for word in words])  # type: ignore[no-untyped-call]
    return options


def encoded(
    tools: Path, work: Path, tasks: int, group: int, *words: object, seed: int = 0, original: bool = False
) -> Job:
    """A job from its options to its end."""
    settings = parsed("-n", tasks, "-K", group, *words)
    store = {f"{VIDEO}/{number:08d}.y4m": y4m(number) for number in range(tasks)}
    store |= {f"{LONGER}/{number:08d}.y4m": y4m(100 + number) for number in range(tasks)}
    work.mkdir()
    job = Job(pipeline, settings, tools, work, store, original=original)
    job.run(seed)
    return job


def reference(tools: Path, work: Path, tasks: int, group: int, **more: Any) -> list[Chunk]:
    work.mkdir()
    heads, others = ([y4m(add + number) for number in range(tasks)] for add in (0, 100))
    return seventh(tools, work, heads, others, group, **more)


def stored(job: Job, kind: str = "out", suffix: str = "ivf") -> list[bytes | None]:
    return [job.store.get(f"{VIDEO}/{kind}/{task:08d}.{suffix}") for task in range(len(job.workers))]


@pytest.mark.parametrize(("tasks", "group"), [(1, 16), (4, 16), (8, 3), (5, 1)])
def test_a_job_comes_to_the_serial_references_bytes(tools: Path, tmp_path: Path, tasks: int, group: int) -> None:
    job = encoded(tools, tmp_path / "job", tasks, group, seed=tasks)
    assert failures(job) == {}
    assert stored(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", tasks, group)]
    assert not any(job.mailboxes.values())
    assert [worker.channel for worker in job.workers] == [None] * tasks


@pytest.mark.parametrize("phase", ["fetching", "encoding", "re-encoding on state 0", "handing over", "storing"])
def test_a_worker_that_is_lost_in_any_phase_changes_nothing(tools: Path, tmp_path: Path, phase: str) -> None:
    store = {f"{VIDEO}/{number:08d}.y4m": y4m(number) for number in range(3)}
    store |= {f"{LONGER}/{number:08d}.y4m": y4m(100 + number) for number in range(3)}
    job = Job(pipeline, parsed("-n", 3), tools, tmp_path, store)
    job.run(len(phase), lost=(1, phase))
    assert failures(job) == {}
    assert stored(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 3, 3)]


def test_u_also_stores_first_encodes_and_last_states(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", 4, 4, "-u", "-Y", 40)
    expected = reference(tools, tmp_path / "serial", 4, 4, quality=40)
    assert stored(job) == [chunk.output for chunk in expected]
    assert stored(job, "first") == [chunk.first for chunk in expected]
    assert stored(job, "final_state", "state") == [chunk.final for chunk in expected]


def test_the_commands_of_a_third_chunk_are_the_originals(tools: Path, tmp_path: Path) -> None:
    log = encoded(tools, tmp_path / "job", 4, 4).workers[2].log
    assert log[:4] == [
        "seti:nonblock:1",
        "seti:bg_silent:1",
        f"retrieve:{LONGER}/00000002.y4m\0##TMPDIR##/input.y4m",
        f"connect:{ADDRESS}:HELLO_STATE2:job:2:3:0:0",
    ]
    assert log[4].startswith("run:./vpxenc ")
    assert log[4].endswith('-o "##TMPDIR##/prev.ivf" "##TMPDIR##/input.y4m"')
    files = '-i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf"'
    given = '-r -I "##TMPDIR##/1.state" -p "##TMPDIR##/prev.ivf" "##TMPDIR##/input.y4m"'
    assert log[5:] == [
        "seti:run_iter:2",
        "seti:expect_statefile:1",
        "seti:send_statefile:1",
        "seti:produces_state:1",
        f"run:##INSTATEWAIT## ./xc-enc -e -w 0.75 {files} {given}",
        "seti:produces_state:0",
        "close_connect:",
        f"upload:{VIDEO}/out/00000002.ivf\0##TMPDIR##/output.ivf",
    ]


def test_original_workers_hand_on_every_state(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", 5, 3, original=True)
    assert failures(job) == {}
    assert job.store == encoded(tools, tmp_path / "ours", 5, 3).store


def test_the_head_of_a_group_takes_the_short_chunk_and_is_terminated(tools: Path, tmp_path: Path) -> None:
    log = encoded(tools, tmp_path / "job", 4, 2).workers[2].log
    assert log[2] == f"retrieve:{VIDEO}/00000002.y4m\0##TMPDIR##/input.y4m"
    assert 'run:./xc-terminate-chunk "##TMPDIR##/prev.ivf" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"' in log


def test_defaults_are_the_originals() -> None:
    settings = parsed()
    assert (settings["frames"], settings["group"], settings["y-ac-qi"]) == (6, 16, 30)
    assert (settings["video"], longer(settings)) == (VIDEO, LONGER)
    assert longer(parsed("-v", "x_09", "-f", 9)) == "x_10"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-v clip", "-v: expected a name that ends in _06"),
        ("-f 9", "-v: expected a name that ends in _09"),
        ("-Y 64", "-Y: expected a number from 0 to 63"),
        ("-K 0", "-K: expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(words: str, said: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(*words.split())
    assert said in str(caught.value)

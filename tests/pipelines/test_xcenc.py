"""xcenc: its options, the order of its tasks, its commands, and the bytes that it comes to, with no network."""

from pathlib import Path
from typing import Any

import pytest
from encoder_reference import Chunk, serial, y4m
from encoder_workers import ADDRESS, Job, failures
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.pipelines import load_pipeline
from mu_twisted.pipelines.xcenc import COMPARE, Options, pipeline

SHAPES = [(1, 1), (4, 4), (8, 4), (8, 3), (7, 16), (16, 16)]
WORDS = (
    "--ivf -q --codec=vp8 --good --cpu-used=0 --end-usage=cq --min-q=0 --max-q=63 --cq-level=30 --buf-initial-sz=10000 "
    "--buf-optimal-sz=20000 --buf-sz=40000 --undershoot-pct=100 --passes=2 --auto-alt-ref=1 --threads=1 "
    "--token-parts=0 --tune=ssim --target-bitrate=4294967295"
)


def parsed(*words: object) -> Any:
    options = Options()
    options.parseOptions([str(word) for word in words])  # type: ignore[no-untyped-call]
    return options


def encoded(
    tools: Path, work: Path, *words: object, seed: int = 0, late: int | None = None, original: bool = False
) -> Job:
    """A job from its options to its end."""
    settings = parsed(*words)
    numbers = range(settings["offset"], settings["offset"] + settings["tasks"])
    store = {f"{settings['video']}/{number:08d}.y4m": y4m(number) for number in numbers}
    work.mkdir()
    job = Job(pipeline, settings, tools, work, store, original=original)
    job.run(seed, late)
    return job


def reference(tools: Path, work: Path, tasks: int, group: int, **more: Any) -> list[Chunk]:
    work.mkdir()
    return serial(tools, work, [y4m(number) for number in range(tasks)], group, **more)


def outputs(job: Job, kind: str = "out", suffix: str = "ivf") -> list[bytes | None]:
    video = "sintel-1k-y4m_06"
    return [job.store.get(f"{video}/{kind}/{task:08d}.{suffix}") for task in range(len(job.workers))]


@pytest.mark.parametrize(("tasks", "group"), SHAPES)
def test_a_job_comes_to_the_serial_references_bytes(tools: Path, tmp_path: Path, tasks: int, group: int) -> None:
    job = encoded(tools, tmp_path / "job", "-n", tasks, "-K", group, seed=tasks)
    assert failures(job) == {}
    expected = reference(tools, tmp_path / "serial", tasks, group)
    assert outputs(job) == [chunk.output for chunk in expected]


@pytest.mark.parametrize("late", range(5))
def test_the_bytes_do_not_depend_on_who_is_late(tools: Path, tmp_path: Path, late: int) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 5, seed=late, late=late)
    assert failures(job) == {}
    assert outputs(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 5, 5)]


PHASES = ["fetching", "encoding", "taking its state", "re-encoding on state 0", "re-encoding on state 1"]


@pytest.mark.parametrize("phase", [*PHASES, "handing over", "storing"])
def test_a_worker_that_is_lost_in_any_phase_changes_nothing(tools: Path, tmp_path: Path, phase: str) -> None:
    store = {f"sintel-1k-y4m_06/{number:08d}.y4m": y4m(number) for number in range(4)}
    job = Job(pipeline, parsed("-n", 4), tools, tmp_path, store)
    job.run(len(phase), lost=(2, phase))
    assert failures(job) == {}
    assert outputs(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 4, 4)]


def test_every_message_is_taken_and_every_channel_closed(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 8, "-K", 3)
    assert not any(job.mailboxes.values())
    assert [worker.channel for worker in job.workers] == [None] * 8


def test_a_chunk_that_is_its_own_group_needs_no_rendezvous(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 3, "-K", 1)
    assert failures(job) == {}
    assert not [command for worker in job.workers for command in worker.log if "connect" in command]
    assert outputs(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 3, 1)]


def test_u_also_stores_first_encodes_and_last_states(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 4, "-u", "-Y", 40)
    expected = reference(tools, tmp_path / "serial", 4, 4, quality=40)
    assert outputs(job) == [chunk.output for chunk in expected]
    assert outputs(job, "first") == [chunk.first for chunk in expected]
    assert outputs(job, "final_state", "state") == [chunk.final for chunk in expected]


def test_where_comp_states_is_packaged_the_states_of_a_chunk_are_compared(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 5)
    lines = outputs(job, "comp_txt", "txt")
    assert lines == [chunk.comparison for chunk in reference(tools, tmp_path / "serial", 5, 5)]
    assert lines[:2] == [None, b"0\n"]
    assert all(line and len(line.split()) == 2 for line in lines[2:])


def test_without_comp_states_a_job_does_the_same_and_compares_nothing(tools: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for name in pipeline.needs({"chain": 0}):
        (few / name).symlink_to(tools / name)
    job = encoded(few, tmp_path / "job", "-n", 3)
    assert failures(job) == {}
    assert outputs(job, "comp_txt", "txt") == [None] * 3
    assert outputs(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 3, 3)]


def test_the_offset_skips_input_chunks_and_names_the_output(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 2, "-o", 7, "-v", "clip")
    assert failures(job) == {}
    assert {key for key in job.store if "/out/" in key} == {"clip/out/00000007.ivf", "clip/out/00000008.ivf"}


def test_an_encoder_that_fails_ends_its_task_with_what_it_said(tools: Path, tmp_path: Path) -> None:
    settings = parsed("-n", 2)
    store = {f"sintel-1k-y4m_06/{number:08d}.y4m": b"no video" for number in range(2)}
    job = Job(pipeline, settings, tools, tmp_path, store)
    job.run()
    assert all("is no Y4M" in (error or "") for error in failures(job).values())
    assert len(failures(job)) == 2


def test_the_commands_of_a_third_chunk_are_the_originals(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 4)
    common = 'run:##INSTATEWAIT## ./xc-enc -w 0.75 -i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf" -r -I '
    assert [command for command in job.workers[2].log if "produces" not in command] == [
        "seti:nonblock:1",
        "seti:bg_silent:1",
        "retrieve:sintel-1k-y4m_06/00000002.y4m\0##TMPDIR##/input.y4m",
        f"connect:{ADDRESS}:HELLO_STATE2:job:2:3:0:0",
        "run:test -x ./comp-states",
        f'run:./vpxenc {WORDS} -o "##TMPDIR##/output.ivf" "##TMPDIR##/input.y4m"',
        "seti:run_iter:0",
        "seti:expect_statefile:0",
        "seti:send_statefile:1",
        'run:./xc-dump "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"',
        "seti:run_iter:1",
        "seti:expect_statefile:1",
        "seti:send_statefile:0",
        f'{common}"##TMPDIR##/0.state" -p "##TMPDIR##/prev.ivf" "##TMPDIR##/input.y4m"',
        'run:ln "##TMPDIR##/0.state" "##TMPDIR##/given.state"',
        "seti:run_iter:2",
        "seti:expect_statefile:1",
        "seti:send_statefile:1",
        f'{common}"##TMPDIR##/1.state" -p "##TMPDIR##/prev.ivf" -S "##TMPDIR##/0.state" "##TMPDIR##/input.y4m"',
        "close_connect:",
        f"run:{COMPARE.format(given=1)}",
        "upload:sintel-1k-y4m_06/out/00000002.ivf\0##TMPDIR##/output.ivf",
        "upload:sintel-1k-y4m_06/comp_txt/00000002.txt\0##TMPDIR##/comp.txt",
    ]


@pytest.mark.parametrize("words", ["-n 4", "-n 5 -K 3 -u"])
def test_original_workers_hand_on_every_state(tools: Path, tmp_path: Path, words: str) -> None:
    job = encoded(tools, tmp_path / "job", *words.split(), original=True)
    assert failures(job) == {}
    ours = encoded(tools, tmp_path / "ours", *words.split())
    assert job.store == ours.store


def test_the_head_of_a_group_is_terminated_and_sends_to_the_next(tools: Path, tmp_path: Path) -> None:
    log = encoded(tools, tmp_path / "job", "-n", 4, "-K", 2).workers[2].log
    assert log[4:6] == [
        f'run:./vpxenc {WORDS} -o "##TMPDIR##/vpx.ivf" "##TMPDIR##/input.y4m"',
        "seti:run_iter:0",
    ]
    assert 'run:./xc-terminate-chunk "##TMPDIR##/vpx.ivf" "##TMPDIR##/output.ivf" "##TMPDIR##/final.state"' in log
    assert "seti:send_statefile:1" in log


def test_the_last_of_a_group_sends_nothing_and_names_no_receiver(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 5, "-K", 3)
    greetings = [next((c for c in worker.log if c.startswith("connect:")), "") for worker in job.workers]
    to = [greeting.split(":")[-3] for greeting in greetings]
    assert to == ["1", "2", "2", "4", "4"]
    assert ["seti:send_statefile:1" in worker.log for worker in job.workers] == [True, True, False, True, False]


def test_a_states_name_is_what_the_chunk_is_about(tools: Path, tmp_path: Path) -> None:
    settings = parsed("-n", 3)
    store = {f"sintel-1k-y4m_06/{number:08d}.y4m": y4m(number) for number in range(3)}
    job = Job(pipeline, settings, tools, tmp_path, store)
    seen = []
    last = job.workers[2]
    while any(worker.can_go_on for worker in job.workers):
        next(worker for worker in job.workers if worker.can_go_on).step()
        if not seen or seen[-1] != last.machine.text:
            seen.append(last.machine.text)
    assert seen == [
        "2:(fetching)",
        "2:(encoding)",
        "2:(taking its state)",
        "2:(re-encoding on state 0)",
        "2:(re-encoding on state 1)",
        "2:(handing over)",
        "2:(storing)",
        "2:(terminal state)",
    ]


@given(tasks=st.integers(1, 200), group=st.none() | st.integers(1, 50))
def test_producers_come_first_place_by_place(tasks: int, group: int | None) -> None:
    settings = parsed("-n", tasks, *([] if group is None else ["-K", group]))
    size = group or tasks
    producers = exhaust(pipeline.reading_producers(settings))
    order = exhaust(pipeline.reading_order(settings, producers))
    assert [task % size for task in order] == sorted(task % size for task in range(tasks))
    assert order[: len(range(0, tasks, size))] == list(range(0, tasks, size))
    assert producers == {task: (task - 1,) for task in range(tasks) if task % size}
    place = {task: index for index, task in enumerate(order)}
    assert all(place[producer] < place[task] for task, of in producers.items() for producer in of)


def test_defaults_are_the_originals() -> None:
    settings = parsed()
    assert load_pipeline("xcenc") is pipeline
    assert pipeline.name == "xcenc"
    assert (settings["tasks"], settings["offset"], settings["y-ac-qi"]) == (1, 0, 30)
    assert (settings["video"], settings["bucket"]) == ("sintel-1k-y4m_06", "excamera-us-east-1")
    assert (settings["rendezvous-host"], settings["rendezvous-port"]) == ("127.0.0.1", 13337)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-Y 64", "-Y: expected a number from 0 to 63"),
        ("-Y x", "-Y: expected a number from 0 to 127"),
        ("-K 0", "-K: expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_done_is_a_usage_error(words: str, said: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(*words.split())
    assert said in str(caught.value)

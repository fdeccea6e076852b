"""xcenc's chain mode: its options, its commands, and the bytes that it comes to, with no network."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from encoder_reference import Chunk, chained, y4m
from encoder_workers import ADDRESS, Job, failures
from hypothesis import given
from hypothesis import strategies as st
from twisted.python import usage

from mu_twisted.base.steps import exhaust
from mu_twisted.cli.demo.fake_encoders import make_fake_encoders
from mu_twisted.pipelines.xcenc import Options, pipeline
from worker_lambda._template import Substitutions, expand_command, state_placeholders

VIDEO = "sintel-1k-y4m_06"
SHAPES = [(1, 7), (4, 7), (4, 1), (8, 3), (5, 2), (6, 6)]


def parsed(*words: object) -> Any:
    options = Options()
    options.parseOptions([str(word) for word in words])  # type: ignore[no-untyped-call]
    return options


def encoded(tools: Path, work: Path, *words: object, seed: int = 0, late: int | None = None) -> Job:
    """A job from its options to its end."""
    settings = parsed(*words)
    store = {f"{VIDEO}/{number:08d}.y4m": y4m(number) for number in range(settings["tasks"])}
    work.mkdir()
    job = Job(pipeline, settings, tools, work, store)
    job.run(seed, late)
    return job


def reference(tools: Path, work: Path, tasks: int, passes: int = 7, **more: Any) -> list[Chunk]:
    work.mkdir()
    return chained(tools, work, [y4m(number) for number in range(tasks)], passes, **more)


def stored(job: Job, kind: str = "out", suffix: str = "ivf") -> list[bytes | None]:
    return [job.store.get(f"{VIDEO}/{kind}/{task:08d}.{suffix}") for task in range(len(job.workers))]


@pytest.mark.parametrize(("tasks", "passes"), SHAPES)
def test_a_job_comes_to_the_serial_references_bytes(tools: Path, tmp_path: Path, tasks: int, passes: int) -> None:
    job = encoded(tools, tmp_path / "job", "-n", tasks, "-p", passes, seed=tasks)
    assert failures(job) == {}
    expected = reference(tools, tmp_path / "serial", tasks, passes)
    assert stored(job) == [chunk.output for chunk in expected]
    assert stored(job, "comp_txt", "txt") == [chunk.comparison for chunk in expected]
    assert [worker.channel for worker in job.workers] == [None] * tasks


@pytest.mark.parametrize("passes", [2, 4])
def test_original_workers_hand_on_every_state(tools: Path, tmp_path: Path, passes: int) -> None:
    settings = parsed("-n", 4, "-p", passes)
    store = {f"{VIDEO}/{number:08d}.y4m": y4m(number) for number in range(4)}
    job = Job(pipeline, settings, tools, tmp_path, store, original=True)
    job.run(passes)
    assert failures(job) == {}
    assert stored(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 4, passes)]


PHASES = ["fetching", "encoding", "re-encoding on state 0", "re-encoding on state 1", "handing over", "storing"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_worker_that_is_lost_in_any_phase_changes_nothing(tools: Path, tmp_path: Path, phase: str) -> None:
    settings = parsed("-n", 5, "-p", 3)
    store = {f"{VIDEO}/{number:08d}.y4m": y4m(number) for number in range(5)}
    job = Job(pipeline, settings, tools, tmp_path, store)
    job.run(len(phase), lost=(2, phase))
    assert failures(job) == {}
    assert stored(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 5, 3)]
    assert job.report.text == "not converged: 2, 3, 4"


@pytest.mark.parametrize("late", range(4))
def test_the_bytes_do_not_depend_on_who_is_late(tools: Path, tmp_path: Path, late: int) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 4, "--chain", seed=late, late=late)
    assert failures(job) == {}
    assert stored(job) == [chunk.output for chunk in reference(tools, tmp_path / "serial", 4)]


def test_both_quantizers_reach_the_encoder(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 3, "-S", 90, "-Y", 101)
    expected = reference(tools, tmp_path / "serial", 3, y_ac_qi=101, s_ac_qi=90)
    assert stored(job) == [chunk.output for chunk in expected]


def test_the_commands_of_a_third_chunk_are_the_originals(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 4, "-p", 5)
    compare = (
        'run:./comp-states "##TMPDIR##/prev.state" "##TMPDIR##/final.state" > "##TMPDIR##/comp.txt"; status=$?; '
        'test -s "##TMPDIR##/comp.txt" && cat "##TMPDIR##/comp.txt" || exit $status'
    )
    keep = 'run:test ! -e "##TMPDIR##/final.state" || cp "##TMPDIR##/final.state" "##TMPDIR##/prev.state"'
    files, source = '-i y4m -O "##TMPDIR##/final.state" -o "##TMPDIR##/output.ivf"', '"##TMPDIR##/input.y4m"'
    again = f"run:##INSTATEWAIT## cat > /dev/null && ./xc-enc --s-ac-qi 127 {files} "
    assert [command for command in job.workers[2].log if "produces" not in command] == [
        "seti:nonblock:1",
        "seti:bg_silent:1",
        f"retrieve:{VIDEO}/00000002.y4m\0##TMPDIR##/input.y4m",
        f"connect:{ADDRESS}:HELLO_STATE2:job:2:3:0:0",
        keep,
        "seti:run_iter:0",
        "seti:expect_statefile:0",
        "seti:send_statefile:1",
        f"run:./xc-enc --y-ac-qi 30 {files} {source}",
        keep,
        "seti:run_iter:1",
        "seti:expect_statefile:1",
        "seti:send_statefile:1",
        f'{again}-r -I "##TMPDIR##/0.state" -p "##TMPDIR##/prev.ivf" {source}',
        keep,
        "seti:run_iter:2",
        "seti:expect_statefile:1",
        "seti:send_statefile:1",
        f'{again}-r -I "##TMPDIR##/1.state" -p "##TMPDIR##/prev.ivf" -S "##TMPDIR##/0.state" {source}',
        "close_connect:",
        f"upload:{VIDEO}/out/00000002.ivf\0##TMPDIR##/output.ivf",
        compare,
        f"upload:{VIDEO}/comp_txt/00000002.txt\0##TMPDIR##/comp.txt",
    ]


def test_every_worker_but_the_last_sends_its_state_after_each_pass(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 4, "-p", 3)
    sends = [[int(c[-1]) for c in worker.log if c.startswith("seti:send_statefile")] for worker in job.workers]
    assert sends == [[1], [1, 1], [1, 1, 1], [0, 0, 0]]


@pytest.mark.parametrize("words", [("-n", 3, "-p", 1), ("-n", 1, "--chain")])
def test_where_no_state_is_wanted_there_is_no_rendezvous(tools: Path, tmp_path: Path, words: Any) -> None:
    job = encoded(tools, tmp_path / "job", *words)
    assert failures(job) == {}
    assert exhaust(pipeline.reading_producers(job.settings)) == {}
    assert not [command for worker in job.workers for command in worker.log if "connect" in command]
    assert {key.split("/")[1] for key in job.store if key.endswith((".ivf", ".txt"))} == {"out"}


def test_states_that_still_change_fail_the_job_but_no_task(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 6, "-p", 3)
    assert failures(job) == {}
    assert None not in stored(job)
    assert job.report.text == "not converged: 2, 3, 4, 5"
    assert job.report.error == (
        "4 of 6 tasks have not converged after 3 passes: give more passes with -p, or take them with "
        "--allow-unconverged"
    )
    allowed = encoded(tools, tmp_path / "allowed", "-n", 6, "-p", 3, "--allow-unconverged")
    assert allowed.report.error is None
    assert allowed.report.text == "4 of 6 tasks have not converged after 3 passes: 2, 3, 4, 5"


def test_states_that_do_not_change_any_more_have_converged(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 6, "-p", 3, "-S", 0)
    assert (job.report.text, job.report.error) == ("", None)
    assert stored(job, "comp_txt", "txt")[2:] == [b"0\n"] * 4


def test_chunks_that_were_given_all_states_there_are_need_not_converge(tools: Path, tmp_path: Path) -> None:
    job = encoded(tools, tmp_path / "job", "-n", 6, "--chain")
    assert stored(job, "comp_txt", "txt")[5] not in (None, b"0\n")
    assert job.report.error is None


def test_a_comparison_that_cannot_be_made_fails_its_task(tools: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "xc-enc").symlink_to(tools / "xc-enc")
    job = encoded(few, tmp_path / "job", "-n", 2)
    assert "the command ended with status 127" in (failures(job)[1] or "")


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("number", [1, 2])
def test_the_encoder_is_started_when_its_state_is_there(tools: Path, tmp_path: Path, number: int) -> None:
    # The state comes only after the command has looked for it in vain. No encoder of 2016 waits by itself.
    job = encoded(tools, tmp_path / "job", "-n", 3, "-p", 3)
    command = [c for c in job.workers[2].log if c.startswith("run:##INSTATEWAIT##")][number - 1]
    wait, switch = state_placeholders(number, expected=True, minimal_recode=False)
    text = expand_command(
        command.removeprefix("run:").encode(), Substitutions(bytes(tmp_path), wait=wait, switch=switch)
    )
    program(tmp_path / "xc-enc", 'while [ "$1" != -I ]; do shift; done; exec cat "$2"')
    program(tmp_path / "sleep", f"/bin/sleep 0.2; mv arriving {number - 1}.state")
    (tmp_path / "arriving").write_text("the state")
    done = subprocess.run(
        ["/bin/sh", "-c", text],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"the state", b"")


@pytest.mark.parametrize("status", [0, 1])
def test_whether_states_differ_is_what_comp_states_says_and_not_its_status(tmp_path: Path, status: int) -> None:
    make_fake_encoders(tmp_path / "tools", ["xc-enc", "comp-states"], differ_status=status)
    job = encoded(tmp_path / "tools", tmp_path / "job", "-n", 6, "-p", 3)
    assert failures(job) == {}
    assert job.report.text == "not converged: 2, 3, 4, 5"
    same = encoded(tmp_path / "tools", tmp_path / "same", "-n", 6, "-p", 3, "-S", 0)
    assert (failures(same), same.report.text) == ({}, "")


@pytest.mark.parametrize(
    ("text", "late", "error"),
    [
        ("echo 0", [], ""),
        ("echo 0; exit 1", [], ""),
        ("echo 0 0.0", [], ""),
        ("echo 17 0.25", [1, 2], ""),
        ("echo 17; exit 1", [1, 2], ""),
        ("echo a warning >&2; echo 0", [], ""),
        ("echo equal", [], "but 'equal'"),
        ("echo 0.5", [], "but '0.5'"),
        ("echo", [], "but ''"),
        ("exit 0", [], "but ''"),
        ("echo 7: no such file >&2; exit 1", [], "ended with status 1: '7: no such file'"),
        ("kill -9 $$", [], "ended with status 137"),
    ],
)
def test_what_comp_states_may_say(tools: Path, tmp_path: Path, text: str, late: list[int], error: str) -> None:
    few = tmp_path / "few"
    few.mkdir()
    (few / "xc-enc").symlink_to(tools / "xc-enc")
    program(few / "comp-states", text)
    job = encoded(few, tmp_path / "job", "-n", 3, "-p", 2)
    if error:
        assert sorted(failures(job)) == [1, 2]
        assert error in (failures(job)[1] or "")
    else:
        assert failures(job) == {}
        assert job.report.text == (f"not converged: {', '.join(map(str, late))}" if late else "")


@pytest.mark.parametrize("words", ["--chain", "-p 7", "-S 127"])
def test_each_switch_of_2016_chooses_the_mode(words: str) -> None:
    settings = parsed(*words.split())
    assert (bool(settings["chain"]), settings["passes"], settings["s-ac-qi"], settings["y-ac-qi"]) == (1, 7, 127, 30)
    assert pipeline.needs(settings) == ("xc-enc", "comp-states")
    assert "vpxenc" in pipeline.needs(parsed())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-p 0", "-p: expected a whole number of at least 1"),
        ("-S 128", "-S: expected a number from 0 to 127"),
        ("--chain -Y 128", "-Y: expected a number from 0 to 127"),
        ("-p 3 -K 4", "-K is of no use in the chain mode"),
        ("--chain -u", "-u is of no use in the chain mode"),
        ("--allow-unconverged", "--allow-unconverged is of no use without --chain"),
    ],
)
def test_what_does_not_go_together_is_a_usage_error(words: str, said: str) -> None:
    with pytest.raises(usage.UsageError) as caught:
        parsed(*words.split())
    assert said in str(caught.value)


@given(tasks=st.integers(1, 60), passes=st.integers(1, 20))
def test_a_state_that_is_waited_for_is_one_that_is_sent(tasks: int, passes: int) -> None:
    settings = parsed("-n", tasks, "-p", passes)
    producers = exhaust(pipeline.reading_producers(settings))
    assert list(exhaust(pipeline.reading_order(settings, producers))) == list(range(tasks))
    for task in range(tasks):
        waits_for = min(passes, task + 1) - 2
        assert producers.get(task, ()) == ((task - 1,) if waits_for >= 0 else ())
        assert waits_for < min(passes, task)

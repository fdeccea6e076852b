"""Coordinator and rendezvous of this version go on with what version 0.1.0 left: its state directory, its functions."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import state_of_0_1_0 as old
from chaos_stage import Stage, until
from encoder_reference import serial, y4m

from mu_twisted.cli.demo.fake_encoders import TOOLS, make_fake_encoders

pytestmark = pytest.mark.process

OVER = {"done", "failed", "cancelled"}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """With functions of the worker of then, and a coordinator that has taken the state directory up."""
    stage = Stage(tmp_path)
    try:
        make_fake_encoders(stage.tools)
        stage.control.create_bucket(old.BUCKET)
        stage.control.create_function(old.SHELL, old.worker_package())
        stage.control.create_function(old.XCENC, old.worker_package(stage.tools / name for name in TOOLS))
        for video in ("young", "fresh"):
            for number in range(4):
                stage.control.put_object(old.BUCKET, f"{video}/{number:08d}.y4m", y4m(number))
        stage.open_rendezvous()
        old.write_state(stage.state_dir, stage.rendezvous_port)
        stage.coordinator.start()
        yield stage
    finally:
        stage.close()


@pytest.mark.long
def test_jobs_and_functions_of_0_1_0_go_on_under_this_version(stage: Stage, tmp_path: Path) -> None:
    encode = ["-n", "4", "-b", old.BUCKET, "-l", old.XCENC, "-u", "-v", "fresh", "-T", str(stage.rendezvous_port)]
    fresh = [
        _submit(stage, "exec", "-n", "2", "-b", old.BUCKET, "-l", old.SHELL, "--out", "fresh/{n}", "echo {n} > {out}"),
        _submit(stage, "xcenc", *encode),
    ]
    for job in (old.RUNNING, old.RUNNING_WITH_MESSAGES, *fresh):
        until(lambda job=job: (stage.job(job) or {}).get("state") in OVER, f"{job} is over", pause=0.1)  # type: ignore[misc]
        fact = stage.job(job)
        assert fact is not None
        assert (fact["state"], fact["error"]) == ("done", None)
    assert {job["job"] for job in stage.api.get("jobs")["jobs"]} >= {old.DONE, old.FAILED, old.CANCELLED, *fresh}
    assert [_stored(stage, f"running/{number}") for number in (2, 3)] == [b"2\n", b"3\n"]
    assert [_stored(stage, f"fresh/{number}") for number in (0, 1)] == [b"0\n", b"1\n"]
    (tmp_path / "serial").mkdir()
    expected = serial(stage.tools, tmp_path / "serial", [y4m(number) for number in range(4)], 4)
    assert _stored(stage, "young/out/00000003.ivf") == expected[3].output
    for number, chunk in enumerate(expected):
        assert _stored(stage, f"fresh/out/{number:08d}.ivf") == chunk.output


def _submit(stage: Stage, pipeline: str, *words: str) -> str:
    job: str = stage.api.post("jobs", body={"pipeline": pipeline, "words": list(words), "source": None})["job"]
    return job


def _stored(stage: Stage, key: str) -> bytes:
    return stage.control.get_object(old.BUCKET, key)

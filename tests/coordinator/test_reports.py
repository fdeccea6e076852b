"""What tasks remark and what a pipeline makes of it at the end of its job, over restarts too."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import Request
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import Pipeline, PipelineOptions, Plot, Report


async def task(w: Worker) -> None:
    said = await w.echo("hi")
    if said:
        w.info["remark"] = f"{said} from {w.task}"


def tell(settings: Any, remarks: Mapping[int, str]) -> Report:
    if not remarks:
        raise ValueError("nobody has said anything")
    text = "\n".join(f"{number}: {remark}" for number, remark in remarks.items())
    plots = (Plot("Lengths", "task", "characters", {"said": tuple((one, len(text)) for one, text in remarks.items())}),)
    return Report(text, error="somebody said no" if "no from" in text else None, plots=plots)


PIPELINE = Pipeline(name="p", summary="", first=task, report=tell)


class Told(MemoryCoordinator):
    """Tasks that remark what their worker echoes."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        settings = PipelineOptions()
        settings.parseOptions(list(request.words))  # type: ignore[no-untyped-call]
        return PIPELINE, settings

    def says(self, job: str, launch_id: str, text: str) -> None:
        self.worker(job, launch_id).says(b"OK:ECHO(%b)" % text.encode())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Told]:
    world = Told(tmp_path)
    yield world
    world.journal.close()


def test_a_jobs_report_is_made_of_what_its_tasks_remarked(world: Told) -> None:
    job = world.submit("-n", "3")
    for number in range(3):
        assert world.jobs.job(job).report is None
        world.says(job, f"0-{number}", "hi" if number != 1 else "")
    fact = world.jobs.job(job)
    assert (fact.state, fact.error, fact.report) == ("done", None, "0: hi from 0\n2: hi from 2")


def test_remarks_outlive_the_coordinator_and_so_does_the_report(world: Told) -> None:
    job = world.submit("-n", "2", "--max-workers", "1")
    world.says(job, "0-0", "hi")
    world.killed_and_started_again()
    back = world.worker(job, "0-0")
    back.says(b"OK:KILL(0)", back.session.greeting.encode())
    back.says(b"OK:ECHO(hi)")
    told, plots = world.jobs.job(job).report, world.jobs.job(job).plots
    assert told == "0: hi from 0\n1: hi from 1"
    assert [plot.series for plot in plots] == [{"said": ((0.0, 9.0), (1.0, 9.0))}]
    world.killed_and_started_again()
    assert (world.jobs.job(job).report, world.jobs.job(job).plots) == (told, plots)


def test_a_report_is_asked_for_once(world: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(["first", "second"])
    monkeypatch.setitem(globals(), "PIPELINE", replace(PIPELINE, report=lambda *_: Report(next(told))))
    job = world.submit()
    world.says(job, "0-0", "hi")
    for _ in range(2):
        assert world.jobs.job(job).report == "first"
        world.killed_and_started_again()


def test_a_report_can_fail_a_job_whose_tasks_are_all_done(world: Told) -> None:
    job = world.submit()
    world.says(job, "0-0", "no")
    fact = world.jobs.job(job)
    assert (fact.state, fact.done, fact.failed, fact.error) == ("failed", 1, 0, "somebody said no")
    world.killed_and_started_again()
    assert world.jobs.job(job) == fact


def test_a_report_that_fails_is_said_and_fails_nothing(world: Told) -> None:
    job = world.submit()
    world.says(job, "0-0", "")
    fact = world.jobs.job(job)
    assert (fact.state, fact.error) == ("done", None)
    said = "the report of pipeline p failed: ValueError: nobody has said anything (test_reports.py, line "
    assert (fact.report or "").startswith(said)


def test_a_cancelled_job_is_reported_as_far_as_it_came(world: Told) -> None:
    job = world.submit("-n", "2")
    world.says(job, "0-0", "hi")
    world.jobs.cancel(job)
    world.turn()
    fact = world.jobs.job(job)
    assert (fact.state, fact.report) == ("cancelled", "0: hi from 0")


def test_what_a_worker_says_reaches_no_terminal_as_it_is(world: Told) -> None:
    job = world.submit("-n", "2")
    world.worker(job, "0-0").says(b"OK:ECHO(\xff\xfe)")
    world.says(job, "0-1", "\x1b[2J")
    assert world.jobs.job(job).report == "0: \\udcff\\udcfe from 0\n1: \\x1b[2J from 1"
    world.killed_and_started_again()
    assert world.jobs.job(job).state == "done"


def test_a_remark_is_bounded(world: Told) -> None:
    job = world.submit()
    world.says(job, "0-0", "x" * 5000)
    report = world.jobs.job(job).report
    assert report is not None
    assert len(report) == 2000 + len("0: ")

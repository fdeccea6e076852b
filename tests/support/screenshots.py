"""Pictures of the dashboard's main views and of a report, light and dark. Clocks are real, workers are in memory."""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from control_server import Loop, running_loop
from live_coordinator import LiveCoordinator
from twisted.internet.defer import Deferred
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.cli.report import gantt, page, standalone
from mu_twisted.coordinator import Opened, Request
from mu_twisted.coordinator._meter import Usage
from mu_twisted.fsm import Worker
from mu_twisted.pipelines import Pipeline, exec
from mu_twisted.statuses import Cost
from mu_twisted.wire.byte_counts import ByteCounts

TASKS = 600
WORKERS = 30
ENDED = 240
"""Tasks that have ended before the pictures are taken."""
TYPICAL = 2.2
"""Seconds that a task takes."""
TOP = 1500
"""Pixels of the picture that shows the top of the page, for README."""
SHOWN = {
    "job-wide-light-top.png": "dashboard-light.png",
    "job-wide-dark-top.png": "dashboard-dark.png",
    "timeline.svg": "timeline.svg",
}
"""Pictures that pages show, by their names there."""
SIZES = {"wide": (1280, 900), "narrow": (360, 900)}


def main(directory: Path, pages: Path) -> None:
    """Take all pictures.

    :param directory: for all of them; ``pages`` for those that pages show.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{switch}")
    directory.mkdir(parents=True, exist_ok=True)
    with running_loop() as loop, tempfile.TemporaryDirectory(prefix="mu-screenshots-") as state:
        coordinator = PricedCoordinator(loop, Path(state))
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            job = some_job(coordinator)
            browser.get(coordinator.address())
            of_job = f"location.hash = '#/jobs/{job}'"
            task = "document.querySelector('.reason .inputs button').click()"
            for view, script in (("job", of_job), ("task", task), ("jobs", "location.hash = '#/'")):
                browser.execute_script(script)
                time.sleep(2)
                take_all(browser, directory, view, most=SIZES["wide"][1] if view == "task" else 4000)
            write_report(coordinator, staged_job(coordinator), directory)
            browser.get((directory / "report.html").absolute().as_uri())
            take_all(browser, directory, "report", most=4000)
        finally:
            browser.quit()
            coordinator.close()
    for taken, shown in SHOWN.items():
        shutil.copyfile(directory / taken, pages / shown)


class PricedCoordinator(LiveCoordinator):
    """Tells costs, as one with workers on Lambda does; its jobs are those of the pipeline ``exec``, on pictures."""

    def __init__(self, loop: Loop, directory: Path) -> None:
        super().__init__(loop, directory)
        self.pipeline = replace(exec.pipeline, label=lambda _, task: f"photos/{task:05}.png")

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        settings = self.pipeline.options()
        settings.parseOptions(list(request.words))
        return self.pipeline, settings

    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        opened = await super().open(name, pipeline, settings, edges)
        return replace(opened, cost=_cost)


def _cost(used: Usage) -> Cost:
    gb_seconds = 1.769 * used.seconds
    price = used.requests * 2e-7 + gb_seconds * 0.0000166667
    return Cost(used.requests, used.seconds, gb_seconds, price, "USD", "2026-11-01")


class PictureWorker(WorkerDouble):
    """Answers by itself, in the loop's thread: it fetches a picture, makes it smaller, and stores that.

    :param coordinator: which it works for; ``job`` one of its jobs, ``number`` that of its launch there.
    :param dice: decides how long its tasks take, and which fail.
    :param is_stuck: whether its first program does not end.
    """

    def __init__(
        self, coordinator: LiveCoordinator, job: str, number: int, dice: random.Random, *, is_stuck: bool = False
    ) -> None:
        self.clock = coordinator.clock
        self.hello = ours(f"{job}/0-{number}")
        self.dice = dice
        self.is_stuck = is_stuck
        self.size = 0
        super().__init__(coordinator.registry.new_session(), launch_identity(job), lambda: None)
        self.answer(0.05 * number, self.hello)

    def answer(self, delay: float, *payloads: bytes) -> None:
        def speak() -> None:
            if not self.closed:
                self.says(*payloads)

        self.clock.callLater(delay, speak)

    def send(self, *payloads: bytes) -> None:
        for command in payloads:
            kind, _, rest = command.partition(b":")
            if kind == b"retrieve":
                self.size = self.dice.randrange(2_000_000, 6_000_000)
                key, _, file = rest.partition(b" ")
                self.answer(0.2 * TYPICAL, b"OK:RETRIEVE(photos/%b->%b)" % (key, file))
            elif kind == b"run" and not self.is_stuck:
                self.answer(*self.ran(rest))
            elif kind == b"upload":
                key, _, file = rest.partition(b" ")
                moved = ByteCounts(self.size, self.size // 40).encode()
                self.answer(0.1 * TYPICAL, moved, b"OK:UPLOAD(%b->photos/%b)" % (file, key))
            elif kind == b"reset":
                self.answer(0.02, self.hello)
            elif kind == b"ping":
                self.answer(0.0, b"OK:PONG")

    def ran(self, command: bytes) -> tuple[float, bytes, bytes]:
        """How long a run takes, what was moved by then, and how it ends."""
        status, output = 0, b""
        if self.dice.random() < 0.04:
            status, output = 3, b"reading the header\nnot a picture: bad magic number\n"
        elif self.dice.random() < 0.015:
            status, output = -9, b"decoding\n"
        long = TYPICAL * self.dice.choice([*[0.3, 0.5, 0.6, 0.8, 1.0] * 8, 3.0])
        return (
            long,
            ByteCounts(self.size).encode(),
            b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(%b)" % (status, output, command),
        )


def some_job(coordinator: LiveCoordinator) -> str:
    """A job of which some is done, some has failed of two reasons, one task is slow, and some run."""
    words = ["-n", str(TASKS), "--retries", "0", "--max-workers", str(WORKERS), "-b", "photos", "--in", "{n:05}.png"]
    request = Request("exec", (*words, "--out", "small/{n:05}.jpg", "--", "./ffmpeg -i {in} -vf scale=320:-1 {out}"))
    job = str(coordinator.loop.do(coordinator.jobs.submit, request).job)
    dice = random.Random(1)
    for number in range(WORKERS):
        coordinator.loop.do(partial(PictureWorker, is_stuck=number == 0), coordinator, job, number, dice)
    coordinator.loop.until(lambda: (status := coordinator.jobs.job(job)).done + status.failed >= ENDED)
    return job


STAGES = (("decode", range(8)), ("encode", range(8, 24)), ("join", range(24, 28)))


async def treat(w: Worker) -> None:
    name = next(name for name, tasks in STAGES if w.task in tasks)
    w.extra = "fetching"
    await w.retrieve(f"{name}/{w.task}", "in")
    w.extra = {"decode": "decoding", "encode": "encoding", "join": "joining"}[name]
    await w.run(f"{name} in out")
    w.extra = "storing"
    await w.upload(f"{name}ed/{w.task}", "out")


def before(_: Any, task: int) -> range:
    """Two tasks encode what one has decoded, and one joins what four have encoded."""
    if task < 8:
        return range(0)
    first = (task - 8) // 2 if task < 24 else 8 + 4 * (task - 24)
    return range(first, first + (1 if task < 24 else 4))


def staged_job(coordinator: PricedCoordinator) -> str:
    """A job of three stages that is over, of which some attempts have failed."""
    coordinator.pipeline = Pipeline(
        name="film",
        summary="",
        first=treat,
        after=before,
        stage=lambda _, task: next(name for name, tasks in STAGES if task in tasks),
    )
    request = Request("film", ("-n", "28", "--retries", "2", "--retry-exit", "3"))
    job = str(coordinator.loop.do(coordinator.jobs.submit, request).job)
    dice = random.Random(11)
    for number in range(16):
        coordinator.loop.do(PictureWorker, coordinator, job, number, dice)
    coordinator.loop.until(lambda: coordinator.jobs.job(job).ended)
    return job


def write_report(coordinator: LiveCoordinator, job: str, directory: Path) -> None:
    """The job as ``mu report`` writes it, and as its ``--svg`` does."""
    observation = coordinator.jobs.observation
    found = [
        coordinator.loop.do(coordinator.jobs.job, job),
        coordinator.loop.do(lambda: Deferred.fromCoroutine(observation.timeline(job))),
        coordinator.loop.do(lambda: Deferred.fromCoroutine(observation.failures(job))),
    ]
    status, timeline, failures = (json.loads(msgspec.json.encode(one)) for one in found)
    (directory / "report.html").write_text(page(status, timeline, failures), "utf-8")
    (directory / "timeline.svg").write_text(standalone(gantt(timeline)), "utf-8")


def take_all(browser: Any, directory: Path, view: str, most: int) -> None:
    """The view in each size and scheme, in its whole height.

    :param most: pixels of that.
    """
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for size, (width, height) in SIZES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            whole = min(browser.execute_script("return document.documentElement.scrollHeight"), most)
            heights = {"": whole, "-top": TOP} if size == "wide" and whole > TOP else {"": whole}
            for part, high in heights.items():
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "height": high})
                time.sleep(1)
                path = directory / f"{view}-{size}-{scheme}{part}.png"
                browser.save_screenshot(str(path))
                sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

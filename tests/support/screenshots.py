"""Pictures of the dashboard's main views, light and dark, of jobs on a real clock whose workers are in memory."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from control_server import Loop, running_loop
from live_coordinator import LiveCoordinator
from worker_double import WorkerDouble, ours

from mu_twisted.coordinator import Opened
from mu_twisted.coordinator._meter import Usage
from mu_twisted.pipelines import Pipeline
from mu_twisted.statuses import Cost

TASKS = 600
WORKERS = 40
ENDED = 300
"""Attempts that end before the pictures are taken."""
TOP = 1500
"""Pixels of the picture that shows the top of the page, for README."""
SIZES = {"wide": (1280, 900), "narrow": (360, 900)}


def main(directory: Path) -> None:
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
            for view, address in (("job", f"#/jobs/{job}"), ("jobs", "#/")):
                browser.execute_script(f"location.hash = {address!r}")
                time.sleep(2)
                take_all(browser, directory, view)
        finally:
            browser.quit()
            coordinator.close()


class PricedCoordinator(LiveCoordinator):
    """Tells costs, as one with workers on Lambda does; its tasks are called by plain names."""

    def __init__(self, loop: Loop, directory: Path) -> None:
        super().__init__(loop, directory)
        self.pipeline = replace(self.pipeline, label=lambda _, task: f"photos/{task:05}.png")

    async def open(self, name: str, pipeline: Pipeline, settings: Any, edges: Any) -> Opened:
        opened = await super().open(name, pipeline, settings, edges)
        return replace(opened, cost=_cost)


def _cost(used: Usage) -> Cost:
    gb_seconds = 1.769 * used.seconds
    price = used.requests * 2e-7 + gb_seconds * 0.0000166667
    return Cost(used.requests, used.seconds, gb_seconds, price, "USD", "2026-11-01")


def some_job(coordinator: LiveCoordinator) -> str:
    """A job of which some is done, some has failed of two reasons, one task is slow, and some run."""
    dice = random.Random(1)
    job = coordinator.begin("-n", str(TASKS), "--retries", "0", "--max-workers", str(WORKERS))
    workers = []
    for number in range(WORKERS):
        workers.append((f"0-{number}", coordinator.come(job, f"0-{number}")))
        time.sleep(0.02)
    for _ in range(ENDED):
        place = dice.randrange(1, len(workers))  # the first one is slow
        launch_id, worker = workers[place]
        if dice.random() < 0.04:
            coordinator.end(worker, 3, b"reading part 7\ncannot open photos/00007.png: No such file\n")
        elif dice.random() < 0.02:
            coordinator.end(worker, -9, b"decoding\n")
        else:
            coordinator.end(worker)
        time.sleep(dice.random() * 0.04)
        coordinator.loop.until(partial(_has_ended, worker))
        if worker.closed:  # too much has failed on it
            del workers[place]
        else:
            coordinator.loop.do(worker.says, ours(f"{job}/{launch_id}"))
    return job


def _has_ended(worker: WorkerDouble) -> bool:
    return bool(worker.closed or worker.sent[-1] == b"reset:")


def take_all(browser: Any, directory: Path, view: str) -> None:
    """The view in each size and scheme, in its whole height."""
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for size, (width, height) in SIZES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            whole = min(browser.execute_script("return document.documentElement.scrollHeight"), 4000)
            heights = {"": whole, "-top": min(whole, TOP)} if size == "wide" else {"": whole}
            for part, high in heights.items():
                browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "height": high})
                time.sleep(1)
                path = directory / f"{view}-{size}-{scheme}{part}.png"
                browser.save_screenshot(str(path))
                sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

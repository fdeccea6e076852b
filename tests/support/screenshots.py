"""Pictures of the dashboard's main views, light and dark, of jobs on a real clock whose workers are in memory."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from control_server import running_loop
from live_coordinator import LiveCoordinator

TASKS = 600
SIZES = {"wide": (1280, 900), "narrow": (420, 900)}


def main(directory: Path) -> None:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "hide-scrollbars"):
        options.add_argument(f"--{switch}")
    directory.mkdir(parents=True, exist_ok=True)
    with running_loop() as loop, tempfile.TemporaryDirectory(prefix="mu-screenshots-") as state:
        coordinator = LiveCoordinator(loop, Path(state))
        browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
        try:
            job = some_job(coordinator)
            browser.get(coordinator.address())
            for view, address in (("jobs", "#/"), ("job", f"#/jobs/{job}")):
                browser.execute_script(f"location.hash = {address!r}")
                time.sleep(2)
                take_all(browser, directory, view)
        finally:
            browser.quit()
            coordinator.close()


def some_job(coordinator: LiveCoordinator) -> str:
    """A job of which some is done, some has failed, and some runs."""
    dice = random.Random(1)
    job = coordinator.begin("-n", str(TASKS), "--retries", "0", "--max-workers", "40")
    for number in range(40):
        worker = coordinator.come(job, f"0-{number}")
        if dice.random() < 0.1:
            coordinator.end(worker, 3, b"reading part 7\ncannot open photos/00007.png: No such file\n")
        elif dice.random() < 0.6:
            coordinator.end(worker)
    return job


def take_all(browser: Any, directory: Path, view: str) -> None:
    """The view in each size and scheme, in its whole height."""
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        for size, (width, height) in SIZES.items():
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            whole = browser.execute_script("return document.documentElement.scrollHeight")
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {**metrics, "height": min(whole, 4000)})
            time.sleep(1)
            path = directory / f"{view}-{size}-{scheme}.png"
            browser.save_screenshot(str(path))
            sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

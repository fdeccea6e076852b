"""A real browser opens the dashboard of jobs that run, fail, are retried and cancelled, and of a coordinator that is
restarted under it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from control_server import Loop
from free_ports import free_ports
from live_coordinator import LiveCoordinator

from mu_twisted.wire.byte_counts import ByteCounts

TIMEOUT = 180.0
"""Seconds after which what should be seen is taken for missing."""
BIG = 10_000
LOST = ("ERR_CONNECTION_REFUSED", "ERR_INCOMPLETE_CHUNKED_ENCODING", "ERR_EMPTY_RESPONSE", "ERR_CONNECTION_RESET")
"""What a browser notes by itself of a connection that has ended."""


def unable() -> str | None:
    """Why no browser can be driven here; None: one can."""
    missing = [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed"
    try:
        import axe_core_python  # noqa: F401
        import selenium  # noqa: F401
    except ImportError as error:
        return str(error)
    return None


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skipped where there is none, unless ``MU_REQUIRE_BROWSER=1`` says that there must be one."""
    reason = unable()
    if reason is not None:
        if os.environ.get("MU_REQUIRE_BROWSER") == "1":
            pytest.fail(f"MU_REQUIRE_BROWSER is 1, and {reason}")
        pytest.skip(reason)
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "window-size=1280,1000"):
        options.add_argument(f"--{switch}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"), port=free_ports())
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(TIMEOUT)
    yield driver
    driver.quit()


@pytest.fixture
def coordinator(loop: Loop, tmp_path: Path) -> Iterator[LiveCoordinator]:
    coordinator = LiveCoordinator(loop, tmp_path)
    yield coordinator
    coordinator.close()


class Page:
    """What is seen, and done, in the browser."""

    def __init__(self, browser: Any, coordinator: LiveCoordinator) -> None:
        self.browser = browser
        self.coordinator = coordinator
        browser.get("about:blank")
        browser.get_log("browser")
        browser.get(coordinator.address())

    def run(self, script: str) -> Any:
        return self.browser.execute_script(script)

    def text(self, selector: str = "main") -> str:
        found = self.run(f"return document.querySelector({selector!r})?.innerText ?? ''")
        return str(found)

    def sees(self, text: str, selector: str = "main") -> None:
        self.until(lambda: text in self.text(selector), f"{text!r} in {selector}")

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"not seen: {what}; seen: {self.text('body')[:2000]}; {self.browser.get_log('browser')}")

    def click(self, name: str) -> None:
        """Press the button with this text."""
        found = self.until(
            lambda: self.run(
                "return [...document.querySelectorAll('button')].find((one) => one.offsetParent !== null"
                f" && !one.disabled && one.textContent.trim() === {name!r})"
            ),
            f"a button {name!r}",
        )
        found.click()

    def cells(self) -> str:
        return str(self.run("return window.muGrid?.cells.join('') ?? ''"))

    def shows(self, cells: str) -> None:
        self.until(lambda: self.cells() == cells, f"cells {cells}")

    def open_job(self, job: str) -> None:
        self.run(f"location.hash = '#/jobs/{job}'")
        self.sees(job, "h1")

    def violations(self) -> list[str]:
        """What axe-core finds, serious or worse."""
        self.run(files("axe_core_python").joinpath("axe.min.js").read_text("utf-8"))
        found = self.browser.execute_async_script(
            "const done = arguments[0];"
            "axe.run(document, {resultTypes: ['violations']}).then((all) => done(all.violations))"
        )
        return [
            f"{one['id']}: {one['help']}: {node['html'][:120]}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def complaints(self) -> list[str]:
        """Errors in the console, but for connections that ended while the coordinator was away."""
        return [
            line["message"]
            for line in self.browser.get_log("browser")
            if line["level"] == "SEVERE" and not any(lost in line["message"] for lost in LOST)
        ]


@pytest.fixture
def page(browser: Any, coordinator: LiveCoordinator) -> Page:
    return Page(browser, coordinator)


def colours(page: Page, scheme: str) -> None:
    page.browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )


def test_a_job_is_followed_its_failures_shown_retried_and_cancelled(page: Page, coordinator: LiveCoordinator) -> None:
    job = coordinator.begin("-n", "6", "--retries", "0")
    page.sees(job, "table")
    assert page.violations() == []
    page.open_job(job)
    page.shows("wwwwww")
    workers = [coordinator.come(job, f"0-{number}") for number in range(6)]
    page.shows("aaaaaa")
    page.sees("6", ".facts")
    coordinator.loop.do(workers[0].says, ByteCounts(uploaded=1_234_567).encode())
    coordinator.end(workers[0])
    coordinator.end(workers[1], 3, b"reading part 1\n<script>alert(1)</script> cannot open it\n")
    coordinator.end(workers[2], 3, b"reading part 2\n<script>alert(1)</script> cannot open it\n")
    page.shows("dffaaa")
    page.sees("<script>alert(1)</script> cannot open it", "#failures")
    page.sees("2 tasks after 1 attempt: 1-2", "#failures")
    assert page.run("return document.querySelectorAll('#failures button[disabled]').length") >= 1
    for worker in workers[3:]:
        coordinator.end(worker)
    page.shows("dffddd")
    page.sees("failed", "h1 .chip")
    page.sees("Timeline")
    page.sees("To S3", "table.slow thead")
    page.sees("1.2 MB", "table.slow tbody")
    assert "From S3" not in page.run("return document.querySelector('table.slow').textContent")
    for scheme in ("light", "dark"):
        colours(page, scheme)
        assert page.violations() == []
    # a task's story, by the keyboard
    page.run("document.querySelector('canvas').focus()")
    page.run(
        "for (const key of ['Home', 'f', 'Enter'])"
        " document.querySelector('canvas').dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}))"
    )
    page.sees("photos/00001<b>.png (task 1)", "dialog")
    page.sees("Attempt 0, failed, exit status 3", "dialog")
    page.sees("1, numbered from 0", "dialog")
    page.sees("<script>alert(1)</script>", "dialog pre")
    assert page.violations() == []
    page.click("Close")
    # the group is run again
    page.click("Retry these 2")
    page.sees("running", "h1 .chip")
    again = [coordinator.come(job, f"1-{number}") for number in range(2)]
    page.shows("dAAddd")
    coordinator.end(again[0])
    page.shows("dDAddd")
    page.run("window.confirm = () => true")
    page.click("Cancel job")
    page.sees("cancelled", "h1 .chip")
    assert coordinator.status(job).state == "cancelled"
    assert page.complaints() == []


def test_stages_are_a_graph_whose_lines_lead_from_what_each_comes_after(
    page: Page, coordinator: LiveCoordinator
) -> None:
    before = {"read": [], "list": [], "cut": ["read"], "join": ["cut", "list"]}
    names = list(before)
    coordinator.pipeline = replace(
        coordinator.pipeline,
        stage=lambda _, task: names[task],
        after=lambda _, task: [names.index(name) for name in before[names[task]]],
    )
    job = coordinator.begin("-n", "4", "--retries", "0")
    page.open_job(job)
    coordinator.end(coordinator.come(job, "0-0"))
    page.sees("1 of 1 done", ".stages")
    cards = page.run(
        "return [...document.querySelectorAll('.stages li')].map((card) => [card.querySelector('b').textContent,"
        " card.querySelector('.unseen').textContent, card.offsetLeft / 212, card.offsetTop / 128])"
    )
    assert cards == [
        ["read", "comes first", 0, 0],
        ["list", "comes first", 0, 1],
        ["cut", "after read", 1, 0],
        ["join", "after list, cut", 2, 0],
    ]
    assert page.run("return document.querySelectorAll('.stages svg > path').length") == 3
    for scheme in ("light", "dark"):
        colours(page, scheme)
        assert page.violations() == []
    assert page.complaints() == []


def test_what_is_answered_slowly_is_not_asked_for_twice_at_once(page: Page, coordinator: LiveCoordinator) -> None:
    job = coordinator.begin("-n", "4", "--retries", "0")
    page.open_job(job)
    workers = [coordinator.come(job, f"0-{number}") for number in range(4)]
    page.run(
        "const real = window.fetch; window.now = window.most = 0;"
        "const released = new Promise((release) => { window.release = release; });"
        "window.fetch = async (...what) => {"
        "  if (!String(what[0]).includes('/failures')) return real(...what);"
        "  window.most = Math.max(window.most, ++window.now);"
        "  await released;"
        "  try { return await real(...what); } finally { window.now--; }"
        "};"
    )
    coordinator.end(workers[0], 3)
    page.until(lambda: page.run("return window.now > 0"), "what failed is asked for")
    coordinator.end(workers[1], 3)
    page.shows("ffaa")
    begun = page.run("return performance.now()")
    page.until(lambda: page.run("return performance.now()") > begun + 700, "time to ask again")
    page.run("window.release()")
    page.sees("2 tasks after 1 attempt: 0-1", "#failures")
    assert page.run("return window.most") == 1


def test_it_goes_on_after_a_restart_of_the_coordinator(page: Page, coordinator: LiveCoordinator) -> None:
    job = coordinator.begin("-n", "3", "--retries", "3")
    page.open_job(job)
    coordinator.end(coordinator.come(job, "0-0"))
    page.shows("dww")
    coordinator.restart()
    page.until(lambda: coordinator.status(job).state == "running", "the job goes on")
    coordinator.end(coordinator.come(job, "1-0"))
    page.shows("ddw")
    page.sees("Live", "#connection")
    assert page.complaints() == []


def test_an_address_opens_it_once_and_a_tab_without_a_session_says_how(
    page: Page, browser: Any, coordinator: LiveCoordinator
) -> None:
    page.sees("No jobs yet")
    assert page.run("return location.hash") == "#/"
    assert page.run("return Object.keys(localStorage).length + document.cookie.length") == 0
    used = coordinator.address()
    for address in (used, used):
        browser.get("about:blank")
        browser.get(address)
        last = page.until(lambda: page.text("h1"), "a heading")
    assert last == "Sign in"
    page.sees("mu dashboard")
    page.browser.get_log("browser")


def test_a_tab_signs_out_and_its_token_is_of_no_use_then(page: Page) -> None:
    page.sees("No jobs yet")
    token = page.run("return sessionStorage.getItem('mu-token')")
    ask = (
        f"const done = arguments[0]; fetch('v1/jobs', {{headers: {{Authorization: 'Bearer {token}'}}}})"
        ".then((answer) => done(answer.status))"
    )
    assert page.browser.execute_async_script(ask) == 200
    page.click("Sign out")
    page.sees("You are signed out")
    assert page.run("return Object.keys(sessionStorage).length") == 0
    assert page.browser.execute_async_script(ask) == 401
    assert page.violations() == []
    page.browser.get_log("browser")


def test_ten_thousand_tasks_are_drawn_and_redrawn(
    page: Page, coordinator: LiveCoordinator, remark: Callable[[str], None]
) -> None:
    job = coordinator.begin("-n", str(BIG))
    page.open_job(job)
    page.until(lambda: len(page.cells()) == BIG, "all cells")
    took = page.browser.execute_async_script(
        """
        const done = arguments[0], grid = window.muGrid, gaps = [];
        grid.frames.length = 0;
        let before = performance.now(), left = 60;
        const step = (now) => {
          gaps.push(now - before);
          before = now;
          for (let number = 0; number < 500; number++)
            grid.set(Math.floor(Math.random() * grid.numbers.length), "adfwr"[Math.floor(Math.random() * 5)]);
          if (left-- > 0) requestAnimationFrame(step);
          else {
            const drawing = [...grid.frames];
            grid.layout(true);
            requestAnimationFrame(() => setTimeout(() => done([gaps, drawing, grid.frames.at(-1)])));
          }
        };
        requestAnimationFrame(step);
        """
    )
    gaps, drawing, whole = took

    def middle(values: list[float], share: float) -> float:
        return sorted(values)[int(len(values) * share)]

    remark(
        f"dashboard, {BIG} tasks, 500 change a frame: drawing {middle(drawing, 0.5):.1f} ms, p95 "
        f"{middle(drawing, 0.95):.1f} ms; from frame to frame {middle(gaps, 0.5):.1f} ms; all cells {whole:.1f} ms"
    )
    assert len(drawing) > 30
    assert page.complaints() == []

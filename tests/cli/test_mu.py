"""The ``mu`` command as a user runs it."""

import contextlib
import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from command_line import Mu
from warm_processes import LIMIT

from mu_twisted.cli._main import new_parser
from mu_twisted.local._state import StackDirectory

MU = [sys.executable, "-W", "error", "-c", "import sys; from mu_twisted.cli import main; sys.exit(main())"]


def mu(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MU, *words], cwd=cwd, capture_output=True, text=True, timeout=180, check=False, env=environment(cwd)
    )


def environment(home: Path) -> dict[str, str]:
    temporary = home / "tmp"
    temporary.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(temporary)}


def test_genkeys_makes_the_originals_files_and_a_rendezvouss_and_never_overwrites(tmp_path: Path) -> None:
    done = mu("genkeys", "ssl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = {f"{who}_{what}.pem" for who in ("ca", "server", "server2", "rendezvous") for what in ("key", "cert")}
    assert {path.name for path in (tmp_path / "ssl").iterdir()} == names
    for name in names:
        mode = stat.S_IMODE((tmp_path / "ssl" / name).stat().st_mode)
        assert mode == 0o600 or "cert" in name
    again = mu("genkeys", "ssl", cwd=tmp_path)
    assert again.returncode == 1
    assert again.stderr.startswith("error: ")
    assert again.stderr.count("\n") == 1


def test_genkeys_can_make_what_original_parties_need(tmp_path: Path) -> None:
    assert mu("genkeys", "ssl", "--rsa", cwd=tmp_path).returncode == 0
    assert "BEGIN RSA PRIVATE KEY" in (tmp_path / "ssl" / "server_key.pem").read_text()


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["lambdaize", "nosuch", "--role", "r"], 1, "nosuch"),
        (["lambdaize", "/bin/true"], 1, "--role"),
        (["lambdaize", "/bin/true", "--memory", "x"], 2, "--memory"),
        (["lambdaize", "/bin/true", "--local", "--state-dir", "."], 1, "no local stack is running"),
        (["local-env", "--state-dir", "."], 1, "no local stack is running"),
        (["demo", "--frames", "7"], 2, "choose a multiple"),
        (["nosuch"], 2, "nosuch"),
        ([], 2, "COMMAND"),
    ],
)
def test_mistakes_are_told_without_a_traceback(run: Mu, words: list[str], status: int, said: str) -> None:
    done = run(*words)
    assert done.status == status
    assert said in done.err
    assert "Traceback" not in done.err


NETWORK = """
ip link set lo up && ip tuntap add dev outside mode tun && ip address add 192.0.2.1/24 dev outside &&
ip link set outside up && ip route add default via 192.0.2.2 || exit 77
"$@" || exit
ip -json -statistics link show outside >&2
"""
"""Runs a command where every way but loopback leads nowhere, and tells what went there."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.CompletedProcess[str]]":
    """The demo's directory, and what it said; in a network of its own where that can be had."""
    directory = tmp_path_factory.mktemp("demo")
    words = [*MU, "demo", "--frames", "6", "--workers", "3"]
    for begin in (["unshare", "--net", "sh", "-c", NETWORK, "sh"], []):
        done = subprocess.run(
            [*begin, *words],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
            env=environment(directory),
        )
        if done.returncode != 77 and "unshare" not in done.stderr:
            break
    return directory, done


@pytest.mark.process
def test_the_demo_makes_and_checks_its_chunks_and_leaves_nothing(demo: Any) -> None:
    directory, done = demo
    assert done.returncode == 0, done.stdout + done.stderr
    assert "made 3 chunks of 2 frames" in done.stdout
    assert left(directory) == []


@pytest.mark.process
def test_the_demo_asks_no_address_but_loopbacks(demo: Any) -> None:
    counted = re.search(r"^\[\{.*\}\]$", demo[1].stderr, re.MULTILINE)
    if counted is None:
        pytest.skip("no network of one's own here")
    sent = json.loads(counted[0])[0]["stats64"]["tx"]
    assert (sent["packets"], sent["dropped"], sent["errors"]) == (0, 0, 0)


@pytest.mark.process
def test_the_readme_shows_what_the_demo_prints(demo: Any) -> None:
    """But for numbers and names that are made each time."""
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    [shown] = re.findall(r"^(    -- start an S3 .*?)\n\n", readme, re.MULTILINE | re.DOTALL)
    # A progress line is on a terminal only.
    wanted = [line[4:] for line in shown.splitlines() if " waiting, " not in line]
    assert [_form(line) for line in demo[1].stdout.splitlines()] == [_form(line) for line in wanted]


def _form(line: str) -> str:
    line = re.sub(r"\S*/mu-demo-\w+/", "DIRECTORY/", line)
    line = re.sub(r"png2y4m-[0-9a-f]{8}:", "JOB:", line)
    return re.sub(r" +[\d.]+|\d+", " N", line)


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("phase", ["start an S3", "store them", "run png2y4m", "check every chunk"])
def test_an_interrupt_ends_the_demo_and_leaves_nothing(tmp_path: Path, phase: str) -> None:
    process = subprocess.Popen(
        [*MU, "demo", "--frames", "30", "--workers", "3"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if phase in line:
                break
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        rest = process.stdout.read()
        status = process.wait(180)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert status == 130, rest
    assert "Traceback" not in rest
    assert left(tmp_path) == []


@pytest.mark.long
@pytest.mark.process
@pytest.mark.parametrize("words", [[], ["--stay"]])
def test_on_a_terminal_the_demo_ends_with_its_dashboard(tmp_path: Path, words: list[str]) -> None:
    ours, its = os.openpty()
    process = subprocess.Popen(
        [*MU, "demo", "--frames", "6", "--workers", "3", *words],
        cwd=tmp_path,
        env=environment(tmp_path),
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    try:
        shown = b""
        while b"(opens once; " not in shown:
            shown += os.read(ours, 65536)
        site, code = re.findall(r"(http://127\.0\.0\.1:\d+)/#code=(\S+)", shown.decode())[-1]
        with urlopen(f"{site}/session", json.dumps({"code": code}).encode()) as answer:  # noqa: S310
            assert json.load(answer)["token"]
        if words:
            process.send_signal(signal.SIGINT)
        else:
            os.write(ours, b"\n")
        assert process.wait(LIMIT) == 0
    finally:
        process.kill()
        process.wait()
        os.close(its)
        os.close(ours)
    assert left(tmp_path) == []


def left(tmp_path: Path) -> list[str]:
    """Files in the temporary directory, and processes whose command names it: one that is killed ends once it gets a
    processor."""
    files = [path.name for path in (tmp_path / "tmp").iterdir()]
    until = time.monotonic() + LIMIT
    while (commands := commands_with(str(tmp_path))) and time.monotonic() < until:
        time.sleep(0.02)
    return [*files, *commands]


def commands_with(word: str) -> list[str]:
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            commands.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [command for command in commands if word in command]


def test_the_help_of_every_command_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for width in (80, 100):
        monkeypatch.setenv("COLUMNS", str(width))
        parser, commands = new_parser()
        for name, each in {"": parser, **commands.choices}.items():
            lines = each.format_help().splitlines()
            assert [line for line in lines if len(line) > width] == [], name


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("film", "mu run film"),
        ("flim", "mu run film"),
        ("fces", "mu faces"),
        ("cordinator", "mu coordinator"),
        ("demo_video", "mu demo-video"),
        ("zzzz", None),
        ("", None),
        ("a\nb" * 50, None),
    ],
)
def test_a_word_that_is_no_command_is_told_with_what_may_be_meant(run: Mu, word: str, meant: str | None) -> None:
    done = run(word, "--json")
    hint = f": did you mean `{meant}`?" if meant else ":"
    assert (done.status, done.err) == (2, f"error: mu has no command {word[:60]!r}{hint} `mu --help` lists them\n")


def test_stacks_that_run_elsewhere_are_named_with_how_to_choose_them(
    run: Mu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "no local stack is running" in run("local", "--list").out
    assert "choose" not in run("local-env").error()
    other = StackDirectory(tmp_path / "other")
    try:
        other.begin()
        said = run("local-env").error()
        assert f"or choose the one that runs in {tmp_path / 'other'} with --state-dir" in said
        assert f"in {tmp_path / 'other'} with --state-dir" in run("local", "--stop").error()
        monkeypatch.setenv("MU_LOCAL_STATE_DIR", str(tmp_path / "third"))
        assert f"no local stack is running in {tmp_path / 'third'}" in run("local-env").error()
    finally:
        other.release()

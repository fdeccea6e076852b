"""The commands that ask a coordinator, against its real control API."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from command_line import OPERATOR, Mu
from control_server import Loop, Served

from mu_twisted.coordinator import Request
from mu_twisted.statuses import Cost
from mu_twisted.tls import Authority, LaunchIdentity

MODULE = """
from mu_twisted.pipelines import Pipeline
async def task(w):
    await w.run("true")
pipeline = Pipeline(name="mine", summary="ä", first=task)
"""


def test_a_job_from_submit_to_rm(mu: Mu, served: Served, loop: Loop) -> None:
    submitted = mu("submit", "exec", "-n", "3", "--", "echo", "-n", "--wait")
    assert (submitted.status, submitted.err) == (0, "")
    job = submitted.out.strip()
    assert served.service.requests[0].words == ("-n", "3", "--", "echo", "-n", "--wait")
    assert mu("jobs").out.splitlines() == [
        "JOB            STATE    TASKS  DONE  FAILED  WORKERS  SUBMITTED",
        "exec-00000001  running      3     0       0        0  2023-11-14 22:13:20",
    ]
    assert mu("logs", job).out == f"{job} all\nsaid \\udcff\n"
    assert mu("logs", job, "--task", "2").out == f"{job} 2\nsaid \\udcff\n"
    assert "is running" in mu("rm", job).error()
    assert mu("cancel", job).out == f"{job}: cancelled, 3 of 3 tasks done in 12.5 s\n"
    assert mu("jobs").out.splitlines()[1].split()[:5] == [job, "cancelled", "3", "3", "-"]
    assert mu("retry", job).out == f"{job}: 3 of 3 tasks done, 0 workers\n"
    loop.do(served.service.end, job)
    assert mu("wait", job).out == f"{job}: 3 of 3 tasks done in 12.5 s\n"
    assert mu("rm", job).out == f"{job}: removed\n"
    assert mu("jobs").out.count("\n") == 1


def test_status_tells_of_a_job_and_its_failures_and_of_the_coordinator(mu: Mu, served: Served, loop: Loop) -> None:
    job = mu("submit", "exec", "-n", "3", "false").out.strip()
    loop.do(served.service.end, job, "failed", "2 of 3\nwent \x1b[31mwrong \udcff")
    assert mu("status", job).out == (
        f"{job}\n"
        "  state     failed\n"
        "  pipeline  exec\n"
        "  tasks     3: 2 done, 1 failed\n"
        "  workers   0 connected, 0 to come\n"
        "  submitted 2023-11-14 22:13:20\n"
        "  ended     2023-11-14 22:13:32, after 12.5 s\n"
        "  error     2 of 3\n"
        "            went \\x1b[31mwrong \\udcff\n"
        "task 2 failed after 3 attempts: 2 of 3\n"
        "went \\x1b[31mwrong \\udcff\n"
        f"`mu output {job} --task 2` shows more of what it printed\n"
    )
    served.service.note, served.service.launch_rate = "the disk is full", 31.25
    served.service.transport = "core"
    assert mu("status").out == (
        "coordinator 0.1.0, process 4711\n"
        "  workers   2 connected, on port 13579\n"
        "  transport the core\n"
        "  jobs      0 running\n"
        "  launches  at most 31.25 a second at the moment\n"
        "  note      the disk is full\n"
    )
    served.service.transport = "twisted"
    assert "  transport Twisted's TLS, which is slower\n" in mu("status").out
    assert mu("submit", "exec", "true").error() == "error: no new job is taken: the disk is full\n"


def test_waiting_gives_the_status_of_the_job(mu: Mu, served: Served, loop: Loop) -> None:
    job = mu("submit", "exec", "false").out.strip()
    loop.do(loop.reactor.callLater, 0.05, served.service.end, job, "failed", "exit status 1")
    waited = mu("wait", job)
    assert waited.status == 1
    assert waited.err == "task 0 failed after 3 attempts: exit status 1\nerror: exit status 1\n"
    assert waited.out == f"{job}: failed, 0 of 1 tasks done in 12.5 s\n"


def test_json_is_for_programs(mu: Mu, served: Served, loop: Loop) -> None:
    job = json.loads(mu("submit", "--json", "exec", "true").out)
    assert json.loads(mu("jobs", "--json").out) == {"jobs": [job]}
    assert json.loads(mu("status", job["job"], "--json").out)["tasks"][0]["state"] == "waiting"
    assert json.loads(mu("status", "--json").out)["pid"] == 4711
    assert json.loads(mu("logs", job["job"], "--json").out)["log"][0] == f"{job['job']} all"
    assert json.loads(mu("cancel", "--json", job["job"]).out)["state"] == "cancelled"
    assert json.loads(mu("wait", "--json", job["job"]).out)["state"] == "cancelled"
    assert json.loads(mu("rm", "--json", job["job"]).out) == {"job": job["job"]}


def test_submit_can_wait(mu: Mu, served: Served, loop: Loop) -> None:
    def end() -> None:
        loop.until(lambda: served.service.waiting.get("exec-00000001"))
        loop.do(served.service.end, "exec-00000001")

    ender = threading.Thread(target=end)
    ender.start()
    done = mu("submit", "--wait", "exec", "true")
    ender.join()
    assert done.out == "exec-00000001\nexec-00000001: 1 of 1 tasks done in 12.5 s\n"
    assert done.status == 0


def test_waiting_bears_a_restart_of_the_coordinator(mu: Mu, served: Served, loop: Loop) -> None:
    job = mu("submit", "exec", "true").out.strip()

    def restart() -> None:
        loop.until(lambda: served.service.waiting.get(job))
        served.close()
        served.open()
        loop.until(lambda: served.service.waiting.get(job))
        loop.do(served.service.end, job)

    restarting = threading.Thread(target=restart)
    restarting.start()
    waited = mu("wait", job)
    restarting.join()
    assert (waited.status, waited.err) == (0, "")


def test_a_log_is_followed_until_the_job_is_over_and_bears_a_restart(mu: Mu, served: Served, loop: Loop) -> None:
    job = mu("submit", "exec", "true").out.strip()
    served.service.happened = ["one", "two", "three"]

    def go_on() -> None:
        loop.until(lambda: len(served.service.followed) > 2)
        served.close()
        served.service.happened += ["four failed", "\x1b[2J"]
        served.open()
        loop.do(served.service.end, job)

    going_on = threading.Thread(target=go_on)
    going_on.start()
    followed = mu("logs", "-f", job)
    going_on.join()
    assert (followed.status, followed.err) == (0, "")
    assert followed.out == "one\ntwo\nthree\nfour failed\n\x1b[2J\n"
    assert mu("logs", "--failed", job).out == "four failed\n"
    lines = mu("logs", "--follow", "--json", job).out.splitlines()
    assert [line for some in lines for line in json.loads(some)["log"]] == served.service.happened
    assert "has no task 7" in mu("logs", "-f", "--task", "7", job).error()


def test_failures_are_shown_without_waiting_for_more(mu: Mu, served: Served) -> None:
    job = mu("submit", "exec", "true").out.strip()
    served.service.happened = ["one", "two failed", "three"]
    assert mu("logs", "--failed", job).out == "two failed\n"


def test_a_module_is_sent_with_its_source(mu: Mu, served: Served, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(MODULE, encoding="utf-8")
    assert mu("submit", "./mine.py", "-n", "2").status == 0
    [request] = served.service.requests
    assert (request.pipeline, request.words, request.source) == ("./mine.py", ("-n", "2"), MODULE)


def test_several_jobs_at_once(mu: Mu, served: Served) -> None:
    jobs = [mu("submit", "exec", "true").out.strip() for _ in range(2)]
    done = mu("cancel", jobs[0], "nosuch", jobs[1])
    assert (done.status, done.out.count("cancelled")) == (1, 2)
    assert done.err == "error: there is no job 'nosuch'\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["status", "nosuch"], 1, "there is no job 'nosuch'"),
        (["wait", "no/such"], 1, "there is no job 'no/such'"),
        (["cancel", "nosuch"], 1, "there is no job"),
        (["retry", "nosuch"], 1, "there is no job"),
        (["rm", "nosuch"], 1, "there is no job"),
        (["logs", "nosuch"], 1, "there is no job"),
        (["output", "nosuch"], 1, "there is no job"),
        (["submit", "nosuch"], 2, "no pipeline is called 'nosuch'"),
        (["submit", "nosuch", "--help"], 2, "is not installed here"),
        (["submit", "exec"], 2, "exec needs a command"),
        (["submit", "exec", "-n", "none"], 2, "-n: expected a whole number"),
        (["submit", "exec", "--nosuch"], 2, "mu submit exec --help"),
        (["submit", "exec", "-t", "13579", "true"], 2, "-t"),
        (["submit", "exec", "--wait", "true"], 2, "--wait stands before the pipeline: mu submit --wait ... exec"),
        (["submit", "./nosuch.py"], 2, "cannot read the pipeline module nosuch.py"),
        (["submit", "./broken.py"], 2, "cannot be loaded: SyntaxError"),
        (["submit", "./long.py"], 2, "at most 1048576 can be sent"),
        (["submit", "./latin.py"], 2, "is not UTF-8"),
    ],
)
def test_mistakes_are_one_line(mu: Mu, tmp_path: Path, words: list[str], status: int, said: str) -> None:
    (tmp_path / "broken.py").write_text("def\n")
    (tmp_path / "long.py").write_text("#" * (1 << 20) + "\n")
    (tmp_path / "latin.py").write_bytes(b"# \xe4\n")
    done = mu(*words)
    assert done.status == status
    assert said in done.error()


def test_the_job_options_help_needs_no_coordinator(run: Mu) -> None:
    done = run("submit", "exec", "--help")
    assert done.status == 0
    assert done.out.startswith("Usage: mu submit [options] exec [options] -- COMMAND\n")
    assert "--bucket=" in done.out


@pytest.mark.parametrize("command", ["submit", "jobs", "status", "wait", "cancel", "retry", "logs", "output", "rm"])
def test_each_command_explains_itself(run: Mu, command: str) -> None:
    done = run(command, "--help")
    assert done.status == 0
    assert "--state-dir" in done.out
    assert "--server" in done.out


def test_where_no_coordinator_runs_it_is_said_how_to_start_one(run: Mu, tmp_path: Path) -> None:
    assert "start one with `mu coordinator`" in run("jobs").error()
    assert run("wait", "x", "--state-dir", "nosuch").status == 1


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--server", "h"], 2, "expected HOST:PORT"),
        (["--server", "h:0"], 2, "expected HOST:PORT"),
        (["--server", "h:" + "9" * 5000], 2, "expected HOST:PORT"),
        (["--server", "a..b:1"], 2, "expected HOST:PORT"),
        (["--server", "a" * 64 + ".org:1"], 2, "expected HOST:PORT"),
        (["--server", "\u00e9:1"], 2, "expected HOST:PORT"),
        (["--server", "h:1", "--state-dir", "d"], 2, "give one of them"),
        (["--server", "h:1"], 2, "needs -c too"),
        (["--server", "127.0.0.1:1", "-c", "{ca}", "-s", "{cert}", "-k", "no"], 1, "no does not exist"),
        (["--server", "127.0.0.1:1", "-c", "{ca}", "-s", "{cert}", "-k", "{ca}"], 1, "cannot be used"),
        (["--server", "127.0.0.1:1", "-c", "{key}", "-s", "{cert}", "-k", "{key}"], 1, "cannot be used"),
        (["--server", "127.0.0.1:1", "-c", "{ca}", "-s", "{cert}", "-k", "{key}"], 1, "is it started with --control?"),
    ],
)
def test_what_an_operator_needs_is_said(run: Mu, served: Served, words: list[str], status: int, said: str) -> None:
    ca, cert, key = served.files(OPERATOR)
    done = run("jobs", *(word.format(ca=ca, cert=cert, key=key) for word in words))
    assert done.status == status
    assert said in done.error()


def test_a_workers_certificate_is_refused(run: Mu, served: Served) -> None:
    ca, cert, key = served.files(LaunchIdentity("j"))
    said = run("jobs", "--server", f"127.0.0.1:{served.control.port}", "-c", ca, "-s", cert, "-k", key).error()
    assert said.startswith("error: expected a certificate of mu:role/operator, got mu:job/j/launch")


def test_an_operator_of_another_ca_is_told_so(run: Mu, served: Served) -> None:
    ca, cert, key = served.files(OPERATOR, authority=Authority.generate())
    said = run("jobs", "--server", f"127.0.0.1:{served.control.port}", "-c", ca, "-s", cert, "-k", key).error()
    assert "unknown ca" in said


def test_a_server_that_is_no_coordinator_is_not_talked_to(
    run: Mu, served: Served, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    served.close()
    monkeypatch.setattr(served, "role", "rendezvous")
    served.open()
    ca, cert, key = served.files(OPERATOR)
    said = run("jobs", "--server", f"127.0.0.1:{served.control.port}", "-c", ca, "-s", cert, "-k", key).error()
    assert "is no coordinator" in said


def read_until(terminal: int, end: str) -> str:
    """What a terminal is sent, to this at least."""
    shown = ""
    while end not in shown:
        shown += os.read(terminal, 1000).decode()
    return shown


def test_a_terminal_shows_how_far_the_job_is(served: Served, loop: Loop) -> None:
    job = loop.do(served.service.submit, Request("exec", ("-n", "4"))).job
    loop.do(served.service.progress, job, 3)
    ours, its = os.openpty()
    code = "import sys; from mu_twisted.cli import main; sys.exit(main())"
    waiting = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, "wait", job, "--state-dir", str(served.state)],
        stdout=subprocess.PIPE,
        stderr=its,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "40"},
        text=True,
    )
    os.close(its)
    loop.until(lambda: served.service.waiting.get(job))
    shown = read_until(ours, "\x1b[K")
    loop.do(served.service.end, job)
    out, _ = waiting.communicate(timeout=180)
    os.close(ours)
    assert shown.partition("\x1b[K")[0] == f"\r{job}  75 %  3 of 4 done"  # the same is drawn again each second
    assert (waiting.returncode, out) == (0, f"{job}: 4 of 4 tasks done in 12.5 s\n")


def test_a_terminal_shows_what_the_job_has_cost(run: Mu, served: Served, loop: Loop) -> None:
    job = loop.do(served.service.submit, Request("exec", ("-n", "4"))).job
    loop.do(served.service.end, job, cost=Cost(3, 100.0, 176.9, 0.01234, "USD", "2026-11-01"))
    ours, its = os.openpty()
    code = "import sys; from mu_twisted.cli import main; sys.exit(main())"
    subprocess.run(
        [sys.executable, "-c", code, "wait", job, "--state-dir", str(served.state)],
        stdout=its,
        timeout=180,
        check=True,
    )
    shown = read_until(ours, "\n")
    os.close(its)
    os.close(ours)
    assert shown == f"{job}: 4 of 4 tasks done in 12.5 s, 0.0123 USD\r\n"
    piped = run("wait", job, "--state-dir", str(served.state))
    assert piped.out == f"{job}: 4 of 4 tasks done in 12.5 s\n"


def test_asking_loads_no_twisted(served: Served) -> None:
    code = "import sys; from mu_twisted.cli import main; main(); print('twisted' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, "jobs", "--state-dir", str(served.state)],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"


def test_a_reader_that_has_enough_is_no_error(served: Served) -> None:
    code = "import sys; from mu_twisted.cli import main; sys.exit(main())"
    words = [sys.executable, "-W", "error", "-c", code, "jobs", "--state-dir", str(served.state)]
    done = subprocess.run(
        ["bash", "-c", 'exec 3> >(:); wait $!; "$@" >&3', "-", *words],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.stderr == ""


def test_an_operators_files_open_a_coordinator_elsewhere(run: Mu, served: Served, tmp_path: Path) -> None:
    tls = tmp_path / "state" / "tls"
    tls.mkdir(parents=True)
    (tls / "ca_cert.pem").write_bytes(served.authority.certificate)
    (tls / "ca_key.pem").write_bytes(served.authority.key_pair.key)
    made = run("genkeys", "alice", "--operator", "alice", "--state-dir", "state")
    assert made.out == "alice/alice_key.pem\nalice/alice_cert.pem\nalice/ca_cert.pem\n"
    files = ["-c", "alice/ca_cert.pem", "-s", "alice/alice_cert.pem", "-k", "alice/alice_key.pem"]
    assert run("jobs", "--server", f"127.0.0.1:{served.control.port}", *files).status == 0
    assert "is not overwritten" in run("genkeys", "alice", "--operator", "alice", "--state-dir", "state").error()
    assert "give --operator" in run("genkeys", "x", "--state-dir", "state").error()
    assert run("genkeys", "x", "--rsa", "--operator", "bob").status == 2
    assert not (tmp_path / "x").exists()


def test_what_the_coordinator_finds_asked_wrongly_is_status_2(mu: Mu, served: Served) -> None:
    for words in (["nosuch"], ["nosuch", "-n", "2"]):
        refused = mu("submit", *words)
        assert refused.status == 2
        assert refused.err.startswith("error: no pipeline is called 'nosuch'")


def test_what_can_be_no_job_is_asked_of_nothing_and_is_status_2(mu: Mu, served: Served) -> None:
    refused = mu("submit", "exec", "-n", "1000001", "true")
    assert refused.status == 2
    assert refused.err.startswith("error: -n: a job has at most 1000000 tasks, not 1000001; submit several")
    assert not served.service.jobs()


def test_where_no_coordinator_runs_submit_names_what_does_without(run: Mu, tmp_path: Path) -> None:
    said = run("submit", "--state-dir", str(tmp_path / "none"), "exec", "--", "true")
    assert said.status == 1
    assert "start one with `mu coordinator`" in said.error()
    assert "`mu run` in place of `mu submit` runs the job without one" in said.err


@pytest.mark.parametrize("words", [["run", "exec", "--help"], ["lambdaize", "--help"]])
def test_a_command_that_asks_no_aws_loads_no_botocore(words: list[str]) -> None:
    code = "import atexit, sys; from mu_twisted.cli import main; "
    code += "atexit.register(lambda: print('botocore.loaders' in sys.modules)); main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=180, check=True)
    assert done.stdout.splitlines()[-1] == "False"

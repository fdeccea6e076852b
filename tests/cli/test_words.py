"""Words that users type wrongly: one line each, whatever they hold, and several jobs where one is taken."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from command_line import OPERATOR, Mu
from control_server import LIFETIME, Loop, Served
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from property_examples import SHARED_FIXTURES, examples
from twisted.internet.endpoints import TCP4ServerEndpoint

from mu_twisted.pipelines import load_pipeline
from mu_twisted.statuses import TaskStatus
from mu_twisted.tls import RoleIdentity, server_contexts
from mu_twisted.transport import FrameFactory, FrameProtocol, listen

COMMANDS = ["status", "wait", "logs", "output", "cancel", "retry", "rm"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_jobs_name_that_is_empty_is_a_usage_error(mu: Mu, served: Served, command: str) -> None:
    kept = mu("submit", "exec", "true").out.strip()
    done = mu(command, "")
    assert done.status == 2
    assert "expected a value, got ''" in done.error()
    if command not in ("status", "logs", "output"):
        assert mu(command, kept, "").status == 2
    assert served.service.job(kept).state == "running", "nothing is done where a name is missing"


ODD_NAMES = [
    "a/b",
    "/",
    "..",
    "a\nb",
    "a\0b",
    "ä",
    "\udcff",
    "x" * 100_000,
    " ",
    "%00",
    "a?task=1",
    "\x1b[31m",
    "exec-00000001/cancel",
    "exec-00000001\n",
    "١",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_jobs_name_of_any_form_is_one_line(mu: Mu, command: str) -> None:
    mu("submit", "exec", "true")
    for name in ODD_NAMES:
        said = mu(command, name).error()
        assert said.startswith("error: there is no job '")
        assert all(c.isprintable() for c in said[:-1])
        assert len(said) < 300
    assert mu("jobs").out.splitlines()[1].startswith("exec-00000001  running ")


@settings(max_examples=examples(150), suppress_health_check=SHARED_FIXTURES)
@given(command=st.sampled_from(COMMANDS), name=st.text(min_size=1).filter(lambda name: not name.startswith("-")))
def test_no_name_of_a_job_makes_a_traceback(run: Mu, served: Served, command: str, name: str) -> None:
    done = run(command, "--state-dir", str(served.state), name)
    assert done.status == 1
    assert done.error().startswith("error: there is no job ")


@pytest.mark.parametrize("task", ["x", "", "-1", "1.5", "1_0", "١", "x\ny"])
def test_a_task_that_is_no_number_is_one_line(run: Mu, task: str) -> None:
    done = run("logs", "job", f"--task={task}")
    assert done.status == 2
    assert done.error().startswith("error: argument --task: expected a task's number, got '")


@pytest.mark.parametrize("command", ["submit", "run"])
@pytest.mark.parametrize("pipeline", ["film", "map", "exec"])
def test_the_help_of_a_pipeline_says_what_it_does(run: Mu, command: str, pipeline: str) -> None:
    shown = " ".join(run(command, pipeline, "--help").out.split())
    summary, own = load_pipeline(pipeline).summary, getattr(load_pipeline(pipeline).options, "longdesc", "")
    assert f"{summary[0].upper()}{summary[1:]}. {' '.join(own.split())}".strip() in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["wait"], "the following arguments are required: JOB (`mu wait --help` says more)"),
        (["wait", "a", "--nosuch"], "unrecognized arguments: --nosuch (`mu wait --help` says more)"),
        (["status", "a", "b\nc"], "unrecognized arguments: b\\x0ac (`mu status --help` says more)"),
        (["jobs", "\udcff"], "unrecognized arguments: \\udcff (`mu jobs --help` says more)"),
        (["lambdaize"], "give EXE, the program of the function, or --image URI"),
        (["functions", "nosuch"], "(`mu functions --help` says more)"),
        (["nosuch"], "mu has no command 'nosuch': `mu --help` lists them"),
        ([], "(`mu --help` says more)"),
        (["status", "--failed"], "mu status JOB --failed"),
    ],
)
def test_usage_errors_are_one_line_of_the_command_that_was_meant(run: Mu, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.status == 2
    assert said in done.error()


@pytest.mark.parametrize(
    "words", [("exec", "-n", "2", "echo hi", "-n", "3"), ("exec", "ls", "-l"), ("./mine.py", "file", "--tasks=3")]
)
def test_job_options_behind_the_command_are_refused(mu: Mu, served: Served, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "mine.py").write_text(
        "from mu_twisted.pipelines import Pipeline, PipelineOptions\n"
        "class Options(PipelineOptions):\n"
        "    def parseArgs(self, *words): self['words'] = words\n"
        "async def task(w): await w.run('true')\n"
        "pipeline = Pipeline(name='mine', summary='', first=task, options=Options)\n"
    )
    done = mu("submit", *words)
    assert done.status == 2
    assert "put the job's options before it" in done.error()
    assert not served.service.requests


def test_waiting_takes_several_jobs_and_reports_each(mu: Mu, served: Served, loop: Loop) -> None:
    jobs = [mu("submit", "exec", "true").out.strip() for _ in range(2)]
    loop.do(served.service.end, jobs[1], "failed", "exit status 1")
    loop.do(loop.reactor.callLater, 0.05, served.service.end, jobs[0])
    done = mu("wait", jobs[0], "nosuch", jobs[1])
    assert done.status == 1
    assert done.out.splitlines() == [
        f"{jobs[0]}: 1 of 1 tasks done in 12.5 s",
        f"{jobs[1]}: failed, 0 of 1 tasks done in 12.5 s",
    ]
    assert done.err.splitlines()[0] == "error: there is no job 'nosuch'"
    told = [json.loads(line)["job"] for line in mu("wait", "--json", *jobs).out.splitlines()]
    assert told == jobs
    assert mu("wait", jobs[0], jobs[1], jobs[0]).out.splitlines() == done.out.splitlines()
    for command in ("retry", "rm"):  # a job that is named twice is meant once
        twice = mu(command, jobs[1], jobs[1])
        assert (twice.status, twice.err, len(twice.out.splitlines())) == (0, "", 1), command
        if command == "retry":
            loop.do(served.service.end, jobs[1])
    assert mu("status", jobs[1]).status == 1
    assert mu("wait", jobs[0]).status == 0


@pytest.fixture
def failed(mu: Mu, served: Served) -> str:
    """A job of 2,000 tasks, most of which failed."""
    job = mu("submit", "exec", "-n", "2000", "false").out.strip()
    reasons = {3: "exit status 7", 5: "no such file\nor directory"}
    tasks = [TaskStatus(n, "failed", 3, reasons.get(n, f"out/{n}: exit status 1")) for n in range(1990)]
    tasks += [TaskStatus(n, "done", 1) for n in range(1990, 2000)]
    served.service._tasks[job] = tasks
    fact = served.service.job(job)
    served.service._jobs[job] = replace(fact, state="failed", failed=1990, done=10, waiting=0, ended=1_700_000_012.5)
    return job


def test_failed_tasks_are_told_by_reason(mu: Mu, failed: str) -> None:
    for said in (mu("status", failed).out.splitlines()[7:], mu("wait", failed).err.splitlines()):
        assert said == [
            "1988 tasks failed after 3 attempts (0-2, 4, 6-1989): out/0: exit status 1 (that of task 0)",
            "task 3 failed after 3 attempts: exit status 7",
            "task 5 failed after 3 attempts: no such file",
            "or directory",
            f"`mu output {failed} --task 5` shows more of what it printed",
        ]


def test_each_failed_task_is_listed_where_that_is_asked_for(mu: Mu, failed: str) -> None:
    lines = mu("status", failed, "--failed").out.splitlines()
    assert len(lines) == 1990
    assert lines[4] == "task 4 failed after 3 attempts: out/4: exit status 1"
    assert len(json.loads(mu("status", failed, "--failed", "--json").out)["tasks"]) == 1990


def test_where_no_task_failed_the_list_is_empty(mu: Mu) -> None:
    job = mu("submit", "exec", "true").out.strip()
    assert (mu("status", job, "--failed").out, json.loads(mu("status", job, "--failed", "--json").out)) == (
        "",
        {"tasks": []},
    )


def test_the_workers_port_is_told_from_the_control_port(run: Mu, served: Served, loop: Loop) -> None:
    ca, cert, key = served.files(OPERATOR)
    own = served.authority.issue(RoleIdentity("coordinator"), lifetime=LIFETIME)
    factory = FrameFactory(Silent, clock=loop.reactor, max_frame=1 << 20)
    endpoint = TCP4ServerEndpoint(loop.reactor, 0, interface="127.0.0.1")
    port = loop.do(listen, endpoint, server_contexts(own, served.authority.certificate), factory, loop.reactor)
    try:
        said = run("jobs", "--server", f"127.0.0.1:{port.getHost().port}", "-c", ca, "-s", cert, "-k", key).error()
    finally:
        loop.do(port.stopListening)
    assert "is this the port of its --control, and not the one that workers dial?" in said


class Silent:
    """Receives frames, and says nothing."""

    def connected(self, connection: FrameProtocol) -> None:
        pass

    def frames_received(self, payloads: list[bytes]) -> None:
        pass

    def disconnected(self, reason: str) -> None:
        pass

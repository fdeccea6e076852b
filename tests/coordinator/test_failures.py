"""A user is shown what a task has failed of."""

from typing import Any

import pytest

from mu_twisted.coordinator.run._failures import failure_of
from mu_twisted.fsm import CommandListState, Machine, TerminalState, Worker
from mu_twisted.jobs import Failure
from mu_twisted.pipelines import PipelineError, load_pipeline


def exec_machine(*words: str) -> Machine:
    pipeline = load_pipeline("exec")
    machine = Machine(pipeline.first, settings=pipeline.parse(["-b", "mine", *words]))
    machine.receive([b"OK:HELLO"])
    return machine


def said(machine: Machine, *replies: bytes) -> str:
    for reply in replies:
        machine.receive([reply])
    return failure_of(machine)[2]


RUN = b"OK:RETVAL(%d):OUTPUT(%b):COMMAND(x)"
PUT = b"uploading /tmp/mu_worker_a1b2/out-0->mine:x/0 to s3: cannot put mine/x/0: "


def test_a_missing_output_file_is_called_that() -> None:
    machine = exec_machine("--out", "x/{n}", "x")
    reply = b"FAIL:NoSuchFile(" + PUT + b"cannot read /tmp/mu_worker_a1b2/out-0: No such file or directory)"
    assert said(machine, RUN % (0, b""), reply) == (
        "the command made no output file: there is no out-0 to store as mine/x/0"
    )
    assert failure_of(machine)[0] is Failure.HOPELESS
    assert machine.error is not None
    assert "expected 'OK:UPLOAD(' or 'OK:UPLOADING('" in machine.error


def test_of_a_failed_transfer_the_reason_is_said_once() -> None:
    machine = exec_machine("--in", "x/{n}", "x")
    reply = b"FAIL:NoSuchKey(retrieving mine:x/0->/tmp/f from s3: cannot get mine/x/0: 404 NoSuchKey: It is not there.)"
    assert said(machine, reply) == "cannot get mine/x/0: 404 NoSuchKey: It is not there."
    machine = exec_machine("--out", "x/{n}", "x")
    assert said(machine, RUN % (0, b""), b"FAIL(" + PUT + b"403 AccessDenied: no)") == (
        "cannot put mine/x/0: 403 AccessDenied: no"
    )
    assert said(exec_machine("x"), b"FAIL(odd)") == "odd"
    assert said(exec_machine("x"), b"FAIL") == "FAIL"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (3, "the command ended with exit status 3"),
        (-11, "the command was killed by SIGSEGV"),
        (139, "the command ended with exit status 139 (SIGSEGV)"),
        (-6, "the command was killed by SIGABRT"),
        (143, "the command ended with exit status 143 (SIGTERM)"),
        (-9, "the command was killed by SIGKILL: probably out of memory (give the function more, or the task less)"),
        (255, "the command ended with exit status 255"),
    ],
)
def test_a_signal_has_a_name(status: int, words: str) -> None:
    assert said(exec_machine("x"), RUN % (status, b"")) == words


@pytest.mark.parametrize(
    ("output", "lines"),
    [
        (b"", []),
        (b"one\n", ["one"]),
        (b"one\n\n  two \n", ["one", "  two"]),
        (b"10%\r20%\rgave up", ["10%", "20%", "gave up"]),
        (b"\x8f\xff bytes\n", ["\\x8f\\xff bytes"]),
        (b"\x1b[2Jaway\x07\n", ["\\x1b[2Jaway\\x07"]),
        ("\u00fcber \u202eleft".encode(), ["\u00fcber \\u202eleft"]),
        (b"".join(b"line %d\n" % number for number in range(99)), [f"line {number}" for number in range(89, 99)]),
        (b"x" * 5000, ["x" * 150]),
    ],
)
def test_the_programs_last_lines_are_lines_that_no_terminal_obeys(output: bytes, lines: list[str]) -> None:
    text = said(exec_machine("x"), RUN % (1, output))
    assert text.split("\n") == ["the command ended with exit status 1", *[f"    {line}" for line in lines]]
    assert all(line.isprintable() for line in text.split("\n"))


def test_a_users_own_pipeline_is_named_with_its_place() -> None:
    async def task(w: Worker) -> None:
        await w.run("x")

    machine = Machine(task)
    machine.receive([b"OK:HELLO"])
    text = said(machine, RUN % (1, b"why"))
    assert text.startswith("script task (test_failures.py line ")
    assert text.endswith(", in task): the command ended with exit status 1\n    why")

    class Stores(CommandListState):
        commandlist = [("OK:HELLO", "upload:k\0f"), ("OK:UPLOAD(", None)]
        nextState = TerminalState

    machine = Machine(Stores)
    machine.receive([b"OK:HELLO"])
    reply = b"FAIL:NoSuchFile(uploading f->b:k to s3: cannot put b/k: cannot read f: No such file or directory)"
    assert said(machine, reply).startswith("state Stores: expected 'OK:UPLOAD(', got 'FAIL:NoSuchFile(uploading f->b:k")


def test_of_a_script_what_failed_is_said_and_not_what_was_expected() -> None:
    async def task(w: Worker) -> None:
        await w.retrieve("k", "f")
        await w.process("cat")

    machine = Machine(task)
    machine.receive([b"OK:HELLO"])
    gone = b"FAIL:NoSuchKey(retrieving b:k->/tmp/f from s3: cannot get b/k: 404 NoSuchKey: It is not there.)"
    assert said(machine, gone).endswith(", in task): cannot get b/k: 404 NoSuchKey: It is not there.")
    machine = Machine(task)
    [name] = [
        command.split(b":")[1].decode()
        for reply in (b"OK:HELLO", b"OK:RETRIEVE(b/k)")
        for command in machine.receive([reply])
        if command.startswith(b"process:")
    ]
    late = f"FAIL(the process {name} did not answer in time: loading)".encode()
    assert said(machine, late).endswith(", in task): the process did not answer in time: loading")


def test_what_a_pipeline_that_comes_with_mu_says_of_its_input_stands_alone() -> None:
    pipeline = load_pipeline("faces")
    machine = Machine(pipeline.first, settings=pipeline.parse(["-b", "mine", "--face", "none.png"]))
    [begin] = machine.receive([b"OK:HELLO"])
    name = begin.split(b":")[1]
    answer = b'OK:ASK(%b:{"error": "has no face in it"})' % name
    assert said(machine, b"OK:PROCESS(%b:ready)" % name, b"OK:RETRIEVE(mine/none.png)", answer) == (
        "none.png has no face in it"
    )
    assert failure_of(machine)[0] is Failure.MACHINE

    async def task(w: Worker) -> None:
        await w.echo("x")
        raise PipelineError("the input is odd")

    machine = Machine(task)
    machine.receive([b"OK:HELLO"])
    text = said(machine, b"OK:ECHO(x)")
    assert text.startswith("script task (test_failures.py line ")
    assert text.endswith(", in task): the input is odd")


def test_states_of_the_built_in_pipelines_say_the_same() -> None:
    pipeline = load_pipeline("png2y4m")
    machine: Any = Machine(pipeline.first, settings=pipeline.parse(["-f", "1"]))
    said(machine, b"OK:HELLO", b"OK:SET(cmdinfile)", b"OK:SET(cmdoutfile)", b"OK:SETI(nonblock)", b"OK:RETRIEVE(b/k)")
    assert said(machine, RUN % (-11, b"a\nb\n")) == "the command was killed by SIGSEGV\n    a\n    b"


def test_what_no_state_expected_is_told_with_its_place() -> None:
    machine = exec_machine("x")
    assert "expected 'OK:RETVAL(' or 'OK:RUNNING(', got 'OK:WHAT'" in said(machine, b"OK:WHAT")
    assert failure_of(machine)[0] is Failure.MACHINE

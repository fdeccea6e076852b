"""A script that asks a program line by line: what its worker is sent, and what is refused before that."""

from typing import Any

import pytest

from mu_twisted.fsm import Machine, Outcome, Worker
from mu_twisted.wire import MAX_PROCESS_NAME, MAX_PROCESS_SECONDS

NAME = "77af778b51abd4a3"
"""Of a process by its command, ``cat``."""


def played(script: Any, replies: list[str], supports: frozenset[str] | None = None) -> tuple[list[str], Machine]:
    machine = Machine(script, settings={}, supports=supports)
    sent = [command.decode() for command in machine.receive([b"OK:HELLO"])]
    for reply in replies:
        sent += [command.decode() for command in machine.receive([reply.encode()])]
    return sent, machine


def test_a_program_is_started_asked_and_ended() -> None:
    async def script(w: Worker) -> None:
        server = await w.process("cat", keep=True, ready=5, name="a")
        w.info["remark"] = f"{server.greeting} {await server.ask('1:2', timeout=0.5)}"
        await server.end()

    sent, machine = played(script, ["OK:PROCESS(a:ready)", "OK:ASK(a:1:2))", "OK:END(a)"])
    assert sent == ["process:a:kept:5:cat", "ask:a:0.5:1:2", "end:a"]
    assert (machine.outcome, machine.remark) == (Outcome.DONE, "ready 1:2)")


def test_the_same_command_has_the_same_name_and_two_can_be_asked_at_once() -> None:
    async def script(w: Worker) -> None:
        one, other = await w.process("cat"), await w.process("cat", name="b")
        w.info["remark"] = " ".join(await w.all(one.ask("x"), other.ask("y")))

    sent, machine = played(script, [f"OK:PROCESS({NAME}:)", "OK:PROCESS(b:)"])
    assert [command.split(":")[0] for command in sent] == ["process", "process", "ask", "ask"]
    for reply in ("OK:ASK(b:Y)", f"OK:ASK({NAME}:X)"):
        machine.receive([reply.encode()])
    assert (machine.outcome, machine.remark) == (Outcome.DONE, "X Y")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda w: w.process(""), "a command is wanted"),
        (lambda w: w.process(5), "a command is wanted"),
        (lambda w: w.process("cat", name="a b"), "1 to 40 letters and digits"),
        (lambda w: w.process("cat", name="a" * (MAX_PROCESS_NAME + 1)), "1 to 40 letters and digits"),
        (lambda w: w.process("cat", ready=0), "seconds above 0"),
        (lambda w: w.process("cat", ready=MAX_PROCESS_SECONDS + 1), "seconds above 0"),
        (lambda w: w.process("cat", ready="1"), "seconds above 0"),
    ],
)
def test_what_is_no_process_is_refused_before_anything_is_sent(ask: Any, said: str) -> None:
    async def script(w: Worker) -> None:
        await ask(w)

    sent, machine = played(script, [])
    assert sent == []
    assert machine.error is not None
    assert said in machine.error


def test_a_line_with_a_break_is_refused_and_a_failure_of_the_program_ends_the_task() -> None:
    async def breaks(w: Worker) -> None:
        await (await w.process("cat", name="a")).ask("x\ny")

    async def asks(w: Worker) -> None:
        await (await w.process("cat", name="a")).ask("x")

    _, machine = played(breaks, ["OK:PROCESS(a:)"])
    assert "without a line break" in (machine.error or "")
    _, machine = played(asks, ["OK:PROCESS(a:)", "FAIL(the process a did not answer in time)"])
    assert machine.outcome is Outcome.FAILED
    assert "did not answer in time" in (machine.error or "")


def test_a_worker_that_keeps_no_programs_is_sent_none() -> None:
    async def script(w: Worker) -> None:
        await w.process("cat")

    sent, machine = played(script, [], frozenset({"token"}))
    assert sent == []
    assert "earlier version" in (machine.error or "")


def test_a_url_is_asked_for_by_seconds_and_key_and_only_of_a_worker_that_makes_one() -> None:
    async def script(w: Worker) -> None:
        await w.all(w.presign("a/b", "##TMPDIR##/one"), w.presign("b", "##TMPDIR##/two", 60))

    sent, machine = played(script, ["OK:PRESIGN(bucket/b)", "OK:PRESIGN(bucket/a/b)"])
    assert sent == ["presign:3600:a/b\0##TMPDIR##/one", "presign:60:b\0##TMPDIR##/two"]
    assert machine.outcome is Outcome.DONE
    sent, machine = played(script, [], supports=frozenset({"processes"}))
    assert not sent
    assert "a worker of an earlier version" in str(machine.error)


@pytest.mark.parametrize("seconds", [0, -1, 604_801, 1.5, "60", None])
def test_a_url_is_good_for_whole_seconds_up_to_a_week(seconds: Any) -> None:
    async def script(w: Worker) -> None:
        await w.presign("k", "f", seconds)

    sent, machine = played(script, [])
    assert not sent
    assert "a URL is good for 1 to 604800 seconds" in str(machine.error)

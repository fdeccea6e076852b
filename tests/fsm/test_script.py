"""Scripts: coroutines on the Machine, with no event loop below them."""

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import pytest

from mu_twisted.fsm import FSMError, Machine, Outcome, RunError, RunResult, Worker, parse_run
from mu_twisted.wire import MAX_COMMAND

HELLO = b"OK:HELLO"


def greeted(script: Any, **given: Any) -> tuple[Machine, list[bytes]]:
    machine = Machine(script, **given)
    assert machine.start() == []
    return machine, machine.receive([HELLO])


def test_a_script_sends_one_command_after_the_other() -> None:
    got: list[Any] = []

    async def task(w: Worker) -> None:
        await w.set("a", "1:2")
        await w.seti("n", 7)
        got.append(await w.get("a"))
        got.append(await w.geti("n"))
        got.append(await w.echo("x)"))
        await w.retrieve("key:1", "##TMPDIR##/f")
        await w.upload("out", "##TMPDIR##/g")
        await w.retrieve()
        got.append(await w.run("true"))
        got.append(await w.command("close_connect:"))

    machine, sent = greeted(task)
    for replies, expected in [
        ([b"OK:SET(a)"], [b"seti:n:7"]),
        ([b"OK:SETI(n)"], [b"get:a"]),
        ([b"OK:GET(1:2)"], [b"geti:n"]),
        ([b"INFO:n:7", b"OK:GETI(n)"], [b"echo:x)"]),
        ([b"OK:ECHO(x))"], [b"retrieve:key:1\0##TMPDIR##/f"]),
        ([b"OK:RETRIEVE(b/key:1)"], [b"upload:out\0##TMPDIR##/g"]),
        ([b"OK:UPLOAD(b/out)"], [b"retrieve:"]),
        ([b"OK:RETRIEVE(b/k)"], [b"run:true"]),
        ([b"OK:RETVAL(0):OUTPUT(o):COMMAND(true)"], [b"close_connect:"]),
        ([b"OK:CLOSE_CONNECT"], []),
    ]:
        assert machine.receive(replies) == expected
    assert sent == [b"set:a:1:2"]
    assert machine.outcome is Outcome.DONE
    assert got == ["1:2", 7, "x)", RunResult(0, "o"), "OK:CLOSE_CONNECT"]


def test_all_replies_in_one_read_do_as_well() -> None:
    async def task(w: Worker) -> None:
        for n in range(3):
            await w.echo(str(n))

    machine = Machine(task)
    assert machine.receive([HELLO, b"OK:ECHO(0)", b"OK:ECHO(1)", b"OK:ECHO(2)"]) == [b"echo:0", b"echo:1", b"echo:2"]
    assert machine.outcome is Outcome.DONE


def test_a_background_job_is_waited_for_to_its_end() -> None:
    async def task(w: Worker) -> None:
        await w.retrieve("k", "f")
        result = await w.run("x", check=False)
        await w.upload("k", "f")
        await w.echo(str(result.status))

    machine, _ = greeted(task)
    assert machine.receive([b"OK:RETRIEVING(b/k->f)"]) == []
    assert machine.receive([b"OK:RETRIEVE(b/k)"]) == [b"run:x"]
    assert machine.receive([b"OK:RUNNING(x)"]) == []
    assert machine.receive([b"OK:RETVAL(-9):OUTPUT():COMMAND(x)"]) == [b"upload:k\0f"]
    assert machine.receive([b"OK:UPLOADING(f->b/k)", b"OK:UPLOAD(b/k)"]) == [b"echo:-9"]


def test_a_command_that_fails_ends_the_task_and_names_the_line() -> None:
    async def encode(w: Worker) -> None:
        await w.run("./enc")  # the line

    async def task(w: Worker) -> None:
        await encode(w)

    machine, _ = greeted(task)
    assert machine.receive([b"OK:RETVAL(3):OUTPUT(bad\n):COMMAND(./enc)"]) == []
    assert machine.outcome is Outcome.FAILED
    line = encode.__code__.co_firstlineno + 1
    assert machine.error == (
        f"script task (test_script.py line {line}, in encode): the command ended with status 3: 'bad'"
    )


def test_a_script_may_catch_a_failed_command() -> None:
    async def task(w: Worker) -> None:
        try:
            await w.run("./a")
        except RunError as error:
            await w.echo(f"{error.result.status}")

    machine, _ = greeted(task)
    assert machine.receive([b"OK:RETVAL(3):OUTPUT():COMMAND(./a)"]) == [b"echo:3"]


@pytest.mark.parametrize("reply", [b"FAIL(no such object)", b"OK:ECHO(x)", b"", b"OK:RETRIEVAL"])
def test_a_wrong_reply_names_the_line_the_expected_text_and_what_came(reply: bytes) -> None:
    async def task(w: Worker) -> None:
        await w.retrieve("k", "f")

    machine, _ = greeted(task)
    assert machine.receive([reply]) == []
    assert machine.outcome is Outcome.FAILED
    place = f"test_script.py line {task.__code__.co_firstlineno + 1}, in task"
    assert machine.error == (
        f"script task ({place}): expected 'OK:RETRIEVE(' or 'OK:RETRIEVING(', got {reply.decode()!r}"
    )


def test_an_exception_in_a_script_ends_its_machine_only() -> None:
    async def task(w: Worker) -> None:
        await w.echo("x")
        raise KeyError("k")

    machine, _ = greeted(task)
    assert machine.receive([b"OK:ECHO(x)"]) == []
    line = task.__code__.co_firstlineno + 2
    assert machine.error == f"script task (test_script.py line {line}, in task): KeyError: 'k'"


def test_clean_up_runs_when_the_task_fails_and_cannot_hold_it_up() -> None:
    cleaned: list[str] = []

    async def task(w: Worker) -> None:
        try:
            await w.all(waits(w), waits(w))
        finally:
            cleaned.append("outer")
            await w.echo("too late")

    async def waits(w: Worker) -> None:
        try:
            await w.echo("x")
        finally:
            cleaned.append("inner")

    machine, _ = greeted(task)
    assert machine.receive([b"FAIL(x)"]) == []
    assert machine.outcome is Outcome.FAILED
    assert cleaned == ["inner", "inner", "outer"]


def test_parallel_coroutines_send_at_once_and_return_in_order() -> None:
    got: list[Any] = []

    async def task(w: Worker) -> None:
        got.append(await w.all(w.get("a"), w.get("b"), w.all(w.echo("x"), w.echo("y")), w.all()))
        await w.echo("end")

    machine, sent = greeted(task)
    assert sent == [b"get:a", b"get:b", b"echo:x", b"echo:y"]
    assert machine.receive([b"OK:ECHO(y)", b"OK:GET(1)"]) == []
    assert machine.receive([b"OK:GET(2)", b"OK:ECHO(x)"]) == [b"echo:end"]
    assert got == [["1", "2", ["x", "y"], []]]


def test_background_replies_go_to_the_coroutine_that_they_name() -> None:
    async def fetch(w: Worker, key: str) -> None:
        await w.retrieve(key, f"##TMPDIR##/{key}")
        await w.echo(f"have {key}")

    async def work(w: Worker, command: str) -> None:
        result = await w.run(command)
        await w.echo(f"{command} {result.output}")

    async def task(w: Worker) -> None:
        await w.all(fetch(w, "a"), fetch(w, "ba"), work(w, "x ##TMPDIR##/a"), work(w, "y"), work(w, "yy"))

    machine, _ = greeted(task)
    machine.receive([b"OK:RETRIEVING(b/a->/t/a)", b"OK:RETRIEVING(b/ba->/t/ba)"])
    machine.receive([b"OK:RUNNING(x /t/a)", b"OK:RUNNING(y)", b"OK:RUNNING(yy)"])
    assert machine.receive([b"OK:RETRIEVE(b/ba)"]) == [b"echo:have ba"]
    assert machine.receive([b"OK:RETVAL(0):OUTPUT(2):COMMAND(yy)"]) == [b"echo:yy 2"]
    assert machine.receive([b"OK:RETVAL(0):OUTPUT(1):COMMAND(y)"]) == [b"echo:y 1"]
    assert machine.receive([b"OK:RETRIEVE(b/a)"]) == [b"echo:have a"]
    assert machine.receive([b"OK:RETVAL(0):OUTPUT(0):COMMAND(x /t/a)"]) == [b"echo:x ##TMPDIR##/a 0"]


def test_a_reply_that_no_part_waits_for_yet_is_held_back_in_all() -> None:
    async def one(w: Worker) -> None:
        await w.echo("1")
        await w.command("custom:", "OK:LATER")

    async def task(w: Worker) -> None:
        await w.all(one(w), w.get("k"))

    machine, _ = greeted(task)
    assert machine.receive([b"OK:LATER"]) == []
    assert machine.held == 1
    assert machine.receive([b"OK:ECHO(1)"]) == [b"custom:"]
    assert machine.held == 0
    machine.receive([b"OK:GET(v)"])
    assert machine.outcome is Outcome.DONE


def test_a_failure_in_all_ends_the_others_and_can_be_caught() -> None:
    ended: list[str] = []

    async def waits(w: Worker) -> None:
        try:
            await w.command("custom:", "OK:NEVER")
        finally:
            ended.append("waits")

    async def task(w: Worker) -> None:
        try:
            await w.all(waits(w), w.run("x"))
        except RunError:
            await w.echo("caught")

    machine, _ = greeted(task)
    assert machine.receive([b"OK:RETVAL(1):OUTPUT():COMMAND(x)"]) == [b"echo:caught"]
    assert ended == ["waits"]


def test_a_failure_at_the_start_of_all_leaves_no_coroutine_behind() -> None:
    async def fails(w: Worker) -> None:
        raise ValueError("early")

    async def task(w: Worker) -> None:
        await w.all(w.echo("1"), fails(w), w.echo("2"))

    machine, sent = greeted(task)
    assert sent == []
    assert "ValueError: early" in (machine.error or "")
    gc.collect()  # warnings are errors: a coroutine that was never awaited would show here


async def _sleeps(w: Worker) -> None:
    await asyncio.sleep(1)


async def _long(w: Worker) -> None:
    await w.echo("x" * MAX_COMMAND)


async def _number(w: Worker) -> None:
    await w.echo(7)  # type: ignore[arg-type]


async def _nul(w: Worker) -> None:
    await w.retrieve("a\0b", "f")


async def _half(w: Worker) -> None:
    await w.upload("a")


async def _colon(w: Worker) -> None:
    await w.set("a:b", "c")


async def _float(w: Worker) -> None:
    await w.seti("a", 1.5)  # type: ignore[arg-type]


async def _no_coroutine(w: Worker) -> None:
    await w.all(7)  # type: ignore[arg-type]


async def _endless(w: Worker) -> None:
    while True:
        await w.all()


async def _exits(w: Worker) -> None:
    raise SystemExit(2)


@pytest.mark.parametrize(
    "script", [_sleeps, _long, _number, _nul, _half, _colon, _float, _no_coroutine, _endless, _exits]
)
def test_a_misuse_is_an_error_that_names_the_line(script: Any) -> None:
    machine, sent = greeted(script)
    assert sent == []
    assert machine.outcome is Outcome.FAILED
    assert f"in {script.__name__})" in (machine.error or "")


def test_an_ordinary_function_is_no_script() -> None:
    def task(w: Worker) -> None:
        return None

    machine, _ = greeted(task)
    assert "a script is an async function" in (machine.error or "")


def test_a_script_sees_its_number_settings_and_info() -> None:
    async def task(w: Worker) -> None:
        await w.echo(f"{w.task} {w.settings['frames']} {w.info['group']}")
        w.info["done"] = True

    machine, sent = greeted(task, actor_num=4, settings={"frames": 6}, info={"group": 1})
    assert sent == [b"echo:4 6 1"]
    machine.receive([b"INFO:k:v", b"OK:ECHO(4 6 1)"])
    assert machine.info == {"group": 1, "k": "v", "done": True}


def test_a_script_may_wait_for_an_info() -> None:
    async def watch(w: Worker) -> None:
        while "x" not in w.info:
            await w.informed()
        await w.echo(w.info["x"])

    async def task(w: Worker) -> None:
        await w.all(watch(w), w.geti("n"))

    machine, sent = greeted(task)
    assert sent == [b"geti:n"]
    assert machine.receive([b"INFO:n:1"]) == []
    assert machine.receive([b"OK:GETI(n)", b"INFO:x:2"]) == [b"echo:2"]
    machine.receive([b"OK:ECHO(2)"])
    assert machine.outcome is Outcome.DONE


def test_what_all_held_back_is_tried_again_by_the_next_all() -> None:
    async def later(w: Worker) -> None:
        await w.echo("1")
        await w.command("custom:", "OK:LATER")

    async def task(w: Worker) -> None:
        await w.all(w.get("a"), w.get("b"))
        await w.all(later(w), w.get("c"))

    machine, _ = greeted(task)
    machine.receive([b"OK:LATER"])
    assert machine.receive([b"OK:GET(1)", b"OK:GET(2)"]) == [b"echo:1", b"get:c"]
    assert machine.receive([b"OK:ECHO(1)"]) == [b"custom:"]
    assert machine.receive([b"OK:GET(3)"]) == []
    assert machine.outcome is Outcome.DONE


def test_the_state_shows_the_line_that_waits() -> None:
    async def task(w: Worker) -> None:
        await w.echo("x")

    machine = Machine(task, 3)
    machine.start()
    assert (machine.state_name, machine.text) == ("task", "3:(task)")
    machine.receive([HELLO])
    line = task.__code__.co_firstlineno + 1
    assert (machine.state_name, machine.text) == (f"task:{line}", f"3:(task, line {line})")


def test_a_value_that_is_no_integer_is_an_error() -> None:
    async def task(w: Worker) -> None:
        await w.geti("n")

    machine, _ = greeted(task)
    machine.receive([b"INFO:n:x", b"OK:GETI(n)"])
    assert "the worker's n is no integer: " in (machine.error or "")


@pytest.mark.parametrize(
    ("reply", "command", "result"),
    [
        ("OK:RETVAL(0):OUTPUT():COMMAND()", "", (0, "")),
        ("OK:RETVAL(-15):OUTPUT(a:b)):COMMAND(x)", "x", (-15, "a:b)")),
        ("OK:RETVAL(0):OUTPUT(1):COMMAND(2):COMMAND(x)", "x", (0, "1):COMMAND(2")),
        ("OK:RETVAL(0):OUTPUT(1):COMMAND(echo '):COMMAND(')", "echo '):COMMAND('", (0, "1")),
        ("OK:RETVAL(0):OUTPUT(1):COMMAND(2):COMMAND(echo '):COMMAND(')", "echo '):COMMAND('", (0, "1):COMMAND(2")),
        ("OK:RETVAL(7)", "x", (7, "")),
        ("OK:RETVAL(7):OUTPUT(cut off", "x", (7, "cut off")),
    ],
)
def test_a_runs_reply_is_taken_apart_exactly(reply: str, command: str, result: tuple[int, str]) -> None:
    assert parse_run(reply, command) == RunResult(*result)


def test_output_keeps_its_bytes() -> None:
    raw = bytes(range(256)) + b"):COMMAND("
    reply = (b"OK:RETVAL(0):OUTPUT(" + raw + b"):COMMAND(x)").decode("utf-8", "surrogateescape")
    assert parse_run(reply, "x").raw == raw


@pytest.mark.parametrize("reply", ["OK:RETVAL():OUTPUT():COMMAND()", "OK:RETVAL(1x)", "OK:RETVAL(" + "9" * 5000 + ")"])
def test_a_reply_without_a_status_is_an_error(reply: str) -> None:
    with pytest.raises(FSMError, match="expected OK:RETVAL"):
        parse_run(reply)


def test_a_partial_application_is_a_script_too() -> None:
    import functools

    async def task(w: Worker, text: str) -> None:
        await w.echo(text)

    bound: Coroutine[Any, Any, None] | Any = functools.partial(task, text="x")
    assert greeted(bound)[1] == [b"echo:x"]


def test_a_script_may_say_what_it_is_about() -> None:
    async def task(w: Worker) -> None:
        await w.echo("a")
        w.extra = "listening"
        await w.echo("b")

    machine, _ = greeted(task, actor_num=3)
    assert "line" in machine.text
    machine.receive([b"OK:ECHO(a)"])
    assert machine.text == "3:(listening)"

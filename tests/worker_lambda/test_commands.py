"""What our own commands do, and what holds while a program runs."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mu_twisted.wire import parse_greeting

Pair = Callable[..., tuple]  # talk and worker


@pytest.fixture
def mark() -> bytes:
    """Seconds to sleep, as no other process on this machine does."""
    return b"600.%d" % int.from_bytes(os.urandom(8), "big")


def processes_with(mark: bytes) -> list[int]:
    """Living processes whose command line holds this."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and int(path.name) != os.getpid():
            try:
                line = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if mark in line:
                found.append(int(path.name))
    return found


def until(holds: Callable[[], object]) -> None:
    """Processes that were killed are gone a while later, and one that becomes another program has no command line."""
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_ping_is_answered_while_a_program_runs_and_before_what_waits(pair: Pair) -> None:
    talk, _ = pair()
    talk.say(b"run:sleep 30", b"echo:later", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    assert talk.ask(b"ping:a:b\0") == b"OK:PONG(a:b\0)"
    talk.say(b"kill:")
    assert talk.hear() == b"OK:RETVAL(-9):OUTPUT():COMMAND(sleep 30)"
    assert talk.hear() == b"OK:KILL(1)"


def test_kill_ends_whole_groups_drops_what_waits_and_answers_last(pair: Pair, mark: bytes) -> None:
    talk, _ = pair(nonblock=1, bg_silent=1)
    for number in range(3):
        talk.say(b"run:sleep %b & echo %d; sleep %b" % (mark, number, mark))
    talk.say(b"seti:nonblock:0", b"run:sleep " + mark, b"echo:dropped", b"kill:", b"echo:after")
    assert talk.hear() == b"OK:SETI(nonblock)"
    replies = [talk.hear() for _ in range(4)]
    assert all(reply.startswith(b"OK:RETVAL(-9):") for reply in replies)
    assert talk.hear() == b"OK:KILL(4)"
    assert talk.hear() == b"OK:ECHO(after)"
    until(lambda: not processes_with(mark))
    assert talk.ask(b"kill:") == b"OK:KILL(0)"


def test_kill_reaches_a_grandchild_in_a_session_of_its_own_that_holds_the_output(pair: Pair, mark: bytes) -> None:
    talk, _ = pair()
    talk.say(b"run:setsid sleep %b & echo away" % mark, b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    talk.say(b"kill:")
    reply = talk.hear()
    assert reply.startswith(b"OK:RETVAL(")
    assert talk.hear().startswith(b"OK:KILL(")
    until(lambda: not processes_with(mark))


def test_a_worker_of_a_job_says_what_a_command_left_in_the_background_and_goes_on(
    here: Callable, coordinator: Any, event: Callable, mark: bytes
) -> None:
    command = b"sleep %b & echo started" % mark
    worker = here(event(coordinator, job="j"), background=0.05)
    talk = coordinator.accept()
    talk.hear()
    talk.say(b"run:" + command)
    assert talk.hear().startswith(b"INFO:background:%b has ended, but a program that it has left" % command)
    assert talk.hear() == b"OK:RETVAL(0):OUTPUT(started\n):COMMAND(%b)" % command
    assert talk.ask(b"run:echo next") == b"OK:RETVAL(0):OUTPUT(next\n):COMMAND(echo next)"
    until(lambda: processes_with(mark))
    assert parse_greeting(talk.ask(b"reset:")).version
    until(lambda: not processes_with(mark))
    talk.say(b"quit:")
    worker.result()


def test_kill_works_while_a_program_floods_its_output(pair: Pair) -> None:
    talk, _ = pair()
    talk.say(b"run:yes", b"ping:1")
    assert talk.hear() == b"OK:PONG(1)"
    talk.say(b"kill:")
    reply = talk.hear()
    assert reply.startswith(b"OK:RETVAL(-9):OUTPUT(")
    assert len(reply) <= 65536 + 100
    assert talk.hear() == b"OK:KILL(1)"


def test_only_the_end_of_an_output_is_kept(pair: Pair) -> None:
    talk, _ = pair()
    reply = talk.ask(b"run:head -c 3000000 /dev/zero | tr '\\0' a; printf end")
    assert reply.startswith(b"OK:RETVAL(0):OUTPUT(aaa")
    assert reply.split(b":OUTPUT(")[1].split(b"):COMMAND(")[0] == b"a" * (65536 - 3) + b"end"


def test_reset_makes_a_new_worker_of_it(pair: Pair, mark: bytes) -> None:
    talk, worker = pair(nonblock=1, job="j", launch_id="l1")
    talk.say(b"set:k:v", b"set:bucket:other", b"run:echo ##TMPDIR##", b"run:sleep " + mark)
    assert talk.hear() == b"OK:SET(k)"
    assert talk.hear() == b"OK:SET(bucket)"
    replies = [talk.hear(), talk.hear(), talk.hear()]
    old = next(each for each in replies if each.startswith(b"OK:RETVAL")).split(b"OUTPUT(")[1].split(b"\n")[0]
    talk.say(b"seti:nonblock:0", b"run:sleep " + mark, b"echo:dropped", b"reset:", b"get:bucket", b"get:k", b"ping:1")
    assert talk.hear() == b"OK:SETI(nonblock)"
    assert parse_greeting(talk.hear()).launch_id == "l1"
    assert talk.hear() == b"OK:GET(excamera-us-west-1)"
    assert talk.hear().startswith(b"FAIL(")
    assert talk.hear() == b"OK:PONG(1)"
    until(lambda: not processes_with(mark))
    assert not Path(os.fsdecode(old)).exists()
    assert len(list(worker.temporary.iterdir())) == 1


def test_only_a_worker_of_a_job_announces_itself(
    pair: Pair, coordinator: object, start: Callable, event: Callable
) -> None:
    start(event(coordinator))
    assert coordinator.accept().hear() == b"OK:HELLO"
    start(event(coordinator, job="j", launch_id="b-7"))
    greeting = parse_greeting(coordinator.accept().hear())
    assert (greeting.version, greeting.launch_id) == (1, "b-7")


def test_the_event_of_a_legacy_coordinator_is_served_to_the_end(pair: Pair) -> None:
    talk, worker = pair(b"cat ##INFILE##")
    for command, reply in (
        (b"set:cmdinfile:##TMPDIR##/f", b"OK:SET(cmdinfile)"),
        (b"seti:n:5", b"OK:SETI(n)"),
        (b"nosuch:", b"FAIL(no such command 'nosuch:')"),
        (b"nosuch:" + b"x" * 1000, b"FAIL(no such command 'nosuch:" + b"x" * 193 + b" ...')"),
    ):
        assert talk.ask(command) == reply
    assert talk.ask(b"run:printf hi > ##TMPDIR##/f").startswith(b"OK:RETVAL(0):")
    assert talk.ask(b"run:").startswith(b"OK:RETVAL(0):OUTPUT(hi):COMMAND(cat /")
    talk.close()
    result, _ = worker.result()
    assert result == {"ended": "closed by the coordinator"}
    assert list(worker.temporary.iterdir()) == []


def test_a_function_made_without_a_command_fails_a_run_without_one(pair: Pair) -> None:
    talk, _ = pair()
    assert talk.ask(b"run:").startswith(b"FAIL(the function was made without a command")


def test_a_command_longer_than_a_shell_takes_is_refused(pair: Pair) -> None:
    talk, _ = pair()
    assert talk.ask(b"run:true #" + b"x" * 200_000).startswith(b"FAIL(")
    reply = talk.ask(b"run:true #" + b"x" * 131_000)
    assert reply.startswith(b"OK:RETVAL(0):")


def test_no_descriptor_and_no_zombie_is_left_by_what_has_run(pair: Pair) -> None:
    talk, worker = pair()
    folder = Path(f"/proc/{worker.process.pid}/fd")
    talk.ask(b"run:true")
    assert talk.ask(b"echo:") == b"OK:ECHO()"  # by then all of that run is closed
    before = len(list(folder.iterdir()))
    for _ in range(20):
        assert talk.ask(b"run:true").startswith(b"OK:RETVAL(0)")
    talk.say(b"run:setsid sleep 600 >/dev/null 2>&1 & echo", b"kill:", b"reset:")
    while talk.hear() != b"OK:HELLO":
        pass
    until(lambda: len(list(folder.iterdir())) == before)
    children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    until(lambda: not children.exists() or children.read_text() == "")


def test_replies_wait_for_a_coordinator_that_does_not_read_and_none_is_lost(pair: Pair) -> None:
    talk, _ = pair()
    body = b"x" * 1_000_000
    talk.say(b"set:k:" + body)
    assert talk.hear() == b"OK:SET(k)"
    talk.say(*[b"get:k"] * 40)
    for _ in range(40):
        assert len(talk.hear()) == len(body) + 8


def test_the_result_is_json_that_lambda_can_return(pair: Pair) -> None:
    talk, worker = pair()
    talk.say(b"quit:")
    with pytest.raises(EOFError):
        talk.hear()
    result, log = worker.result()
    assert json.dumps(result)
    assert result == {"ended": "the coordinator said quit"}
    assert "without TLS" in log


def test_small_commands_with_large_replies_take_bounded_memory(pair: Pair) -> None:
    talk, worker = pair()
    body = b"x" * 1_000_000
    assert talk.ask(b"set:k:" + body) == b"OK:SET(k)"
    talk.say(*[b"get:k"] * 400, b"ping:1")
    for _ in range(401):
        talk.hear()
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0])
    assert peak < 100_000  # kB; all replies together would be four times that

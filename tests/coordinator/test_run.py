"""WorkerRegistry, sessions and a job's run together, with workers in memory and a clock that stands still."""

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from job_bench import Bench, Echo
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.base import MuError
from mu_twisted.coordinator import (
    Attempts,
    LaunchTokens,
    Peers,
    TimesFile,
    diagnosis,
    job_event,
    with_launch_id,
)
from mu_twisted.coordinator.observation._log import state_lines
from mu_twisted.coordinator.run._attempts import MAX_STATES
from mu_twisted.coordinator.run._failures import failure_of
from mu_twisted.fsm import Machine, MachineState, Outcome, Worker
from mu_twisted.jobs import Failure
from mu_twisted.tls import Identity, KeyPair, RoleIdentity, TaskIdentity
from mu_twisted.wire import MAX_LEGACY_REPLY, MAX_REPLY, Greeting


class Breaks(MachineState):
    """A mistake in a state's constructor."""

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        raise ZeroDivisionError("by me")


def test_a_job_goes_from_launch_to_result() -> None:
    bench = Bench()
    assert bench.launched == ["0-0", "0-1"]
    first, second = bench.worker(), bench.worker()
    first.says(ours("0-0"))
    second.says(ours("0-1"))
    assert first.takes() == [b"echo:hi"] == second.takes()
    first.says(b"OK:ECHO(hi)")
    assert first.takes() == [b"quit:"]
    assert first.closed
    second.says(b"OK:ECHO(hi)")
    assert bench.finished == [None]
    assert bench.run.job.error is None


def test_a_wrong_reply_ends_its_task_only_and_says_what_was_expected() -> None:
    bench = Bench()
    bad, good = bench.worker(), bench.worker()
    bad.says(ours("0-0"))
    good.says(ours("0-1"))
    bad.says(b"FAIL(no space left)")
    good.says(b"OK:ECHO(hi)")
    assert bench.finished == [None]
    error = bench.run.job.failures[0]
    for part in ("Echo", "OK:ECHO(hi)", "no space left"):
        assert part in error


def test_an_exception_in_a_state_ends_its_task_and_never_the_coordinator() -> None:
    bench = Bench(first=Breaks)
    for launch_id in bench.launched:
        bench.worker().says(ours(launch_id))
    assert bench.finished == [None]
    assert "by me" in bench.run.job.failures[0]
    assert bench.run.counts.failed == 2


def test_a_task_is_assigned_once_that_is_in_the_journal() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.turn = lambda: None
    worker.says(ours("0-0"))
    assert worker.takes() == []
    assert len(bench.durable) < len(bench.kept)
    bench.turn()
    assert bench.durable == bench.kept
    assert worker.takes() == [b"echo:hi"]


def test_replies_to_the_sessions_own_commands_never_reach_the_machine() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(b"OK:PONG(1)", b"OK:KILL(0)")
    assert bench.run.counts.active == 1
    worker.says(b"OK:ECHO(hi)")
    assert bench.run.counts.done == 1


def test_a_done_worker_is_warmed_for_a_waiting_task_and_old_replies_are_dropped() -> None:
    bench = Bench(tasks=2)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(b"OK:ECHO(hi)")
    assert worker.takes() == [b"echo:hi", b"reset:"]
    worker.says(b"OK:ECHO(late)", ours("j/0-0"))
    assert worker.takes() == [b"echo:hi"]
    worker.says(b"OK:ECHO(hi)")
    assert bench.finished == [None]
    assert bench.run.job.error is None


def test_an_original_worker_is_served_where_keys_are_shared() -> None:
    bench = Bench(tasks=1, shared_key=True)
    worker = bench.stranger()
    worker.says(b"OK:HELLO")
    assert worker.max_frame == MAX_LEGACY_REPLY
    assert worker.takes() == [b"echo:hi"]
    worker.says(b"OK:ECHO(hi)")
    assert worker.takes() == [b"quit:"]
    assert bench.run.job.error is None


def test_a_certificate_without_identity_speaks_for_no_job_where_keys_are_not_shared() -> None:
    bench = Bench(tasks=1)
    worker = bench.stranger()
    worker.says(b"OK:HELLO")
    assert worker.takes() == [b"quit:"]
    assert bench.run.counts.workers == 0


@pytest.mark.parametrize(
    "identity",
    [
        launch_identity("another"),
        RoleIdentity("rendezvous"),
        RoleIdentity("operator"),
        TaskIdentity("j", 0, 0),
        TaskIdentity("j", 1, 7),
        TaskIdentity("another", 0, 0),
    ],
)
def test_a_certificate_speaks_for_its_own_job_only(identity: Identity) -> None:
    bench = Bench(tasks=1)
    worker = bench.worker(identity)
    worker.says(ours("0-0"))
    assert worker.takes() == [b"quit:"]


def test_a_worker_of_ours_may_send_replies_up_to_our_limit() -> None:
    worker = Bench(tasks=1).worker()
    assert worker.max_frame < MAX_REPLY
    worker.says(ours("0-0"))
    assert worker.max_frame == MAX_REPLY


def test_a_newer_worker_is_refused_and_the_error_names_the_function_and_what_to_do() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0", version=99))
    assert worker.takes() == [b"quit:"]
    assert bench.run.job.error is not None
    assert "fn" in bench.run.job.error
    assert "lambdaize" in bench.run.job.error


@pytest.mark.parametrize("greeting", [b"HELLO", b"OK:HELLO:{", b"OK:HELLO:[]", b'OK:HELLO:{"version":"x"}'])
def test_a_bad_greeting_drops_that_connection_only(greeting: bytes) -> None:
    bench = Bench(tasks=1)
    stranger = bench.worker()
    stranger.says(greeting)
    assert stranger.closed
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(b"OK:ECHO(hi)")
    assert bench.run.counts.done == 1


def test_who_never_greets_is_dropped() -> None:
    bench = Bench(tasks=1)
    silent = bench.worker()
    bench.clock.pump([1.0] * 32)
    assert silent.closed


def test_a_lost_worker_fails_its_task_with_the_reason() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.session.disconnected("reset by the peer")
    bench.turn()
    assert "Echo" in bench.run.job.failures[0]
    assert "its worker was lost: reset by the peer" in bench.run.job.failures[0]
    assert bench.finished == [None]


def test_no_worker_in_time_stops_launching_and_brings_the_diagnosis() -> None:
    bench = Bench()
    bench.clock.pump([1.0] * 60)
    assert bench.stopped
    assert bench.diagnoses == 1
    assert bench.run.job.error == "no worker reached us: ImportError"
    assert bench.finished == [None]


def test_what_cannot_be_launched_at_all_ends_the_job_with_the_reason() -> None:
    bench = Bench(cannot_launch=MuError("a function's name is 1 to 256 bytes"))
    assert bench.finished == [None]
    assert bench.run.job.error == "a function's name is 1 to 256 bytes"


def test_an_abort_ends_what_workers_run_and_tells_them_to_quit() -> None:
    bench = Bench()
    worker = bench.worker()
    worker.says(ours("0-0"))
    bench.run.abort("interrupted")
    bench.turn()
    assert worker.takes() == [b"echo:hi", b"kill:", b"quit:"]
    assert bench.finished == [None]


def test_a_script_is_driven_as_states_are() -> None:
    async def task(w: Worker) -> None:
        await w.echo(f"task {w.task}")

    bench = Bench(tasks=1, first=task)
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.takes() == [b"echo:task 0"]
    worker.says(b"OK:ECHO(task 0)")
    assert bench.run.job.error is None


def test_times_hold_each_attempts_states_and_when(tmp_path: Path) -> None:
    clock = Clock()
    times = Attempts(clock, TimesFile(tmp_path / "times").append)
    bench = Bench(tasks=1, attempts=times)
    worker = bench.worker()
    worker.says(ours("0-0"))
    clock.advance(1.5)
    worker.says(b"OK:ECHO(hi)")
    [line] = (tmp_path / "times").read_text().splitlines()
    record = json.loads(line)
    assert (record["task"], record["attempt"], record["outcome"]) == (0, 0, "done")
    assert [seconds for seconds, _ in record["states"]] == [0.0, 1.5]


def test_of_an_attempt_with_too_many_states_the_last_ones_are_kept_up_to_its_error() -> None:
    lines: list[bytes] = []
    machine: Any = SimpleNamespace(text="", outcome=Outcome.RUNNING)
    look = Attempts(Clock(), lines.append).watch(0, 0)
    for number in range(MAX_STATES + 5):
        machine.text = f"0:(state {number})"
        look(machine)
        look(machine)
    machine.text, machine.outcome = "0:(ERROR: it was lost)", Outcome.FAILED
    look(machine)
    [line] = lines
    record = json.loads(line)
    texts = [text for _, text in record["states"]]
    assert (len(texts), texts[0], texts[-1]) == (MAX_STATES, "0:(state 6)", "0:(ERROR: it was lost)")
    assert next(islice(state_lines(record), 1, None)) == "  (6 earlier states were not kept)"


def test_the_event_holds_the_originals_keys_and_ours_only_with_a_job() -> None:
    pem = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
    more: dict[str, Any] = {
        "address": "h",
        "port": 1,
        "ca": pem,
        "pair": KeyPair(pem, pem),
        "bucket": "b",
        "region": "r",
    }
    original = json.loads(job_event(job=None, **more))
    assert original["cacert"] == "QUJD"
    assert set(original) == {
        "mode", "addr", "port", "nonblock", "cacert", "srvcrt", "srvkey", "bucket", "region",
    }  # fmt: skip
    event = json.loads(with_launch_id(job_event(job="j", s3_endpoint="http://s3", **more), "0-7"))
    assert (event["job"], event["launch_id"], event["s3_endpoint"]) == ("j", "0-7", "http://s3")


def test_the_diagnosis_names_address_function_and_the_end_of_the_log() -> None:
    about = {"address": "192.0.2.1", "port": 13579, "function": "fn", "timeout": 30.0, "log_tail": "a\n\nb\n"}
    text = diagnosis(error="Unhandled: ImportError", result="{}", **about)  # type: ignore[arg-type]
    for part in ("no worker reached 192.0.2.1:13579", "fn", "ImportError", "    a\n    b"):
        assert part in text


def test_the_diagnosis_says_what_a_worker_said_that_could_not_reach_us() -> None:
    about = {"address": "192.0.2.1", "port": 13579, "function": "fn", "timeout": 30.0, "log_tail": ""}
    text = diagnosis(error=None, result='{"error": "could not reach"}', **about)  # type: ignore[arg-type]
    assert "said 'could not reach': is 192.0.2.1:13579 open to it" in text
    for odd in ("", "null", "[1]", '{"error": null}', "not json", "[" * 100_000, "9" * 5000):
        assert "function fn ran: is" in diagnosis(error=None, result=odd, **about)  # type: ignore[arg-type]


def test_closing_the_registry_waits_for_the_workers_leave_but_not_for_ever() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    closed: list[object] = []
    worker.abort = lambda: None  # type: ignore[method-assign]
    bench.registry.close().addCallback(closed.append)
    assert worker.takes()[-1] == b"quit:"
    assert closed == []
    bench.clock.advance(1.0)
    assert closed == [None]


@pytest.mark.parametrize(
    ("reply", "again"),
    [
        (b"FAIL:NoSuchKey(retrieving b:k->f from s3: 404 NoSuchKey: gone)", False),
        (b"FAIL:NoSuchFile(uploading f->b:k to s3: No such file or directory)", False),
        (b"FAIL:KeyTooLongError(400)", False),
        (b"FAIL:BadCommand(a command cannot hold a NUL byte)", False),
        (b"FAIL:AccessDenied(403 AccessDenied: no)", True),
        (b"FAIL(retrieving b:k->f from s3: 404 NoSuchKey: gone)", True),
        (b"FAIL(FAIL:NoSuchKey(x))", True),
    ],
)
def test_what_a_worker_says_would_fail_each_time_is_not_tried_again(reply: bytes, again: bool) -> None:
    bench = Bench(tasks=1, retries=2, retry_delay=0.0)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(reply)
    assert bool(bench.run.job.failures) is not again
    assert (bench.finished == [None]) is not again


def test_what_a_command_left_in_the_background_is_a_line_in_the_log() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    with capturedLogs() as logged:
        worker.says(b"INFO:background:a has ended,\x1b[2J but b goes on", b"OK:ECHO(hi)")
    said = [formatEvent(event) for event in logged if event["log_level"].name == "warn"]
    assert said == ["task 0: a has ended,\\x1b[2J but b goes on"]
    assert bench.run.job.error is None


def test_a_silent_worker_is_pinged_and_then_given_up() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    bench.clock.pump([1.0] * 15)
    assert worker.takes() == [b"echo:hi", b"ping:"]
    worker.says(b"OK:PONG()")
    bench.clock.pump([1.0] * 60)
    assert worker.closed
    assert "has not answered 3 pings" in bench.run.job.failures[0]


def test_a_worker_that_redials_is_cleared_and_takes_a_task_again() -> None:
    bench = Bench(tasks=1, retries=3, reruns=5)
    first = bench.worker()
    first.says(ours("0-0"))
    first.abort()
    bench.turn()
    again = bench.worker()
    again.says(ours("j/0-0"))
    assert again.takes() == [b"kill:", b"reset:"]
    again.says(b"OK:ECHO(hi)", b"OK:KILL(1)", ours("j/0-0"))
    bench.clock.pump([1.0] * 2)
    assert again.takes()[0] == b"echo:hi"
    again.says(b"OK:ECHO(hi)")
    assert bench.run.job.error is None
    assert bench.launched == ["0-0"]


TOKENS = LaunchTokens(b"k" * 32, "j")


def bindable(launch_id: str, **more: Any) -> bytes:
    """The greeting of a worker that takes a token."""
    return Greeting(1, launch_id, 1000, 128, supports=("token",), **more).encode()


def bound(bench: Bench) -> WorkerDouble:
    """A worker that has taken the token of launch 0-0, and its task."""
    worker = bench.worker()
    worker.says(bindable("j/0-0"))
    assert worker.takes() == [b"token:" + TOKENS.token("0-0").encode(), b"echo:hi"]
    worker.says(b"OK:TOKEN")
    return worker


@pytest.mark.parametrize(
    "greeting",
    [
        ours("j/0-0"),
        bindable("j/0-0"),
        bindable("j/0-0", redial=True),
        bindable("0-0", redial=True),
        Greeting(1, "j/0-0", redial=True).encode(),
        b"OK:HELLO:" + b'{"version":1,"launch_id":"j/0-0","redial":true}',
        bindable("j/0-0", redial=True, token="x"),
        bindable("j/0-0", redial=True, token="\ud800"),
        bindable("j/0-0", redial=True, token=TOKENS.token("0-1")),
        bindable("j/0-0", redial=True, token=LaunchTokens(b"k" * 32, "other").token("0-0")),
        bindable("j/0-0", redial=True, token=LaunchTokens(b"x" * 32, "j").token("0-0")),
    ],
)
@pytest.mark.parametrize("lost", [False, True])
def test_a_launch_that_a_worker_has_is_not_taken_over_without_its_token(greeting: bytes, lost: bool) -> None:
    bench = Bench(tasks=2, tokens=TOKENS)
    worker = bound(bench)
    if lost:
        worker.abort()
        bench.turn()
    another = bench.worker()
    another.says(greeting)
    assert another.takes() == [b"quit:"]
    assert worker.closed == lost
    back = bench.worker()
    back.says(bindable("j/0-0", redial=True, token=TOKENS.token("0-0")))
    assert back.takes() == [b"kill:", b"reset:"]
    assert worker.closed


def test_a_worker_with_its_token_is_known_after_a_restart_too_and_keeps_it() -> None:
    bench = Bench(tasks=2, tokens=TOKENS)
    back = bench.worker()
    back.says(bindable("j/0-0", redial=True, token=TOKENS.token("0-0")))
    assert back.takes() == [b"kill:", b"reset:"]  # and no other token
    another = bench.worker()
    another.says(bindable("j/0-0", redial=True))
    assert another.takes() == [b"quit:"]


def test_a_worker_lost_before_it_had_the_token_may_come_back_without() -> None:
    bench = Bench(tasks=1, tokens=TOKENS, retries=3)
    worker = bench.worker()
    worker.says(bindable("j/0-0"))
    worker.abort()
    bench.turn()
    again = bench.worker()
    again.says(bindable("j/0-0", redial=True))
    assert again.takes() == [b"token:" + TOKENS.token("0-0").encode(), b"kill:", b"reset:"]


def test_a_worker_without_support_is_sent_no_token_and_comes_back_as_before() -> None:
    bench = Bench(tasks=1, tokens=TOKENS, retries=3)
    worker = bench.worker()
    worker.says(ours("j/0-0"))
    assert worker.takes() == [b"echo:hi"]
    worker.says(b"OK:TOKEN")  # which it was not given
    again = bench.worker()
    again.says(Greeting(1, "j/0-0", 1000, 128, redial=True).encode())
    assert again.takes() == [b"kill:", b"reset:"]
    assert worker.closed


def test_no_token_is_in_the_log_of_a_job_or_of_the_daemon() -> None:
    with capturedLogs() as events:
        kept: list[dict[str, Any]] = []
        clock = Clock()
        bench = Bench(tasks=1, tokens=TOKENS, attempts=Attempts(clock, lambda ends: kept.extend(ends)))
        bound(bench)
        another = bench.worker()
        another.says(bindable("j/0-0", redial=True, token=TOKENS.token("0-1")))
        back = bench.worker()
        back.says(bindable("j/0-0", redial=True, token=TOKENS.token("0-0")))
    told = "".join(f"{formatEvent(event)} {event}" for event in events) + repr(kept) + repr(bench.kept)
    assert TOKENS.token("0-0") not in told
    assert TOKENS.token("0-1") not in told


@pytest.mark.parametrize(
    ("reply", "kind", "said"),
    [
        (b"OK:RETVAL(-9):OUTPUT():COMMAND(x)", Failure.EXIT, "probably out of memory"),
        (b"OK:RETVAL(137):OUTPUT():COMMAND(x)", Failure.EXIT, "probably out of memory"),
        (b"OK:RETVAL(3):OUTPUT(bad):COMMAND(x)", Failure.EXIT, "the command ended with exit status 3\n    bad"),
        (b"OK:RETVAL(-11):OUTPUT():COMMAND(x)", Failure.EXIT, "the command was killed by SIGSEGV"),
        (b"FAIL:NoSuchKey(gone)", Failure.HOPELESS, "gone"),
        (b"FAIL(no space left)", Failure.REPLY, "no space left"),
        (b"FAIL(the peer channel to h:1 was lost: reset)", Failure.CHANNEL, "was lost"),
        (b"FAIL(could not connect to h:1: Connection refused)", Failure.CHANNEL, "refused"),
        (b"FAIL(rendezvous: FULL)", Failure.CHANNEL, "FULL"),
        (b"FAIL(sending 5/a: b: no link to the rendezvous at h:1: refused)", Failure.CHANNEL, "no link"),
        (b"FAIL(receiving */x: rendezvous: job j is over)", Failure.CHANNEL, "is over"),
        (b"FAIL(sending 5/x: no such file)", Failure.REPLY, "no such file"),
        (b"FAIL(sending 5/x: task 3's program is not deterministic)", Failure.DIFFERS, "deterministic"),
        (b"FAIL(STATE(1) came again and differs: the program is not deterministic)", Failure.DIFFERS, "STATE(1)"),
        (b"OK:WHAT", Failure.MACHINE, "expected"),
    ],
)
def test_what_a_task_failed_of_is_told_apart(reply: bytes, kind: Failure, said: str) -> None:
    async def task(w: Worker) -> None:
        await w.run("x")

    machine = Machine(task)
    machine.receive([b"OK:HELLO"])
    machine.receive([reply])
    found, status, error = failure_of(machine)
    assert found is kind
    assert (status is not None) == (kind is Failure.EXIT)
    assert said in error


def test_a_task_with_peers_gets_its_keys_before_anything_else_and_knows_its_attempt() -> None:
    submission: list[TaskIdentity] = []

    def issue(identity: TaskIdentity) -> KeyPair:
        submission.append(identity)
        pem = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
        return KeyPair(pem, pem)

    async def task(w: Worker) -> None:
        await w.connect(1)

    bench = Bench(tasks=1, first=task, peers=Peers("j", ["h:1"], issue), retries=2, retry_delay=0.0)
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.takes() == [b"identity:QUJD QUJD", b"connect:h:1:HELLO_STATE2:j:0:1:0:0"]
    worker.says(b"OK:IDENTITY", b"FAIL(rendezvous: refused)")
    bench.clock.pump([1.0] * 3)
    assert worker.takes() == [b"reset:"]
    worker.says(ours("0-0"))
    bench.clock.pump([1.0] * 3)
    assert worker.takes() == [b"identity:QUJD QUJD", b"connect:h:1:HELLO_STATE2:j:0:1:1:0"]
    assert submission == [TaskIdentity("j", 0, 0), TaskIdentity("j", 0, 1)]
    worker.says(b"OK:IDENTITY", b"OK:CONNECT(x)")
    assert bench.run.job.error is None


def test_an_original_worker_is_sent_no_keys_and_has_peers_only_with_a_shared_key() -> None:
    async def task(w: Worker) -> None:
        await w.connect(1)

    pem = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
    bench = Bench(tasks=1, first=task, peers=Peers("j", ["h:1"], lambda identity: KeyPair(pem, pem)))
    worker = bench.worker()
    worker.says(b"OK:HELLO")
    assert worker.takes() == [b"quit:"]
    assert bench.run.job.error is not None
    assert "a worker of the original's" in bench.run.job.error

    bench = Bench(tasks=1, first=task, peers=Peers("j", ["h:1"], None))
    worker = bench.worker()
    worker.says(b"OK:HELLO")
    assert worker.takes() == [b"connect:h:1:HELLO_STATE:j:0:1"]


def with_links(launch_id: str) -> bytes:
    return Greeting(1, launch_id, 1000, 128, supports=("links",)).encode()


async def sends_one(w: Worker) -> None:
    await w.send(1, "x", "f")
    await w.receive(1, "y")


def linked(**more: Any) -> Bench:
    pem = b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n"
    peers = Peers("j", ["h:1"], lambda identity: KeyPair(pem, pem))
    return Bench(**{"tasks": 2, "first": sends_one, "peers": peers, **more})


def test_a_worker_that_takes_named_messages_learns_first_where_the_rendezvous_is() -> None:
    bench = linked(messages=lambda _, task: [1 - task])
    worker = bench.worker()
    worker.says(with_links("0-0"))
    assert worker.takes() == [b"identity:QUJD QUJD", b"link:h:1:j:0:0", b"send:1:x\0f"]
    worker.says(b"OK:IDENTITY", b"OK:LINK", b"OK:SEND(1/x)")
    assert worker.takes() == [b"receive:1:y\0##TMPDIR##/1.y"]
    worker.says(b'INFO:waits:[[1,"y",1]]')
    assert [view.waits for view in bench.run.job.tasks()] == ["waits for 'y' of task 1, which has no worker yet", ""]
    assert bench.run.job.waits_for == "task 0 waits for 'y' of task 1, which has no worker yet"
    worker.says(b"INFO:waits:[]")
    assert bench.run.job.waits_for is None
    worker.says(b"OK:RECEIVE(1/y)")
    assert bench.run.job.counts().done == 1


@pytest.mark.parametrize(
    "waits", [b"[", b"[[1]]", b'[["1","x",1]]', b'[[1,"a\\nb",1]]', b"[" + b'[1,"x",1],' * 17 + b"[1]]", b"[" * 9999]
)
def test_what_a_worker_says_of_its_waits_is_checked(waits: bytes) -> None:
    bench = linked()
    worker = bench.worker()
    worker.says(with_links("0-0"))
    worker.says(b"INFO:waits:" + waits)
    assert bench.run.job.waits_for is None
    assert not worker.closed


def test_a_workers_variable_of_that_name_is_still_the_tasks() -> None:
    async def task(w: Worker) -> None:
        w.extra = str(await w.geti("waits"))

    bench = Bench(tasks=1, first=task)
    worker = bench.worker()
    worker.says(with_links("0-0"))
    worker.says(b"INFO:waits:7", b"OK:GETI(7)")
    assert bench.run.job.counts().done == 1


def test_states_that_exchange_states_cannot_be_driven_on_a_worker_of_0_1_0() -> None:
    bench = linked(first=Echo, consumes=lambda _, task: [1 - task])
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.takes() == [b"quit:"]
    assert "does not find the states that a ported pipeline's commands make" in (bench.run.job.error or "")
    assert "`mu lambdaize --replace`" in (bench.run.job.error or "")
    # One of this version can, and one of 0.1.0 can run scripts, which say which of their runs make states.
    bench = linked(first=Echo, consumes=lambda _, task: [1 - task])
    worker = bench.worker()
    worker.says(bindable("0-0"))
    assert b"quit:" not in worker.takes()
    bench = linked(consumes=lambda _, task: [1 - task])
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert b"quit:" not in worker.takes()


def test_a_job_of_named_messages_cannot_be_served_by_an_older_worker() -> None:
    bench = linked(messages=lambda _, task: [1 - task])
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.takes() == [b"quit:"]
    assert "cannot send named messages" in (bench.run.job.error or "")
    # Where it may only have some (consumes=), it is found out by the first.
    bench = linked(consumes=lambda _, task: [1 - task], retries=0)
    worker = bench.worker()
    worker.says(ours("0-0"))
    assert worker.takes()[:1] == [b"identity:QUJD QUJD"]
    assert "make the function again" in bench.run.job.failures[0]

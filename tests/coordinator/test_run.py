"""Hall, sessions and a job's run together, with workers in memory and a clock that stands still."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from worker_double import WorkerDouble, launch_identity, ours

from mu_twisted.coordinator import Hall, JobRun, StateTimes, diagnosis, job_event, with_launch_id
from mu_twisted.fsm import CommandListState, MachineState, TerminalState, Worker
from mu_twisted.jobs import Job
from mu_twisted.launch import LaunchOutcome
from mu_twisted.pipelines import Pipeline
from mu_twisted.tls import Identity, KeyPair, RoleIdentity
from mu_twisted.wire import MAX_LEGACY_REPLY, MAX_REPLY, MuError


class Echo(CommandListState):
    """One echo, one end."""

    commandlist = [("OK:HELLO", "echo:hi"), ("OK:ECHO(hi)", None)]
    nextState = TerminalState


class Breaks(MachineState):
    """A mistake in a state's constructor."""

    def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        raise ZeroDivisionError("by me")


class Bench:
    """A hall with one job in it."""

    def __init__(
        self,
        tasks: int = 2,
        first: Any = Echo,
        *,
        shared_key: bool = False,
        cannot_launch: MuError | None = None,
        **more: Any,
    ) -> None:
        self.cannot_launch = cannot_launch
        self.clock = Clock()
        self.hall = Hall(self.clock, shared_key=shared_key)
        self.hall.open()
        self.launched: list[str] = []
        self.stopped = 0
        self.diagnoses = 0
        self.run = JobRun(
            self.clock,
            Job("j", range(tasks), start_timeout=5.0),
            Pipeline(name="p", summary="", first=first),
            {"function": "fn"},
            launching=self._launching,
            stop_launching=self._stop,
            diagnose=self._diagnose,
            **more,
        )
        self.finished: list[None] = []
        self.run.finished.addCallback(self.finished.append)
        self.hall.add(self.run)
        self.run.start()

    def _launching(self, ids: Sequence[str], on_outcome: Callable[[LaunchOutcome], None]) -> Deferred[None]:
        if self.cannot_launch is not None:
            raise self.cannot_launch
        self.launched += ids
        for launch_id in ids:
            on_outcome(LaunchOutcome(launch_id, True, 202, ""))
        return succeed(None)

    def _stop(self) -> None:
        self.stopped += 1

    async def _diagnose(self) -> str:
        self.diagnoses += 1
        return "nobody reached us: ImportError"

    def worker(self, identity: Identity | None = None) -> WorkerDouble:
        return WorkerDouble(self.hall.new_session(), identity or launch_identity())

    def stranger(self) -> WorkerDouble:
        return WorkerDouble(self.hall.new_session(), None)


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


def test_a_greeting_and_replies_in_one_read_lose_nothing() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"), b"OK:ECHO(hi)")
    assert bench.run.counts.done == 1


def test_replies_to_the_sessions_own_commands_never_reach_the_machine() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(b"OK:PONG(1)", b"OK:KILL(0)")
    assert bench.run.counts.active == 1
    worker.says(b"OK:ECHO(hi)")
    assert bench.run.counts.done == 1


def test_a_worker_that_is_done_is_warmed_for_a_task_that_waits_and_old_replies_are_dropped() -> None:
    bench = Bench(tasks=2)
    worker = bench.worker()
    worker.says(ours("0-0"))
    worker.says(b"OK:ECHO(hi)")
    assert worker.takes() == [b"echo:hi", b"reset:"]
    worker.says(b"OK:ECHO(late)", ours("0-0"))
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


@pytest.mark.parametrize("identity", [launch_identity("another"), RoleIdentity("rendezvous")])
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
    worker.says(ours("0-0"), b"OK:ECHO(hi)")
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
    assert "Echo" in bench.run.job.failures[0]
    assert "its worker was lost: reset by the peer" in bench.run.job.failures[0]
    assert bench.finished == [None]


def test_nobody_in_time_stops_launching_and_brings_the_diagnosis() -> None:
    bench = Bench()
    bench.clock.pump([1.0] * 6)
    assert bench.stopped
    assert bench.diagnoses == 1
    assert bench.run.job.error == "nobody reached us: ImportError"
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
    times = StateTimes(tmp_path / "times", clock)
    bench = Bench(tasks=1, times=times)
    worker = bench.worker()
    worker.says(ours("0-0"))
    clock.advance(1.5)
    worker.says(b"OK:ECHO(hi)")
    [line] = (tmp_path / "times").read_text().splitlines()
    record = json.loads(line)
    assert (record["task"], record["attempt"], record["outcome"]) == (0, 0, "done")
    assert [seconds for seconds, _ in record["states"]] == [0.0, 1.5]


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
    for part in ("nobody reached 192.0.2.1:13579", "fn", "ImportError", "    a\n    b"):
        assert part in text


def test_the_diagnosis_says_what_a_worker_said_that_could_not_reach_us() -> None:
    about = {"address": "192.0.2.1", "port": 13579, "function": "fn", "timeout": 30.0, "log_tail": ""}
    text = diagnosis(error=None, result='{"error": "could not reach"}', **about)  # type: ignore[arg-type]
    assert "said 'could not reach': is 192.0.2.1:13579 open to it" in text
    for odd in ("", "null", "[1]", '{"error": null}', "not json"):
        assert "function fn ran: is" in diagnosis(error=None, result=odd, **about)  # type: ignore[arg-type]


def test_closing_the_hall_waits_for_the_workers_leave_but_not_for_ever() -> None:
    bench = Bench(tasks=1)
    worker = bench.worker()
    worker.says(ours("0-0"))
    closed: list[object] = []
    worker.abort = lambda: None  # type: ignore[method-assign]
    bench.hall.close().addCallback(closed.append)
    assert worker.takes()[-1] == b"quit:"
    assert closed == []
    bench.clock.advance(1.0)
    assert closed == [None]

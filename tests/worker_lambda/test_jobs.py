"""Jobs where the system gives nothing more: a reason, and the worker goes on."""

import os
import resource
import selectors
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker_lambda._errors import CommandFailure
from worker_lambda.programs import CommandRuns
from worker_lambda.programs._command_runs import MAX_PROGRAMS
from worker_lambda.programs.program import Program


@pytest.fixture
def selector() -> Iterator[selectors.BaseSelector]:
    with selectors.DefaultSelector() as made:
        yield made


@pytest.fixture
def jobs(selector: selectors.BaseSelector, tmp_path: Path) -> Iterator[CommandRuns]:
    made = CommandRuns(selector, tmp_path)
    yield made
    made.close(10)


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # those that are open stay
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_threads() -> Iterator[None]:
    before = threading.stack_size(1 << 46)  # more than there is address space
    try:
        yield
    finally:
        threading.stack_size(before)


def turn(selector: selectors.BaseSelector, jobs: CommandRuns, until: Callable[[], bool]) -> None:
    """The loop, as far as jobs need it."""
    while not until():
        wait = jobs.tick()
        for key, events in selector.select(wait) if not until() else ():
            key.data(events)


def test_without_descriptors_neither_programs_nor_transfers_begin_and_both_do_later(
    selector: selectors.BaseSelector, jobs: CommandRuns
) -> None:
    ended: list[object] = []
    with no_descriptors():
        with pytest.raises(CommandFailure, match="could not start the command: Too many open files"):
            jobs.run(b"true", ended.append)
        with pytest.raises(CommandFailure, match="could not start the transfer: Too many open files"):
            jobs.transfer(lambda _: None, ended.append)
    assert jobs.active == 0
    jobs.run(b"true", ended.append)
    jobs.transfer(lambda _: None, ended.append)
    turn(selector, jobs, lambda: len(ended) == 2)
    assert None in ended
    assert any(isinstance(each, Program) and each.result() == (0, b"") for each in ended)


def test_without_threads_a_transfer_fails_and_the_next_one_begins(
    selector: selectors.BaseSelector, jobs: CommandRuns
) -> None:
    done: list[str | None] = []
    with no_threads(), pytest.raises(CommandFailure, match="no more threads can be had"):
        jobs.transfer(lambda _: None, done.append)
    assert jobs.active == 0
    jobs.transfer(lambda _: None, done.append)
    turn(selector, jobs, lambda: bool(done))
    assert done == [None]


def test_where_one_thread_is_all_there_is_transfers_wait_for_it(
    selector: selectors.BaseSelector, jobs: CommandRuns
) -> None:
    done: list[str | None] = []
    go = threading.Event()
    jobs.transfer(lambda _: go.wait(180) and None, done.append)
    with no_threads():
        jobs.transfer(lambda _: None, done.append)
    go.set()
    turn(selector, jobs, lambda: len(done) == 2)
    assert done == [None, None]


def test_a_fault_in_a_transfer_is_that_transfers_failure(selector: selectors.BaseSelector, jobs: CommandRuns) -> None:
    done: list[str | None] = []
    jobs.transfer(lambda _: [][0], done.append)
    turn(selector, jobs, lambda: bool(done))
    assert done == ["IndexError: list index out of range"]


HOLDING = [
    b"sleep 600 & echo started",
    b"(sleep 600 &); echo started",
    b"echo started; setsid sleep 600 & true",
    b"echo started; env -i setsid sleep 600 & exit 0",
    b"nohup sleep 600 2>&1 & echo started",
    b"echo started; (sleep 600; true) 1>/dev/null & true",
]


@pytest.mark.parametrize("command", HOLDING)
def test_a_background_program_that_holds_the_output_is_not_waited_for(
    selector: selectors.BaseSelector, tmp_path: Path, command: bytes
) -> None:
    jobs = CommandRuns(selector, tmp_path, background=0.05)
    ended: list[Program] = []
    jobs.run(command, ended.append)
    turn(selector, jobs, lambda: bool(ended))
    [program] = ended
    assert program.result() == (0, b"started\n")
    assert b"holds its output" in program.remark
    assert program.remark.startswith(command)
    assert jobs.active == 0
    reading = program.output
    jobs.kill()
    turn(selector, jobs, lambda: reading not in selector.get_map())
    jobs.close(10)


def test_one_that_closes_the_output_soon_is_waited_for(selector: selectors.BaseSelector, tmp_path: Path) -> None:
    jobs = CommandRuns(selector, tmp_path, background=60.0)
    ended: list[Program] = []
    jobs.run(b"(sleep 0.1; echo late) & echo now", ended.append)
    turn(selector, jobs, lambda: bool(ended))
    assert ended[0].result() == (0, b"now\nlate\n")
    assert ended[0].remark == b""
    jobs.close(10)


def test_a_long_command_is_waited_for_and_its_status_kept(selector: selectors.BaseSelector, tmp_path: Path) -> None:
    jobs = CommandRuns(selector, tmp_path, background=0.0)
    ended: list[Program] = []
    jobs.run(b"sleep 0.2; echo done; exit 3", ended.append)
    turn(selector, jobs, lambda: bool(ended))
    assert ended[0].result() == (3, b"done\n")
    assert ended[0].remark == b""
    jobs.close(10)


def test_one_that_was_not_waited_for_goes_on_and_may_write(selector: selectors.BaseSelector, tmp_path: Path) -> None:
    jobs = CommandRuns(selector, tmp_path, background=0.0)
    ended: list[Program] = []
    os.mkfifo(tmp_path / "go")
    jobs.run(b"(cat go; head -c 300000 /dev/zero && echo well > done) & echo started", ended.append)
    turn(selector, jobs, lambda: bool(ended))
    assert ended[0].result() == (0, b"started\n")
    (tmp_path / "go").write_bytes(b"now")
    reading = ended[0].output
    turn(selector, jobs, lambda: reading not in selector.get_map())
    assert (tmp_path / "done").read_text() == "well\n"
    assert ended[0].result() == (0, b"started\n")
    jobs.close(10)


def test_programs_that_are_not_waited_for_are_counted(selector: selectors.BaseSelector, tmp_path: Path) -> None:
    jobs = CommandRuns(selector, tmp_path, background=0.0)
    ended: list[Program] = []
    for number in range(20):
        jobs.run(b"sleep 600 & echo started", ended.append)
        turn(selector, jobs, lambda number=number: len(ended) > number)
    outputs = {program.output for program in ended}
    assert len(outputs & set(selector.get_map())) == 20
    jobs.drop()
    assert not outputs & set(selector.get_map())
    assert jobs.programs == 0
    jobs.close(10)


@pytest.mark.long
def test_no_more_programs_are_left_behind_than_may_run(selector: selectors.BaseSelector, tmp_path: Path) -> None:
    jobs = CommandRuns(selector, tmp_path, background=0.0)
    ended: list[Program] = []
    for _ in range(MAX_PROGRAMS):
        jobs.run(b"sleep 600 & exit 0", ended.append)
    turn(selector, jobs, lambda: len(ended) == MAX_PROGRAMS)
    assert jobs.programs == 0
    with pytest.raises(CommandFailure, match=f"{MAX_PROGRAMS} programs are running, that is the limit"):
        jobs.run(b"true", ended.append)
    jobs.kill()
    turn(selector, jobs, lambda: not {program.output for program in ended} & set(selector.get_map()))
    jobs.run(b"true", ended.append)
    turn(selector, jobs, lambda: len(ended) > MAX_PROGRAMS)
    jobs.close(10)


def test_where_it_is_not_said_all_holders_are_waited_for(selector: selectors.BaseSelector, jobs: CommandRuns) -> None:
    ended: list[Program] = []
    jobs.run(b"(sleep 0.3; echo late) & echo now", ended.append)
    turn(selector, jobs, lambda: bool(ended))
    assert ended[0].result() == (0, b"now\nlate\n")
    assert ended[0].remark == b""

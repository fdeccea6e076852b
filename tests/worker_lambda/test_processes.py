"""Which processes are a program's, and that ending them takes no other program's exit status away."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from worker_lambda.programs import _processes
from worker_lambda.programs.program import Program

Begin = Callable[[str], tuple[Program, int]]


@pytest.fixture
def mark() -> str:
    return os.urandom(12).hex()


@pytest.fixture
def begin(mark: str, tmp_path: Path) -> Iterator[Begin]:
    """Start a command that writes a process id as its first line; return the program and that number."""
    started: list[Program] = []

    def start(command: str) -> tuple[Program, int]:
        program = Program(command.encode(), tmp_path, mark)
        started.append(program)
        os.set_blocking(program.output, True)
        return program, int(os.read(program.output, 100))

    yield start
    _processes.end(mark, [each.group for each in started if each.group], [each.output for each in started])
    for each in started:
        each.close()


def exited(program: Program) -> None:
    """Wait for the shell's exit, and leave its status where it is."""
    assert program.group is not None
    os.waitid(os.P_PID, program.group, os.WEXITED | os.WNOWAIT)


def test_one_in_a_session_of_its_own_is_found_by_the_mark(begin: Begin, mark: str) -> None:
    program, process = begin("setsid sh -c 'echo $$; exec sleep 600 >/dev/null 2>&1' &")
    exited(program)
    while Path(f"/proc/{process}/exe").resolve().name != "sleep":  # its environment cannot be read meanwhile
        pass
    assert _processes.find(mark) == {process: process}


def test_one_that_cleared_its_environment_is_found_by_the_output_that_it_holds(begin: Begin, mark: str) -> None:
    program, process = begin("env -i setsid sh -c 'echo $$; exec sleep 600' &")
    assert process in _processes.find(mark, outputs=[program.output])


def test_one_that_has_neither_is_found_by_its_descent(begin: Begin, mark: str) -> None:
    program, process = begin("env -i setsid sh -c 'echo $$; exec sleep 600 >/dev/null 2>&1' & wait")
    assert program.group is not None
    assert process in _processes.find("no mark", [program.group])


def test_no_other_process_is_found_or_ended(begin: Begin, mark: str) -> None:
    program, _ = begin("echo $$; sleep 600")
    with subprocess.Popen(["sleep", "600"]) as bystander:
        assert bystander.pid not in _processes.find(mark, [program.group or 0], [program.output])
        assert os.getpid() not in _processes.find(mark, [program.group or 0], [program.output])
        _processes.end(mark, [program.group or 0], [program.output])
        assert bystander.poll() is None
        bystander.kill()


def test_ending_leaves_the_shells_exit_status_to_who_waits_for_it(begin: Begin, mark: str) -> None:
    for _ in range(30):  # it was a race that a few in a hundred lost
        program, _ = begin("echo $$; sleep 600 & sleep 600")
        assert _processes.end(mark, [program.group or 0], [program.output]) == {program.group}
        exited(program)
        assert program.poll() == -9


def test_all_groups_that_were_met_are_told(begin: Begin, mark: str) -> None:
    program, process = begin("setsid sh -c 'echo $$; exec sleep 600' & wait")
    assert _processes.end(mark, [program.group or 0]) == {program.group, process}
    assert _processes.find(mark) == {}

"""Jobs under faults, one run of each kind; ``make chaos`` does many and larger ones."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from chaos_journal import read
from chaos_runs import FILM_TWISTS, Shuffle, run_chain, run_commands, run_film, run_gang, run_shuffle
from chaos_stage import Stage, until
from chaos_tree import Process, send, state, tree

pytestmark = [pytest.mark.process, pytest.mark.long]


@pytest.fixture
def dice() -> random.Random:
    """Other faults in each run; the seed is shown where a test fails."""
    seed = random.SystemRandom().randrange(10**6)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


def test_commands_on_few_workers_come_to_the_serial_references_bytes(stage: Stage, dice: random.Random) -> None:
    run_commands(stage, dice, "exec", tasks=48, workers=8, pause=0.3, again=1)


def test_a_chain_of_encoders_comes_to_the_serial_references_bytes(stage: Stage, dice: random.Random) -> None:
    stage.open_xcenc(0.2)
    run_chain(stage, dice, "xcenc", tasks=8, again=2)


def test_tasks_that_exchange_parts_come_to_the_serial_references_bytes(stage: Stage, dice: random.Random) -> None:
    stage.open_shuffle(0.2)
    run_shuffle(stage, dice, "shuffle", tasks=8, again=2)


def test_commands_joined_by_pipes_come_to_the_serial_references_bytes(stage: Stage, dice: random.Random) -> None:
    run_gang(stage, dice, "gang", tasks=8, again=2)


@pytest.mark.parametrize("twist", FILM_TWISTS)
def test_a_graph_comes_to_the_serial_runs_bytes(stage: Stage, dice: random.Random, twist: str) -> None:
    stage.open_film(0.2)
    run_film(stage, dice, f"film-{twist}", again=2, twist=twist)


@pytest.mark.long
@pytest.mark.parametrize(("kind", "run"), [("shuffle", run_shuffle), ("gang", run_gang)])
def test_direct_paths_that_are_cut_between_workers_that_live_change_no_byte(
    stage: Stage, dice: random.Random, kind: str, run: Callable[..., object]
) -> None:
    stage.open_shuffle(0.2)
    run(stage, dice, f"cut-{kind}", tasks=12, again=2, twist="cut-paths")


@pytest.mark.long
@pytest.mark.parametrize("peer", ["auto", "relay"])
def test_one_of_16_killed_after_its_last_ack_costs_two_attempts_at_most(stage: Stage, peer: str) -> None:
    stage.open_shuffle(0.2)
    work = Shuffle(stage, f"killed-{peer}", tasks=16)
    with stage.submitted(work.kind, *work.words, "--peer", peer) as (job, waiting):
        found: list[Process] = []
        until(lambda: found.extend(_halted_merger(stage, job)) or found, "a worker has sent and received all")
        for each in found:
            send(each.pid, signal.SIGKILL)
        out, err = waiting.communicate(timeout=180)
    assert waiting.returncode == 0, out + err
    story = read(stage.state_dir, job)
    assert [record["outcome"] for record in story.ended.values()].count("failed") == 1
    assert 17 <= story.attempts <= 18
    work.compare(job)


def _halted_merger(stage: Stage, job: str) -> list[Process]:
    """A worker that merges what it has got from all others, which have got theirs from it, and the shell that it runs
    for that, which is halted: so it is not through before it is killed. Empty: none is found."""
    found = tree(stage.stack_pid)
    for worker in found.workers(job).values():
        for shell in found.children(worker.pid):
            with suppress(OSError):
                if b"records merge" in Path(f"/proc/{shell.pid}/cmdline").read_bytes():
                    send(shell.pid, signal.SIGSTOP)
                    until(lambda pid=shell.pid: state(pid) in ("T", "Z", ""), "it is halted, or has ended")
                    if state(shell.pid) == "T":
                        return [worker, shell]
    return []

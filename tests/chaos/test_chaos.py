"""Jobs under faults, one run of each kind; ``make chaos`` does many and larger ones."""

from __future__ import annotations

import random
import sys

import pytest
from chaos_runs import FILM_TWISTS, run_chain, run_commands, run_film, run_gang, run_shuffle
from chaos_stage import Stage

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

"""Runs under faults: ``python tests/chaos --runs 50 --seed 7``."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

from chaos_runs import (
    EXEC_TWISTS,
    FILM_TWISTS,
    GANG_TWISTS,
    SHUFFLE_TWISTS,
    XCENC_TWISTS,
    run_chain,
    run_commands,
    run_film,
    run_gang,
    run_shuffle,
)
from chaos_stage import Stage

KINDS = {
    "exec": EXEC_TWISTS,
    "xcenc": XCENC_TWISTS,
    "shuffle": SHUFFLE_TWISTS,
    "gang": GANG_TWISTS,
    "film": FILM_TWISTS,
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill workers and daemons; results must be those of a serial run.")
    parser.add_argument("--runs", type=int, default=50, help="of each kind (default: 50)")
    parser.add_argument("--seed", type=int, help="makes the same choices again (default: of the time)")
    parser.add_argument(
        "--only",
        metavar="KIND[:TWIST]",
        choices=(*KINDS, *(f"{kind}:{twist}" for kind, twists in KINDS.items() for twist in twists)),
        help="one kind of round only, or one of its twists: "
        + "; ".join(f"{kind}: {', '.join(twists)}" for kind, twists in KINDS.items()),
    )
    parser.add_argument("--keep", action="store_true", help="leave the directory with logs and journal")
    options = parser.parse_args()
    seed = int(time.time()) if options.seed is None else options.seed
    _say(f"chaos: {options.runs} runs, seed {seed}")
    directory = Path(tempfile.mkdtemp(prefix="mu-chaos-"))
    failed = 0
    wanted, _, only = (options.only or "").partition(":")
    kinds = [wanted] if wanted else list(KINDS)
    stage = Stage(directory)
    try:
        stage.open()
        if "xcenc" in kinds:
            stage.open_xcenc(0.3)
        if "shuffle" in kinds:
            stage.open_shuffle(0.3)
        if "film" in kinds:
            stage.open_film(0.3)
        for number in range(options.runs):
            for kind in kinds:
                twist = only or in_turn(seed, kind, number)
                failed += not _run(stage, kind, twist, number, random.Random(f"{seed}/{kind}/{number}"))
    finally:
        stage.close()
        if failed or options.keep:
            _say(f"logs and journal are in {directory}")
        else:
            shutil.rmtree(directory)
    _say(f"chaos: {failed} of {options.runs * len(kinds)} runs failed (seed {seed})")
    return 1 if failed else 0


def in_turn(seed: int, kind: str, number: int) -> str:
    """The twist of a round: each comes once in as many rounds of a kind as there are, in an order of the seed's."""
    twists = list(KINDS[kind])
    random.Random(f"{seed}/{kind}").shuffle(twists)
    return twists[number % len(twists)]


def _run(stage: Stage, kind: str, twist: str, number: int, dice: random.Random) -> bool:
    again = dice.choice([2, 4, 8])
    try:
        if kind == "exec":
            told = run_commands(
                stage, dice, f"exec-{number}", tasks=200, workers=8, pause=0.2, again=again, twist=twist
            )
        elif kind == "shuffle":
            told = run_shuffle(stage, dice, f"shuffle-{number}", tasks=12, again=again, twist=twist)
        elif kind == "gang":
            told = run_gang(stage, dice, f"gang-{number}", tasks=16, again=again, twist=twist)
        elif kind == "film":
            told = run_film(stage, dice, f"film-{number}", again=again, twist=twist)
        else:
            told = run_chain(stage, dice, f"xcenc-{number}", tasks=16, again=again, twist=twist)
    except Exception as error:  # noqa: BLE001 - told here, and the next run shows whether it is alone
        _say(f"{number:3} FAILED {kind} {twist}: {error}")
        if not isinstance(error, AssertionError):
            _say(traceback.format_exc())
        return False
    _say(f"{number:3} {told}")
    return True


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

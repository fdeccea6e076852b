"""What the original did on the wire, played to our worker, over plain TCP and over TLS."""

import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mu_twisted.tls import Authority

VECTORS = Path(__file__).resolve().parent.parent / "vectors"
ROOT = VECTORS.parent.parent
PARALLEL = 2
LIMITS = ("--timeout", "120", "--exit-wait", "120")
"""Of the replayer: whether a worker is quick enough is no question here."""
TLS_STEP = 12
"""Of so many scenarios that go either way one is played over TLS as well: what differs there is the connection."""


def _scenarios() -> list[dict]:
    every = json.loads((VECTORS / "worker.json").read_text(encoding="utf-8"))["scenarios"]
    return [scenario for scenario in every if scenario.get("replay", True)]


def _cases() -> list[tuple[str, str]]:
    cases = []
    for number, scenario in enumerate(_scenarios()):
        only = scenario.get("transport")
        cases += [("plain", scenario["id"])] if only != "tls-only" else []
        over_tls = only == "tls-only" or (only != "plain-only" and number % TLS_STEP == 0)
        cases += [("tls", scenario["id"])] if over_tls else []
    return cases


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], str]:
    """What each scenario came to, by transport and id: ``ok``, or the mismatch. Played by several replayers at once."""
    directory = tmp_path_factory.mktemp("replay")
    authority = Authority.generate()
    ours = authority.issue(None, lifetime=timedelta(hours=1))
    for name, content in (("ca", authority.certificate), ("cert", ours.certificate), ("key", ours.key)):
        (directory / name).write_bytes(content)
    players = []
    for transport in ("plain", "tls"):
        ids = [case for kind, case in _cases() if kind == transport]
        tls = ["--tls", *(str(directory / name) for name in ("ca", "cert", "key"))] if transport == "tls" else []
        for share in range(PARALLEL):
            command = [
                *(sys.executable, str(VECTORS / "replay_worker.py"), str(VECTORS / "worker.json"), "-v"),
                *("--launch", f"{sys.executable} -m worker_lambda {{event}} {{cmd}}", "--s3-endpoint", *tls),
                *("--profile", "protocol", "--only", ",".join(ids[share::PARALLEL]), *LIMITS),
            ]
            environment = {**os.environ, "TMPDIR": str(directory)}
            player = subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            players.append((transport, player))
    found: dict[tuple[str, str], str] = {}
    for transport, player in players:
        out, _ = player.communicate(timeout=600)
        for verdict, scenario, text in re.findall(r"^(ok|BAD|info) +([\w-]+):?(.*(?:\n {6}.*)*)$", out, re.M):
            found[transport, scenario] = "ok" if verdict == "ok" else f"{verdict}:{text}"
    return found


@pytest.mark.parametrize(("transport", "scenario"), _cases())
def test_worker_answers_as_the_recorded_one(
    outcomes: dict[tuple[str, str], str], transport: str, scenario: str
) -> None:
    outcome = outcomes.get((transport, scenario), "BAD: the replayer did not come to it")
    # ``info`` are faults of the original and open points: ours may differ, but must not have crashed.
    assert outcome == "ok" or (outcome.startswith("info:") and "connection ended" not in outcome), outcome

"""The file of attempts' states, on disks that fill and machines that stop in the middle of a line."""

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from property_examples import SHARED_FIXTURES, examples
from twisted.internet.task import Clock

from mu_twisted.coordinator import AttemptFile, Attempts
from mu_twisted.coordinator.run._attempts import MAX_PEERS, MAX_TEXTS
from mu_twisted.fsm import Outcome
from mu_twisted.wire.byte_counts import ByteCounts


def line(attempt: int) -> bytes:
    return json.dumps({"task": 1, "attempt": attempt, "states": [[0.0, "1:(x)"]]}).encode("ascii") + b"\n"


def attempts(path: Path, task: int = 1) -> list[int]:
    return [found["attempt"] for found in AttemptFile(path).read(task) if found is not None]


@settings(suppress_health_check=SHARED_FIXTURES, max_examples=examples(50))
@given(st.integers(1, len(gzip.compress(line(1), 1)) - 1), st.integers(0, 3))
def test_a_line_that_was_cut_off_costs_no_other(tmp_path: Path, length: int, after: int) -> None:
    path = tmp_path / "attempts.jsonl.gz"
    path.unlink(missing_ok=True)
    file = AttemptFile(path)
    file.append(line(0))
    with path.open("ab") as end:
        end.write(gzip.compress(line(1), 1)[:length])
    for attempt in range(after):
        file.append(line(2 + attempt))
    assert attempts(path) == [0, *range(2, 2 + after)]


def test_damage_in_a_long_file_costs_what_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "attempts.jsonl.gz"
    file = AttemptFile(path)
    for attempt in range(600):
        file.append(line(attempt))
    whole = path.read_bytes()
    assert len(whole) > 2 * (16 << 10)
    at = len(whole) // 2
    path.write_bytes(whole[:at] + bytes(100) + whole[at + 100 :])
    kept = attempts(path)
    assert len(kept) >= 590
    assert (kept[0], kept[-1]) == (0, 599)
    assert attempts(path, task=2) == []
    assert attempts(tmp_path / "none") == []


def test_states_are_kept_again_as_soon_as_they_can_be() -> None:
    kept: list[bytes] = []
    full = [False]

    def sink(data: bytes) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        kept.append(data)

    states = Attempts(Clock(), sink)
    machine: Any = SimpleNamespace(text="0:(x)", outcome=Outcome.DONE)
    for attempt, full[0] in enumerate([False, True, True, False]):
        states.watch(0, attempt)(machine)
    assert [json.loads(data)["attempt"] for data in kept] == [0, 3]


@pytest.mark.parametrize("size", [1000, 70_001, MAX_TEXTS + 1])
def test_the_texts_of_an_attempts_states_have_a_bound_together(size: int) -> None:
    kept: list[bytes] = []
    states = Attempts(Clock(), kept.append)
    machine: Any = SimpleNamespace(text="", outcome=Outcome.RUNNING)
    look = states.watch(0, 0)
    shown = 2 * MAX_TEXTS // size + 3
    for number in range(shown):
        machine.text = f"{number}:".ljust(size, "x")
        look(machine)
        [line] = states.current()
        assert sum(len(text) for _, text in line["states"]) <= MAX_TEXTS
    machine.text, machine.outcome = "the end", Outcome.FAILED
    look(machine)
    record = json.loads(kept[0])
    assert record["states"][-1][1] == "the end"
    assert len(record["states"]) == min(MAX_TEXTS // size, shown) + 1 - (MAX_TEXTS % size < len("the end"))
    assert record["dropped"] == shown + 1 - len(record["states"])


def test_of_paths_to_many_peers_some_are_kept() -> None:
    kept: list[bytes] = []
    states = Attempts(Clock(), kept.append)
    machine: Any = SimpleNamespace(text="0:(x)", outcome=Outcome.RUNNING)
    look = states.watch(0, 0)
    for first in range(0, 10 * MAX_PEERS, 100):
        states.paths_known(0, 0, dict.fromkeys(range(first, first + 100), "direct"))
    states.paths_known(0, 0, {0: "lost", 10 * MAX_PEERS: "lost"})
    states.paths_known(1, 0, {2: "direct"})  # of no attempt
    machine.outcome = Outcome.DONE
    look(machine)
    [line] = kept
    assert json.loads(line)["paths"] == {"direct": MAX_PEERS - 1, "lost": 1}


def test_a_line_is_read_from_where_it_begins(tmp_path: Path) -> None:
    path = tmp_path / "made" / "attempts.jsonl.gz"
    file = AttemptFile(path)
    places = [file.append(line(attempt)) for attempt in range(3)]
    long = json.dumps({"task": 1, "attempt": 3, "states": [[at, f"1:({at * 7919})"] for at in range(20_000)]})
    places += [file.append(f"{long}\n".encode("ascii")), AttemptFile(path).append(line(4))]
    assert [(file.at(place) or {})["attempt"] for place in places] == [0, 1, 2, 3, 4]
    assert [file.at(place) for place in (places[1] + 1, places[4] + 1, path.stat().st_size, 1 << 40, -1)] == [None] * 5
    path.write_bytes(path.read_bytes()[:-20])
    assert file.at(places[4]) is None
    assert AttemptFile(tmp_path / "none").at(0) is None


def test_an_attempt_that_its_machine_has_not_ended_is_written_as_its_record_ends_it(tmp_path: Path) -> None:
    clock = Clock()
    file = AttemptFile(tmp_path / "attempts.jsonl.gz")
    states = Attempts(clock, file.append)
    machine: Any = SimpleNamespace(text="7:(encode)", outcome=Outcome.RUNNING)
    look = states.watch(7, 1)
    look(machine)
    clock.advance(2.5)
    states.bytes_known(7, 1, ByteCounts(sent=3))
    known = states.ended(7, 1, "beaten")
    counts = {"retrieved": 0, "uploaded": 0, "sent": 3, "received": 0}
    assert known == {"bytes": counts, "states": 0}
    machine.text, machine.outcome = "7:(ERROR: interrupted)", Outcome.FAILED
    look(machine)
    [found] = file.read_all()
    assert found == {
        "task": 7,
        "attempt": 1,
        "outcome": "beaten",
        "states": [[0.0, "7:(encode)"]],
        "bytes": counts,
        "end": 2.5,
    }
    assert states.ended(7, 1, "beaten") == {}


def test_where_states_go_that_have_no_place_to_be_read_from_none_is_said() -> None:
    states = Attempts(Clock(), lambda line: None)
    states.watch(0, 0)(SimpleNamespace(text="0:(x)", outcome=Outcome.DONE))  # type: ignore[arg-type]
    assert states.ended(0, 0, "done") == {}

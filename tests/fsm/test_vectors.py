"""The scenarios recorded from the original's state machines, played through our Machine."""

from typing import Any

import fsm_vectors as vectors
import original_apps as apps
import pytest

from mu_twisted.fsm import Machine, MachineState, Outcome
from mu_twisted.wire import MAX_REPLY, Decoder, FrameError

_OUTCOMES = {"done": Outcome.DONE, "error": Outcome.FAILED, "running": Outcome.RUNNING}

ALL = vectors.scenarios()
GENERIC = [s for s in ALL if "machine" in s]
HELD = [s for s in GENERIC if s["protocol"] == "same"]
APPS = [s for s in ALL if "app" in s]
FAULTS = [s for s in ALL if s["protocol"] == "info"]

# Status texts are not protocol; ours are the original's but for the number that it counts an entry left out with.
OTHER_TEXT = {"pl-none-expect"}

# What ours does where the original's behaviour is a fault: outcome, and the commands of all reads.
SANE = {
    "cl-none-then-default": (Outcome.FAILED, []),
    "pl-empty": (Outcome.RUNNING, []),
    "err-fail-after-final": (Outcome.DONE, ["echo:1"]),
    "info-bad-bare": (Outcome.FAILED, ["set:a:1"]),
    "info-bad-empty": (Outcome.FAILED, ["set:a:1"]),
    "for-break-early": (Outcome.DONE, ["quit:"]),
    "for-nested-same": (Outcome.RUNNING, ["echo:x"]),
    "sup-retval1": (Outcome.FAILED, ["seti:nonblock:1", "run:x", "echo:1"]),
    "sup-nested": (Outcome.DONE, ["run:x", "echo:c", "echo:b", "echo:a", "quit:"]),
}


def name(scenario: dict[str, Any]) -> str:
    return str(scenario["id"])


def play(machine: Machine, step: dict[str, Any]) -> list[bytes]:
    """One step of a scenario: one read, or the construction."""
    if step.get("eof"):
        machine.fail("the worker closed the connection")
        return []
    if "raw" in step:
        with pytest.raises(FrameError) as caught:
            Decoder(MAX_REPLY).feed(vectors.value(step["raw"]))
        machine.fail(str(caught.value))
        return []
    if "in" in step:
        return machine.receive([vectors.value(frame) for frame in step["in"]])
    return machine.start()


def assert_end(machine: Machine, scenario: dict[str, Any]) -> None:
    assert machine.outcome is _OUTCOMES[scenario["outcome"]]
    assert machine.state_name == scenario["final"]
    expected = {k: vectors.text(v) if isinstance(v, str | dict) else v for k, v in scenario["info"].items()}
    assert {k: v for k, v in machine.info.items() if k != "group"} == expected
    if machine.outcome is Outcome.FAILED:
        assert machine.error is not None
        assert "\n" not in machine.error


def run(first: type[MachineState], scenario: dict[str, Any], **given: Any) -> Machine:
    machine = Machine(first, scenario["actor"], **given)
    for step in scenario["steps"]:
        sent = play(machine, step)
        assert len(sent) == len(step["out"]), sent
        for command, recorded in zip(sent, step["out"], strict=True):
            vectors.assert_command(command, recorded)
        assert machine.state_name == step["state"]
        if machine.outcome is not Outcome.FAILED and scenario["id"] not in OTHER_TEXT:
            assert machine.text == vectors.text(step["text"])
    assert_end(machine, scenario)
    return machine


@pytest.mark.parametrize("scenario", HELD, ids=name)
def test_a_generic_machine_does_what_the_original_did(scenario: dict[str, Any]) -> None:
    visited: list[str] = []
    machine = run(vectors.build(scenario["machine"], visited), scenario)
    wanted = [state for state in scenario["visited"] if state != "ErrorState"]
    assert visited == wanted
    came = [frame for step in scenario["steps"] for frame in step.get("in", [])]
    if machine.outcome is Outcome.FAILED and came and came[-1] == scenario["error"]:
        assert repr(vectors.text(scenario["error"])) in (machine.error or "")


def test_every_generic_scenario_is_accounted_for() -> None:
    played = {name(s) for s in HELD} | {name(s) for s in FAULTS} | {"sup-held-3"}
    assert {name(s) for s in GENERIC} <= played


def test_held_back_messages_are_tried_again_until_none_matches() -> None:
    scenario = next(s for s in ALL if s["id"] == "sup-held-3")
    visited: list[str] = []
    machine = Machine(vectors.build(scenario["machine"], visited), scenario["actor"])
    sent = [command for step in scenario["steps"] for command in play(machine, step)]
    assert sent == [b"run:x", b"echo:a", b"echo:b", b"echo:c", b"quit:"]
    assert machine.outcome is Outcome.DONE
    assert machine.held == 0


@pytest.mark.parametrize("scenario", APPS, ids=name)
def test_a_machine_of_the_original_does_the_same_on_ours(scenario: dict[str, Any]) -> None:
    app = scenario["app"]
    settings = {**apps.DEFAULTS.get(app, {}), **scenario["settings"]}
    first = apps.STARTS[app]
    assert first.__name__ == scenario["start"]
    run(first, scenario, info={"group": scenario.get("group")}, settings=settings)


@pytest.mark.parametrize("scenario", [s for s in FAULTS if "machine" in s], ids=name)
def test_a_fault_of_the_original_is_not_imitated(scenario: dict[str, Any]) -> None:
    machine = Machine(vectors.build(scenario["machine"], []), scenario["actor"])
    sent = [command.decode() for step in scenario["steps"] for command in play(machine, step)]
    assert (machine.outcome, sent) == SANE[scenario["id"]]
    if machine.outcome is Outcome.FAILED:
        assert machine.error is not None
        assert machine.error.startswith("state ")

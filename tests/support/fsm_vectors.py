"""Reads tests/vectors/fsm.json: values, the classes that a scenario describes, and the comparison of commands."""

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

from mu_twisted.fsm import (
    CommandListState,
    ForLoopState,
    IfElseState,
    InfoWatcherState,
    MachineState,
    OnePassState,
    SuperpositionState,
    TerminalState,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "fsm.json"


def scenarios() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())["scenarios"]
    return found


def value(recorded: Any) -> bytes:
    """A recorded value's bytes."""
    if isinstance(recorded, str):
        return recorded.encode("ascii")
    if "b64" in recorded:
        return base64.b64decode(recorded["b64"])
    return zlib.decompress(base64.b64decode(recorded["zb64"]))


def text(recorded: Any) -> str:
    return value(recorded).decode("utf-8", "surrogateescape")


def build(machine: dict[str, Any], visited: list[str]) -> type[MachineState]:
    """The classes of a scenario's machine; each notes its name in ``visited`` when it is constructed."""

    class Noting:
        def __init__(self, prevState: MachineState, actorNum: int = 0) -> None:
            visited.append(type(self).__name__)
            super().__init__(prevState, actorNum)  # type: ignore[call-arg]

    classes: dict[str, type[MachineState]] = {
        "Terminal": type("TerminalState", (Noting, TerminalState), {}),
    }
    for name, data in machine["states"].items():
        base, attributes = _KINDS[data["kind"]](data, classes)
        attributes["extra"] = f"({name})"
        if data.get("expect") is not None:
            attributes["expect"] = data["expect"]
        if data.get("command") is not None:
            attributes["command"] = data["command"]
        if "nextState" not in attributes:
            attributes["nextState"] = _later(classes, data.get("next", "Terminal"))
        classes[name] = type(name, (Noting, base), attributes)
    return classes[machine["start"]]


def _later(classes: dict[str, type[MachineState]], name: str) -> Any:
    return lambda: classes[name]


def _command_list(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    entries = [tuple(entry) if isinstance(entry, list) else entry for entry in data["list"]]
    return CommandListState, {"commandlist": entries, "pipelined": data.get("pipelined", False)}


def _one_pass(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    return OnePassState, {}


def _info_watcher(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    return InfoWatcherState, {}


def _if_else(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    kind, _, wanted = data["test"].partition(":")

    def told(self: IfElseState) -> bool:
        return bool(self.info.get(wanted))

    def last(self: IfElseState) -> bool:
        return self.messages[-1].startswith(wanted)

    return IfElseState, {
        "testfn": {"info": told, "last": last}[kind],
        "consequentState": _later(classes, data["then"]),
        "alternativeState": _later(classes, data["else"]),
    }


def _for_loop(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    attributes: dict[str, Any] = {
        key: data[key] for key in ("breakKey", "iterKey", "iterInit", "iterFin") if key in data
    }
    return ForLoopState, {
        **attributes,
        "loopState": _later(classes, data["loop"]),
        "exitState": _later(classes, data["exit"]),
    }


def _superposition(data: dict[str, Any], classes: dict[str, Any]) -> tuple[type, dict[str, Any]]:
    return SuperpositionState, {"state_constructors": [_later(classes, name) for name in data["parts"]]}


_KINDS = {
    "CommandList": _command_list,
    "OnePass": _one_pass,
    "IfElse": _if_else,
    "ForLoop": _for_loop,
    "Superposition": _superposition,
    "InfoWatcher": _info_watcher,
}

UNKNOWN = frozenset(
    {
        "6ce165810db82be2fd8d91ac30c29a1119a54c8bc4cdccafa8606d06ae04ba7b",
        "b62a1cb737696a0206c23272cefe8c207bd7a2534f70126a61ffac576632f556",
        "576e145a2981f72c1fe22131c984b59c8890d41deebfc68bbf325e954213d19d",
    }
)
"""sha256 of the shell commands whose exact text could not be found out: xcenc7's re-encode, test.states' cmdinfile."""

_RANDOM = re.compile(r":[A-Za-z0-9]{16}:")


def assert_command(sent: bytes, recorded: Any) -> None:
    """Compare a command with what was recorded: the text itself, or facts about it.

    Where the exact text is not known to us (``UNKNOWN``), sha256 and length cannot be met; programs, arguments and
    files waited for are compared instead.
    """
    if isinstance(recorded, dict) and "run" in recorded:
        facts = recorded["run"]
        name, _, command = sent.decode().partition(":")
        assert name == "run"
        for word in [*facts.get("args", []), *facts.get("programs", []), *facts.get("waits_for", [])]:
            assert word.replace("{{TMP}}", "/tmp") in command.replace('"', "")
        if facts["sha256"] not in UNKNOWN:
            assert len(command) == facts["length"]
            assert hashlib.sha256(command.encode()).hexdigest() == facts["sha256"]
    elif isinstance(recorded, dict) and "set" in recorded:
        assert sent.startswith(f"set:{recorded['set']}:".encode())
        if recorded["sha256"] not in UNKNOWN:
            assert len(sent) == recorded["length"]
            assert hashlib.sha256(sent).hexdigest() == recorded["sha256"]
    elif isinstance(recorded, str) and "{{RAND16}}" in recorded:
        assert _RANDOM.sub(":{{RAND16}}:", sent.decode()) == recorded
    else:
        assert sent == value(recorded)

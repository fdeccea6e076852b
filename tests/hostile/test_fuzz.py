"""The fuzzing itself: a little of it each time, and proof that it would notice."""

import zlib
from collections.abc import Callable
from typing import Any

import fuzz
import fuzz_targets
import pytest

from mu_twisted import fsm, wire
from mu_twisted.fsm import _machine
from mu_twisted.wire import _frames

RUNS = 3_000


def test_recorded_messages_changed_at_random_break_no_rule(tried: Callable[[str], None]) -> None:
    count, results = fuzz.fuzz(1, runs=RUNS)
    assert results > 40
    tried(f"{count} fuzzed inputs to the decoder, the parsers, machines and sessions: {results} different results")


def test_a_seed_says_which_inputs_are_tried() -> None:
    def first(seed: int) -> list[bytes]:
        tried = []
        for data, learn in fuzz.inputs(seed):
            learn(fuzz.one_input(data))
            tried.append(data)
            if len(tried) == 1500:
                break
        return tried

    assert first(5) == first(5) != first(6)


@pytest.mark.parametrize(
    ("where", "name", "broken"),
    [
        (_frames.Decoder, "_check_digits", lambda _: None),
        (_frames._Payload, "missing", property(lambda body: max(0, body.size - body.filled - (body.filled > 50)))),
        (wire, "parse_greeting", lambda message: wire.Greeting(1, message.decode())),
        (wire, "parse_info", lambda message: (b"k", b"v")),
        (fsm, "parse_run", lambda reply, command: fsm.RunResult(0, reply.partition("OUTPUT(")[2])),
        (_machine, "show", str),
        (wire, "parse_peer_greeting", lambda message: wire.PeerGreeting(message, 0, 0)),
        (wire, "parse_notice", lambda message: wire.LostNotice("j", int(message))),
        (wire, "parse_state", lambda message, limit: (0, zlib.decompress(message[9:]))),
        (fuzz_targets.session, "parse_greeting", lambda message: wire.Greeting(1, message.decode())),
    ],
)
def test_fuzzing_notices_what_is_broken(monkeypatch: Any, where: Any, name: str, broken: Any) -> None:
    monkeypatch.setattr(where, name, broken)
    with pytest.raises(fuzz.Broken):
        fuzz.fuzz(1, runs=RUNS)

"""What a task says to find its peers."""

from typing import Any

import pytest

from mu_twisted.fsm import CommandListState, Machine, Outcome, Peering, TerminalState, Worker
from mu_twisted.wire import PeerGreeting, parse_peer_greeting


async def script(w: Worker) -> None:
    await w.connect(w.task + 1)
    await w.close_connect()


class Connect(CommandListState):
    nextState = TerminalState
    commandlist = [("OK:HELLO", "connect:"), "close_connect:", None]

    def __init__(self, prevState: Any, actorNum: int = 0) -> None:
        super().__init__(prevState, actorNum)
        self.commands[0] = self.peering.connect(actorNum, actorNum + 1)


@pytest.mark.parametrize("first", [script, Connect])
def test_both_notations_greet_the_rendezvous_as_the_attempt_they_are(first: Any) -> None:
    peering = Peering("[::1]:13337", "job-1", attempt=2, replay=True)
    machine = Machine(first, 3, peering=peering)
    (connect,) = machine.receive([b"OK:HELLO"])
    assert connect.startswith(b"connect:[::1]:13337:")
    greeting = parse_peer_greeting(connect.removeprefix(b"connect:[::1]:13337:"))
    assert greeting == PeerGreeting(b"job-1", 3, 4, attempt=2, replay=True)
    assert machine.receive([b"OK:CONNECT(x)"]) == [b"close_connect:"]
    assert machine.receive([b"OK:CLOSE_CONNECT"]) == []
    assert machine.outcome is Outcome.DONE


def test_with_shared_keys_the_greeting_is_the_originals() -> None:
    assert Peering("h:1", "r", legacy=True).connect(0, 1) == "connect:h:1:HELLO_STATE:r:0:1"


def test_a_task_without_peers_that_wants_to_connect_says_what_its_pipeline_lacks() -> None:
    machine = Machine(script, 0)
    machine.receive([b"OK:HELLO"])
    assert machine.outcome is Outcome.FAILED
    assert "consumes=" in (machine.error or "")

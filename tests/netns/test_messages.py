"""Messages between two workers behind real NATs, with the worker's code and the rendezvous's."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nat_lab import BOXES, Lab, Nat
from punch_lab import MessageLab

pytestmark = pytest.mark.netns

MIB = 1 << 20
Begin = Callable[..., tuple[Lab, MessageLab]]


@pytest.fixture
def begin(build: Callable[..., Lab], tmp_path: Path) -> Iterator[Begin]:
    begun = []

    def start(*nats: Nat) -> tuple[Lab, MessageLab]:
        lab = build(len(nats))
        lab.configure(*nats)
        lab.set_rtt(0.0)
        begun.append(MessageLab(lab, tmp_path / "tls"))
        return lab, begun[-1]

    yield start
    for each in begun:
        each.close()


@pytest.mark.long
def test_a_direct_path_that_is_cut_leaves_the_rest_to_the_rendezvous(begin: Begin) -> None:
    lab, messages = begin(Nat(), Nat())
    bodies = [os.urandom(MIB) * 16 for _ in range(4)]
    for number, body in enumerate(bodies):
        (messages.directories[0] / f"out{number}").write_bytes(body)
        messages.workers[1].order(receive=f"0:x\0##TMPDIR##/in{number}")
    for task in range(2):
        messages.hear(task, f'INFO:paths:{{"{1 - task}":"direct"}}')
    lab.set_rtt(0.0)
    for number in range(4):
        messages.workers[0].order(send=f"1:x\0##TMPDIR##/out{number}")
    carried = 0
    while carried < 200:
        carried += lab.between(lab.set_rtt(0.0), "packets")
    lab.set_rtt(0.0, cut=[list(BOXES)])
    assert [messages.hear(0, "OK:") for _ in bodies] == ["OK:SEND(1/x)"] * 4
    assert [messages.hear(1, "OK:") for _ in bodies] == ["OK:RECEIVE(0/x)"] * 4
    for number, body in enumerate(bodies):
        assert (messages.directories[1] / f"in{number}").read_bytes() == body


def test_where_no_dial_can_meet_the_rendezvous_carries_all_at_once(begin: Begin) -> None:
    lab, messages = begin(Nat("random"), Nat("random"))
    body = os.urandom(3 * MIB)
    (messages.directories[0] / "out").write_bytes(body)
    messages.workers[1].order(receive="0:x\0##TMPDIR##/in")
    messages.workers[0].order(send="1:x\0##TMPDIR##/out")
    assert messages.hear(0, "OK:SEND") == "OK:SEND(1/x)"
    assert messages.hear(1, "OK:RECEIVE") == "OK:RECEIVE(0/x)"
    assert (messages.directories[1] / "in").read_bytes() == body
    assert lab.between(lab.set_rtt(0.0), "dials") == 0

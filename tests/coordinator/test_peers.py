"""Which shard of the rendezvous a task's messages go through, and which tasks a shard's loss concerns."""

from collections.abc import Container
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from mu_twisted.coordinator import JobLinks, Peers, RendezvousLink, spread
from mu_twisted.jobs import Gangs
from mu_twisted.transport import Receiver


def groups(tasks: int, size: int) -> dict[int, list[int]]:
    """Chains of so many tasks."""
    return {task: [task - 1] for task in range(tasks) if task % size}


def test_groups_stay_whole_and_shards_get_as_many_tasks() -> None:
    assert spread(12, groups(12, 3), 2) == [0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]
    assert spread(4, groups(4, 4), 3) == [0] * 4
    # The large group first, then what is small where there is room.
    assert spread(8, {6: [7], 5: [6, 4], 3: [5]}, 2) == [1, 1, 1, 0, 0, 0, 0, 0]


@given(st.integers(1, 30), st.integers(1, 5), st.data())
def test_tasks_that_exchange_messages_are_on_one_shard(tasks: int, shards: int, data: st.DataObject) -> None:
    edges = data.draw(st.lists(st.tuples(st.integers(0, tasks - 1), st.integers(0, tasks - 1)), max_size=20))
    consumes: dict[int, list[int]] = {}
    for one, other in edges:
        if one != other:
            consumes.setdefault(max(one, other), []).append(min(one, other))
    found = spread(tasks, consumes, shards)
    assert all(found[task] == found[producer] for task, producers in consumes.items() for producer in producers)
    assert all(0 <= shard < shards for shard in found)
    if not consumes:
        load = [found.count(shard) for shard in range(shards)]
        assert max(load) - min(load) <= 1
    assert found == spread(tasks, dict(reversed(consumes.items())), shards)


def test_tasks_that_pipes_join_are_on_one_shard() -> None:
    pipes = [(0, 5, "x"), (5, 3, "y"), (1, 2, "x")]
    chosen = spread(6, Gangs(range(6), pipes).edges, 3)
    assert chosen[0] == chosen[5] == chosen[3] != chosen[1] == chosen[2]


def test_each_task_is_told_its_shards_address() -> None:
    peers = Peers("j", ["h:1", "h:2", "h:3"], None, [0, 2, 0])
    assert [peers.peering(task, 0, replay=False).address for task in range(3)] == ["h:1", "h:3", "h:1"]
    assert peers.used == [0, 2]
    alone = Peers("j", ["h:1"], None)
    assert alone.peering(7, 0, replay=False).address == "h:1"
    assert alone.used == [0]


class Relay:
    """A shard; what is sent to it."""

    def __init__(self) -> None:
        self.link: Any = None
        self.heard: list[bytes] = []

    def dial(self, receiver: Receiver) -> Deferred[Any]:
        self.link = receiver
        receiver.connected(self)  # type: ignore[arg-type]
        return Deferred()

    def send(self, *payloads: bytes) -> None:
        self.heard += payloads

    def close(self) -> None:
        self.link.disconnected("closed")


class Told:
    """A job's run; what it hears, with the tasks of each shard among the first eight."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def messages_resent(self, task: int) -> None:
        self.events.append(-task)

    def messages_lost(self, task: int) -> None:
        self.events.append(task)

    def store_named(self, store: str, shard: int, tasks: Container[int] | None) -> None:
        self.events.append((store, shard, tasks and [task for task in range(8) if task in tasks]))

    def store_unreachable(self, why: str, shard: int, tasks: Container[int] | None) -> None:
        self.events.append((why, shard, tasks and [task for task in range(8) if task in tasks]))


@pytest.mark.parametrize("shards", [[0, 0, 2, 2], []])
def test_a_job_hears_of_each_shard_by_itself(shards: list[int]) -> None:
    clock, told = Clock(), Told()
    relays = {shard: Relay() for shard in set(shards or [0])}
    made = {shard: RendezvousLink(clock, relay.dial, f"h:{shard}") for shard, relay in relays.items()}
    links = JobLinks(made, shards)
    links.add("j", told)
    waits = "the rendezvous at h:{} is being dialled"
    if shards:
        assert told.events == [(waits.format(0), 0, [0, 1]), (waits.format(2), 2, [2, 3])]
    else:
        assert told.events == [(waits.format(0), 0, None)]
    told.events.clear()
    for shard, relay in relays.items():
        assert relay.heard == [b"JOB:j:{}"]
        relay.link.frames_received([b"OK:JOB:j:s%d" % shard, b"LOST:j:%d" % shard])
    if shards:
        assert told.events == [("s0", 0, [0, 1]), 0, ("s2", 2, [2, 3]), 2]
    else:
        assert told.events == [("s0", 0, None), 0]
    links.remove("j")
    assert all(relay.heard[1:] == [b"END:j"] for relay in relays.values())
    for link in made.values():
        link.close()
    assert not clock.getDelayedCalls()

"""Peers are how the tasks of one job reach one another: by which shard of the rendezvous, and with what keys.

A rendezvous is one process or several, its shards. Tasks that exchange messages, directly or through others, are on one
shard, so that no shard need know of another.
"""

import heapq
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from mu_twisted.coordinator._rendezvous_link import RendezvousLink
from mu_twisted.fsm import Peering, Takes, TaskPipe
from mu_twisted.jobs import PipeEnd
from mu_twisted.tls import KeyPair, TaskIdentity, pem_body


def spread(tasks: int, consumes: Mapping[int, Sequence[int]], shards: int) -> list[int]:
    """Spread a job's tasks over shards, its groups whole: the largest first, each to the shard that has least.

    :param tasks: how many there are.
    :param consumes: for tasks that take messages, those that send them.
    :returns: for each task the number of its shard. The same for the same arguments, as it is worked out again after a
        restart of the coordinator.
    """
    # Of each task one that it is grouped with, and that has no higher number. In line, as calls would take most of the
    # time.
    heads = list(range(tasks))
    for task, producers in consumes.items():
        for producer in producers:
            one, other = task, producer
            while heads[one] != one:
                heads[one] = one = heads[heads[one]]
            while heads[other] != other:
                heads[other] = other = heads[heads[other]]
            if one < other:
                heads[other] = one
            else:
                heads[one] = other
    groups: dict[int, list[int]] = {}
    for task in range(tasks):
        head = heads[task] = heads[heads[task]]
        if head == task:
            groups[task] = [task]
        else:
            groups[head].append(task)
    load = [(0, shard) for shard in range(shards)]
    chosen = [0] * tasks
    for group in sorted(groups.values(), key=len, reverse=True):  # stable: low numbers first among equals
        least, shard = load[0]
        heapq.heapreplace(load, (least + len(group), shard))
        for task in group:
            chosen[task] = shard
    return chosen


def without(consumes: Mapping[int, Sequence[int]], skipped: Container[int]) -> Mapping[int, Sequence[int]]:
    """Whose messages tasks take, where some tasks are left out.

    :param consumes: for tasks that take messages, those that send them.
    :param skipped: the tasks that are left out.
    """
    if not skipped:
        return consumes
    return {
        task: [producer for producer in producers if producer not in skipped]
        for task, producers in consumes.items()
        if task not in skipped
    }


@dataclass(frozen=True)
class Peers:
    """How the tasks of a job whose tasks exchange messages reach one another.

    :param job: its name.
    :param addresses: of the rendezvous' shards, each HOST:PORT as workers are to dial it.
    :param issue: makes the keys of an attempt; None where all share one pair: then attempts greet as the original did.
    :param shards: for each task the place of its shard among the addresses, where there is more than one.
    :param direct: whether workers may send directly, where their NATs allow it.
    """

    job: str
    addresses: Sequence[str]
    issue: Callable[[TaskIdentity], KeyPair] | None
    shards: Sequence[int] = field(default=(), repr=False)
    direct: bool = True

    @property
    def used(self) -> list[int]:
        """The shards that have tasks."""
        return sorted(set(self.shards)) if self.shards else [0]

    def opening(self, peering: Peering, task: int) -> list[bytes]:
        """The commands that a worker is to get before the task: who it is to its peers, and how it finds them."""
        if self.issue is None:
            return []
        pair = self.issue(TaskIdentity(self.job, task, peering.attempt))
        identity = f"identity:{pem_body(pair.certificate)} {pem_body(pair.key)}".encode("ascii")
        return (
            [identity, peering.link(task), *(pipe.command for pipe in peering.pipes)] if peering.links else [identity]
        )

    def peering(
        self,
        task: int,
        attempt: int,
        *,
        replay: bool,
        links: bool = False,
        takes: Takes | None = None,
        ahead: Sequence[int] | None = None,
        pipes: Sequence[PipeEnd] = (),
    ) -> Peering:
        """What the task's machine is to know.

        :param replay: whether messages may have come to an earlier attempt.
        :param links: whether the worker takes named messages; they need keys of the task's own.
        :param takes: what the pipeline declares of them.
        :param ahead: tasks to which the worker is to have direct paths at once; None: it knows none.
        :param pipes: the ends of pipes that the task has.
        """
        address = self.addresses[self.shards[task] if self.shards else 0]
        peering = Peering(address, self.job, attempt, replay, legacy=self.issue is None)
        links = links and self.issue is not None
        direct = tuple(ahead) if ahead is not None and links and self.direct else None
        ends = tuple(TaskPipe(end.name, end.peer, end.attempt, end.writes) for end in pipes)
        return replace(peering, links=links, takes=takes or peering.takes, ahead=direct, pipes=ends)


class Mailed(Protocol):
    """A job that is notified about its messages."""

    def messages_lost(self, task: int) -> None:
        """A message that this task has sent is wanted again, and gone."""

    def messages_resent(self, task: int) -> None:
        """All that this task had sent by links, and was gone, is there again."""

    def store_named(self, store: str, shard: int, tasks: Container[int] | None) -> None:
        """A shard keeps messages under this token; another one than before means that those before are gone.

        :param tasks: whose messages; None: those of all.
        """

    def store_unreachable(self, why: str, shard: int, tasks: Container[int] | None) -> None:
        """A shard is not there, until it names its token again.

        :param why: one line for the user.
        :param tasks: whose messages; None: those of all.
        """


class JobLinks:
    """The connections to the shards that one job's messages go through.

    :param links: by the shard's number.
    :param shards: as in :class:`Peers`.
    """

    def __init__(self, links: Mapping[int, RendezvousLink], shards: Sequence[int] = ()) -> None:
        self._links = links
        self._shards = shards

    def add(self, job: str, run: Mailed) -> None:
        """From now on they keep this job's messages; those that are not there are dialled until they are."""
        for shard, link in self._links.items():
            link.add(job, _ShardNotices(run, shard, _On(self._shards, shard) if self._shards else None))

    def remove(self, job: str) -> None:
        """The job is over: its messages may go."""
        for link in self._links.values():
            link.remove(job)


@dataclass(frozen=True)
class _On:
    """The tasks of one shard."""

    shards: Sequence[int]
    shard: int

    def __contains__(self, task: object) -> bool:
        return isinstance(task, int) and 0 <= task < len(self.shards) and self.shards[task] == self.shard


@dataclass(frozen=True)
class _ShardNotices:
    """Takes one shard's notices for a job."""

    run: Mailed
    shard: int
    tasks: Container[int] | None

    def messages_lost(self, task: int) -> None:
        self.run.messages_lost(task)

    def messages_resent(self, task: int) -> None:
        self.run.messages_resent(task)

    def store_named(self, store: str) -> None:
        self.run.store_named(store, self.shard, self.tasks)

    def store_unreachable(self, why: str) -> None:
        self.run.store_unreachable(why, self.shard, self.tasks)

"""This module knows what a task says to the rendezvous to find its peers; it knows the words, not the connection."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from mu_twisted.wire import PeerGreeting
from mu_twisted.wire.links import TaskRanges


@dataclass(frozen=True, slots=True)
class TaskPipe:
    """One end of a pipe that the task has.

    :param name: the pipe's.
    :param peer: the task at the other end.
    :param attempt: of the peer.
    :param writes: whether this task writes, and the peer reads.
    """

    name: str
    peer: int
    attempt: int
    writes: bool

    @property
    def placeholder(self) -> bytes:
        """What stands for its FIFO in the command of a run."""
        return b"##PIPE:%b##" % self.name.encode("ascii")

    @property
    def command(self) -> bytes:
        """The ``pipe:`` command of a worker, after which its runs can use it."""
        way = "to" if self.writes else "from"
        return f"pipe:{way}:{self.peer}:{self.attempt}:{self.name}".encode("ascii")


Takes: TypeAlias = Callable[[int], Mapping[int, frozenset[str] | None]]
"""From a task's number, the tasks whose messages it takes, each with the names of these; None: of any name."""


def _nothing(_: int) -> Mapping[int, frozenset[str] | None]:
    return {}


@dataclass(frozen=True, slots=True)
class Peering:
    """Given to a machine whose task exchanges messages with others.

    :param address: of the rendezvous, HOST:PORT; an IPv6 address in brackets.
    :param run: the job's name.
    :param attempt: which try at the task this is.
    :param replay: whether messages may have come to an earlier attempt, which are wanted again.
    :param legacy: greet as the original does, without attempt; for keys that are shared by all.
    :param links: whether the worker takes named messages.
    :param ahead: tasks to which it is to have direct paths at once, where it may have any; None: it may not.
    :param takes: what the pipeline declares of them.
    :param pipes: the ends of pipes that the task has.
    """

    address: str
    run: str
    attempt: int = 0
    replay: bool = False
    legacy: bool = False
    links: bool = False
    ahead: tuple[int, ...] | None = None
    takes: Takes = field(default=_nothing, repr=False, compare=False)
    pipes: tuple[TaskPipe, ...] = ()

    def connect(self, me: int, to: int) -> str:
        """The ``connect:`` command of a worker.

        :param me: the task's number, whose messages it reads.
        :param to: the task that all its messages go to; may be itself where nothing is sent.
        """
        run = self.run.encode("utf-8", "surrogateescape")
        attempt = None if self.legacy else self.attempt
        greeting = PeerGreeting(run, me, to, attempt, self.replay).encode()
        return f"connect:{self.address}:{greeting.decode('utf-8', 'surrogateescape')}"

    def link(self, me: int) -> bytes:
        """The ``link:`` command of a worker, after which it can send and receive named messages.

        :param me: the task's number.
        """
        link = f"link:{self.address}:{self.run}:{me}:{self.attempt}".encode("utf-8", "surrogateescape")
        return link if self.ahead is None else link + b":" + TaskRanges.of(self.ahead).encode()

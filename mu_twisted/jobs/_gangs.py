"""Gangs are the tasks that pipes join, directly or through others: they run at the same time or not at all.

Knows numbers and names only; where tasks stand, the caller says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mu_twisted.jobs._errors import JobError

Pipe = tuple[int, int, str]
"""The task that writes, the task that reads, and the pipe's name, which each of the two has once."""
SHOWN = 5
"""Tasks of a gang that an error names."""


@dataclass(frozen=True, slots=True)
class PipeEnd:
    """One end of a pipe, as an attempt at its task is given it.

    :param name: the pipe's.
    :param peer: the task at the other end.
    :param attempt: of the peer, which runs at the same time.
    :param writes: whether this task writes, and the peer reads.
    """

    name: str
    peer: int
    attempt: int
    writes: bool


class Gangs:
    """The gangs of a job.

    :param order: its task numbers.
    :param pipes: that join them.
    :ivar pipes: the same.
    :ivar all: the tasks of each gang, in the job's order.
    :raises JobError: a pipe names a task that is none, joins one with itself, or has a name that one of its tasks has
        for another.
    """

    def __init__(self, order: Sequence[int], pipes: Sequence[Pipe]) -> None:
        self._members: dict[int, tuple[int, ...]] = {}
        self._ends: dict[int, dict[str, tuple[int, bool]]] = {}
        self.pipes = tuple(pipes)
        self.all: tuple[tuple[int, ...], ...] = ()
        if not pipes:
            return
        known = frozenset(order)
        groups: dict[int, list[int]] = {}
        for writer, reader, name in pipes:
            for task, peer, writes in ((writer, reader, True), (reader, writer, False)):
                self._add_end(known, task, peer, name, writes=writes)
            one, other = groups.setdefault(writer, [writer]), groups.setdefault(reader, [reader])
            if one is not other:
                smaller, larger = sorted((one, other), key=len)
                larger += smaller
                groups.update(dict.fromkeys(smaller, larger))
        at = {task: place for place, task in enumerate(order)}
        distinct = {id(group): group for group in groups.values()}.values()
        self.all = tuple(tuple(sorted(group, key=at.__getitem__)) for group in distinct)
        for members in self.all:
            self._members.update(dict.fromkeys(members, members))

    def _add_end(self, known: frozenset[int], task: int, peer: int, name: str, *, writes: bool) -> None:
        if task not in known:
            raise JobError(f"pipe {name!r} joins task {task}, which the job does not have")
        if task == peer:
            raise JobError(f"pipe {name!r} joins task {task} with itself")
        ends = self._ends.setdefault(task, {})
        if name in ends:
            raise JobError(
                f"task {task} has two pipes named {name!r}, to {ends[name][0]} and to {peer}: name them apart"
            )
        ends[name] = (peer, writes)

    def __bool__(self) -> bool:
        return bool(self._members)

    def __contains__(self, task: object) -> bool:
        return task in self._members

    @property
    def largest(self) -> tuple[int, ...]:
        """The tasks of the largest gang."""
        return max(self.all, key=len, default=())

    @property
    def edges(self) -> Mapping[int, Sequence[int]]:
        """For each task of a gang, those that it is joined with by pipes."""
        return {task: [peer for peer, _ in ends.values()] for task, ends in self._ends.items()}

    def members(self, task: int) -> tuple[int, ...]:
        """The tasks of the task's gang, itself included, in the job's order; it alone if it has no pipe."""
        return self._members.get(task) or (task,)

    def others(self, task: int) -> list[int]:
        """The tasks of the task's gang without itself."""
        return [one for one in self.members(task) if one != task]

    def following(self, task: int) -> tuple[int, ...]:
        """The next task of its gang, behind the last the first; none if it is alone. So all of a gang form a ring."""
        members = self.members(task)
        return (members[(members.index(task) + 1) % len(members)],) if len(members) > 1 else ()

    def ends(self, task: int, attempts: Mapping[int, int]) -> tuple[PipeEnd, ...]:
        """The pipes' ends of a task.

        :param attempts: of the tasks of its gang, the numbers with which they run at the same time.
        """
        ends = self._ends.get(task, {})
        return tuple(PipeEnd(name, peer, attempts[peer], writes) for name, (peer, writes) in ends.items())

    def check_size(self, workers: int | None, limit: str = "--max-workers") -> None:
        """Look whether each gang can have its workers.

        :param workers: that there may be at once; None: any number.
        :param limit: the option that says so.
        :raises JobError: one cannot.
        """
        largest = self.largest
        if workers is not None and len(largest) > workers:
            named = ", ".join(map(str, largest[:SHOWN])) + (", ..." if len(largest) > SHOWN else "")
            raise JobError(
                f"tasks {named} are joined by pipes and run at the same time, which takes {len(largest)} workers: "
                f"there may be {workers} ({limit})"
            )

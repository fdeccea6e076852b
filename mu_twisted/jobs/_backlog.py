"""The backlog holds the tasks that want a worker: ready ones, lowest rank first, and slow ones that want a second.

A gang, whose tasks begin at the same time, stands in it by the first of them.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence

from mu_twisted.jobs._tasks import Task, TaskState

LOOK = 64
"""Tasks and gangs of one size that are looked at for one which may overtake a gang."""


class Backlog:
    """A queue of tasks; entries of those that no longer wait are passed over.

    :param tasks: all of the job, by rank.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = list(tasks)
        self._heap: list[int] = []  # ranks: numbers cost neither memory nor the garbage collector's time
        self._queued: set[int] = set()
        self._preferred: dict[Task, None] = {}
        self._gangs: dict[int, _ReadyGangs] = {}
        self.doubles: dict[Task, None] = {}

    def extend(self, tasks: Iterable[Task]) -> None:
        """The job has more tasks: these, whose ranks come after all others."""
        self._tasks.extend(tasks)

    def prefer(self, task: Task) -> None:
        """Assign this waiting task before all others."""
        self._preferred[task] = None

    def add(self, tasks: Sequence[Task]) -> None:
        """Queue tasks that wait and are ready."""
        queued = self._queued
        new = [rank for task in tasks if (rank := task.rank) not in queued]
        queued.update(new)
        if len(new) > len(self._heap):
            self._heap += new
            heapq.heapify(self._heap)
        else:
            for rank in new:
                heapq.heappush(self._heap, rank)

    def add_gang(self, first: Task, size: int, now: float) -> None:
        """Queue a gang, all of whose tasks wait and are ready.

        :param first: of its tasks, by rank.
        :param size: how many there are.
        :param now: seconds.
        """
        if first.rank not in self._queued:
            self._queued.add(first.rank)
            gangs = self._gangs.setdefault(size, _ReadyGangs())
            heapq.heappush(gangs.heap, first.rank)
            gangs.since[first.rank] = now

    def add_double(self, task: Task) -> None:
        """Let this active task have a second worker."""
        self.doubles[task] = None

    def first(self) -> Task | None:
        """The next task to be assigned, left where it is."""
        while self._preferred:
            task = next(iter(self._preferred))
            if task.state is TaskState.WAITING:
                return task
            del self._preferred[task]
        ranks = [heap[0] for _, heap in self._heaps()]
        return self._tasks[min(ranks)] if ranks else None

    def take(self) -> Task | None:
        """The next task to be assigned."""
        task = self.first()
        if task is not None and task in self._preferred:
            del self._preferred[task]  # its other entry is passed over when its turn comes
        elif task is not None:
            self._queued.discard(heapq.heappop(self._heap))
        return task

    def take_fitting(self, room: int, aged: float, may_overtake: Callable[[Task], bool]) -> Task | None:
        """The next task, or the first one of the next gang, for which there are workers enough.

        :param room: how many there are.
        :param aged: gangs that have been ready since this time or longer are not overtaken.
        :param may_overtake: whether a task may be assigned before a gang for which there are too few.
        """
        for task in list(self._preferred):
            if task.state is not TaskState.WAITING:
                del self._preferred[task]
            elif task.rank in self._queued:
                return self._take_preferred(task, room)
        heaps = dict(self._heaps())
        waiting = [(heap[0], self._is_aged(size, aged)) for size, heap in heaps.items() if size > room]
        barrier = min((rank for rank, is_aged in waiting if is_aged), default=len(self._tasks))
        fitting = {size: heap for size, heap in heaps.items() if size <= room}
        overtaken = min((rank for rank, _ in waiting), default=len(self._tasks))
        for count in (1, LOOK):  # most often the first of its size can be had
            next_ = (
                (rank, size)
                for size, heap in fitting.items()
                for rank in (heap[:1] if count == 1 else heapq.nsmallest(count, heap))
            )
            for rank, size in sorted(next_):
                task = self._tasks[rank]
                if rank > barrier or task.state is not TaskState.WAITING:
                    continue
                if rank < overtaken or may_overtake(task):
                    self._remove(size, fitting[size], rank)
                    return task
        return None

    def take_double(self) -> Task | None:
        """The next slow task to be assigned to a second worker."""
        while self.doubles:
            task = next(iter(self.doubles))
            del self.doubles[task]
            if task.state is TaskState.ACTIVE and len(task.running) == 1 and task.won is None:
                return task
        return None

    def lowest(self, count: int) -> Iterable[Task]:
        """The next ``count`` tasks to be assigned, left where they are."""
        ranks = (rank for _, heap in self._heaps() for rank in heap)
        ready = (rank for rank in ranks if self._tasks[rank].state is TaskState.WAITING)
        return [self._tasks[rank] for rank in heapq.nsmallest(count, ready)]

    # -- inside --------------------------------------------------------------------------------------------------------

    def _heaps(self) -> Iterator[tuple[int, list[int]]]:
        """By the size of what is in them, 1 for single tasks, the ranks of those of which the first waits."""
        for size, heap in ((1, self._heap), *((size, gangs.heap) for size, gangs in self._gangs.items())):
            while heap and self._tasks[heap[0]].state is not TaskState.WAITING:
                self._remove(size, heap, heap[0])
            if heap:
                yield size, heap

    def _remove(self, size: int, heap: list[int], rank: int) -> None:
        if heap[0] == rank:
            heapq.heappop(heap)
        else:
            heap.remove(rank)
            heapq.heapify(heap)
        self._queued.discard(rank)
        if size > 1:
            self._gangs[size].since.pop(rank, None)

    def _is_aged(self, size: int, aged: float) -> bool:
        """Whether one of the gangs of this size is: to those that are smaller it is the same which of them is first."""
        return size > 1 and next(iter(self._gangs[size].since.values())) <= aged

    def _take_preferred(self, task: Task, room: int) -> Task | None:
        """This one, or none before it."""
        for size, heap in self._heaps():
            if task.rank in heap:
                if size > room:
                    return None
                self._remove(size, heap, task.rank)
                break
        del self._preferred[task]
        return task


class _ReadyGangs:
    """Gangs of one size that are ready.

    :ivar heap: ranks of their first tasks.
    :ivar since: by these, when each became ready; the longest ready first.
    """

    __slots__ = ("heap", "since")

    def __init__(self) -> None:
        self.heap: list[int] = []
        self.since: dict[int, float] = {}

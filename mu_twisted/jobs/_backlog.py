"""The backlog holds the tasks that want a worker: ready ones, lowest rank first, and slow ones that want a second."""

import heapq
from collections.abc import Iterable, Sequence

from mu_twisted.jobs._tasks import Task, TaskState


class Backlog:
    """A queue of tasks; entries of those that no longer wait are passed over.

    :param tasks: all of the job, by rank.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self._heap: list[int] = []  # ranks: numbers cost neither memory nor the garbage collector's time
        self._queued: set[int] = set()
        self._preferred: dict[Task, None] = {}
        self.doubles: dict[Task, None] = {}

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
        while self._heap and self._tasks[self._heap[0]].state is not TaskState.WAITING:
            self._queued.discard(heapq.heappop(self._heap))
        return self._tasks[self._heap[0]] if self._heap else None

    def take(self) -> Task | None:
        """The next task to be assigned."""
        task = self.first()
        if task is not None and task in self._preferred:
            del self._preferred[task]  # its other entry is passed over when its turn comes
        elif task is not None:
            self._queued.discard(heapq.heappop(self._heap))
        return task

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
        ready = (rank for rank in self._heap if self._tasks[rank].state is TaskState.WAITING)
        return [self._tasks[rank] for rank in heapq.nsmallest(count, ready)]

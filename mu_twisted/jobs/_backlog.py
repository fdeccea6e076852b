"""Tasks that want a worker: those that are ready, lowest rank first, and slow ones that want a second."""

import heapq
from collections.abc import Iterable, Sequence

from mu_twisted.jobs._tasks import Task, TaskState


class Backlog:
    """Entries of tasks that are no longer waiting are passed over."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, Task]] = []
        self._queued: set[int] = set()
        self.doubles: dict[Task, None] = {}

    def add(self, tasks: Sequence[Task]) -> None:
        """These are waiting, and ready."""
        new = [(task.rank, task) for task in tasks if task.rank not in self._queued]
        self._queued.update(rank for rank, _ in new)
        if len(new) > len(self._heap):
            self._heap += new
            heapq.heapify(self._heap)
        else:
            for entry in new:
                heapq.heappush(self._heap, entry)

    def first(self) -> Task | None:
        """The next task to be assigned, left where it is."""
        while self._heap and self._heap[0][1].state is not TaskState.WAITING:
            self._queued.discard(heapq.heappop(self._heap)[0])
        return self._heap[0][1] if self._heap else None

    def take(self) -> Task | None:
        """The next task to be assigned."""
        task = self.first()
        if task is not None:
            self._queued.discard(heapq.heappop(self._heap)[0])
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
        ready = (entry for entry in self._heap if entry[1].state is TaskState.WAITING)
        return [task for _, task in heapq.nsmallest(count, ready)]

"""Which task needs whose messages: a fixed graph, and what follows from it for the order of things.

Knows numbers only; where tasks stand is told by the caller.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence

from mu_twisted.jobs._errors import JobError


class Lineage:
    """Producers and consumers.

    :param order: task numbers in the order in which they are to be assigned.
    :param consumes: for tasks that take messages, those that send them.
    :raises JobError: a task is named that is none, or tasks wait for one another in a circle.
    """

    def __init__(self, order: Sequence[int], consumes: Mapping[int, Sequence[int]]) -> None:
        if not order:
            raise JobError("a job needs at least one task")
        at = {task: slot for slot, task in enumerate(order)}
        if len(at) != len(order):
            raise JobError("a task number stands in the job's order twice")
        self._producers = {task: tuple(dict.fromkeys(others)) for task, others in consumes.items() if others}
        consumers: dict[int, list[int]] = {}
        for task, producers in self._producers.items():
            for other in (task, *producers):
                if other not in at:
                    raise JobError(f"task {task} takes messages of {list(producers)}: the job has no task {other}")
            for producer in producers:
                consumers.setdefault(producer, []).append(task)
        self._consumers = {task: tuple(others) for task, others in consumers.items()}
        self.order = self._producers_first(order, at)

    def __bool__(self) -> bool:
        return bool(self._producers)

    def producers(self, task: int) -> tuple[int, ...]:
        """Whose messages the task takes."""
        return self._producers.get(task, ())

    def consumers(self, task: int) -> tuple[int, ...]:
        """Who takes the task's messages."""
        return self._consumers.get(task, ())

    def is_linked(self, task: int) -> bool:
        """Whether the task takes messages or sends them."""
        return task in self._producers or task in self._consumers

    def downstream(self, tasks: Iterable[int], open_: Callable[[int], bool]) -> list[int]:
        """All that need messages of these tasks, directly or through others, as far as they are open."""
        return self._closure(tasks, self.consumers, open_)

    def upstream(self, tasks: Iterable[int], wanted: Callable[[int], bool]) -> list[int]:
        """All whose messages these tasks need, directly or through others, as far as they are wanted."""
        return self._closure(tasks, self.producers, wanted)

    @staticmethod
    def _closure(
        tasks: Iterable[int], next_: Callable[[int], tuple[int, ...]], keep: Callable[[int], bool]
    ) -> list[int]:
        seen = set(tasks)
        stack, found = list(seen), []
        while stack:
            for other in next_(stack.pop()):
                if other not in seen and keep(other):
                    seen.add(other)
                    found.append(other)
                    stack.append(other)
        return found

    def _producers_first(self, order: Sequence[int], at: Mapping[int, int]) -> tuple[int, ...]:
        if not self._producers:
            return tuple(order)
        missing = {task: len(producers) for task, producers in self._producers.items()}
        ready = [slot for slot, task in enumerate(order) if task not in missing]
        heapq.heapify(ready)
        arranged: list[int] = []
        while ready:
            task = order[heapq.heappop(ready)]
            arranged.append(task)
            for consumer in self.consumers(task):
                missing[consumer] -= 1
                if not missing[consumer]:
                    heapq.heappush(ready, at[consumer])
        if len(arranged) < len(order):
            circle = sorted(task for task, left in missing.items() if left)[:10]
            raise JobError(f"tasks wait for one another in a circle, among them {circle}")
        return tuple(arranged)

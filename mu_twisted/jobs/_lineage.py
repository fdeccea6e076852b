"""Which task needs whose messages: a fixed graph, and what follows from it for the order of things.

Knows numbers only; where tasks stand is told by the caller.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._steps import STEP, exhaust


class Lineage:
    """Producers and consumers.

    :param order: task numbers in the order in which they are to be assigned.
    :param consumes: for tasks that take messages, those that send them.
    :raises JobError: a task is named that is none, or tasks wait for one another in a circle.
    """

    def __init__(self, order: Sequence[int], consumes: Mapping[int, Sequence[int]]) -> None:
        exhaust(self._make(order, consumes))

    @classmethod
    def making(cls, order: Sequence[int], consumes: Mapping[int, Sequence[int]]) -> "Generator[None, None, Lineage]":
        """As the constructor, with pauses in which others may have their turn."""
        lineage = cls.__new__(cls)
        yield from lineage._make(order, consumes)
        return lineage

    def _make(self, order: Sequence[int], consumes: Mapping[int, Sequence[int]]) -> Generator[None, None, None]:
        if not order:
            raise JobError("a job needs at least one task")
        if len(set(order)) != len(order):
            raise JobError("a task number stands in the job's order twice")
        self._producers: dict[int, tuple[int, ...]] = {}
        self._consumers: dict[int, list[int]] = {}
        self.order = tuple(order)
        if not consumes:
            return
        yield
        at = {task: slot for slot, task in enumerate(order)}
        work = 0
        for task, others in consumes.items():
            if not others:
                continue
            producers = self._producers[task] = tuple(dict.fromkeys(others))
            for other in (task, *producers):
                if other not in at:
                    raise JobError(f"task {task} takes messages of {list(producers)}: the job has no task {other}")
            for producer in producers:
                self._consumers.setdefault(producer, []).append(task)
            work += 1 + len(producers)
            if work >= STEP:
                work = 0
                yield
        self.order = yield from self._producers_first(order, at)

    def __bool__(self) -> bool:
        return bool(self._producers)

    def producers(self, task: int) -> tuple[int, ...]:
        """Whose messages the task takes."""
        return self._producers.get(task, ())

    def consumers(self, task: int) -> Sequence[int]:
        """The tasks that take this one's messages."""
        return self._consumers.get(task, ())

    def consumer_counts(self) -> dict[int, int]:
        """For each task whose messages are taken, how many take them."""
        return {task: len(consumers) for task, consumers in self._consumers.items()}

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
    def _closure(tasks: Iterable[int], next_: Callable[[int], Sequence[int]], keep: Callable[[int], bool]) -> list[int]:
        seen = set(tasks)
        stack, found = list(seen), []
        while stack:
            for other in next_(stack.pop()):
                if other not in seen and keep(other):
                    seen.add(other)
                    found.append(other)
                    stack.append(other)
        return found

    def _producers_first(self, order: Sequence[int], at: Mapping[int, int]) -> Generator[None, None, tuple[int, ...]]:
        if not self._producers:
            return tuple(order)
        missing = {task: len(producers) for task, producers in self._producers.items()}
        ready = [slot for slot, task in enumerate(order) if task not in missing]
        heapq.heapify(ready)
        arranged: list[int] = []
        work = 0
        while ready:
            work += 1
            if work >= STEP:
                work = 0
                yield
            task = order[heapq.heappop(ready)]
            arranged.append(task)
            for consumer in self.consumers(task):
                work += 1
                missing[consumer] -= 1
                if not missing[consumer]:
                    heapq.heappush(ready, at[consumer])
        if len(arranged) < len(order):
            circle = sorted(task for task, left in missing.items() if left)[:10]
            raise JobError(f"tasks wait for one another in a circle, among them {circle}")
        return tuple(arranged)

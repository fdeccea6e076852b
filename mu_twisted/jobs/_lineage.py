"""The lineage is a fixed graph: which task needs whose messages, and what follows for the order of things.

Knows numbers only; where tasks stand, the caller says.
"""

import heapq
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

from mu_twisted.base.steps import STEP, exhaust
from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._gangs import Gangs

Edges = Mapping[int, Sequence[int]]
"""For tasks that take messages, those that send them."""


class Lineage:
    """Producers and consumers.

    :param order: task numbers in the order in which they are to be assigned.
    :param consumes: edges without circles: a consumer cannot end before its producers have begun.
    :param messages: more edges, in which tasks may take messages of one another.
    :param gangs: tasks that run at the same time.
    :raises JobError: a task is named that is none, or tasks or gangs consume one another in a circle.
    """

    def __init__(
        self, order: Sequence[int], consumes: Edges, messages: Edges | None = None, gangs: Gangs | None = None
    ) -> None:
        exhaust(self._make(order, consumes, messages or {}, gangs))

    @classmethod
    def making(
        cls, order: Sequence[int], consumes: Edges, messages: Edges | None = None, gangs: Gangs | None = None
    ) -> "Generator[None, None, Lineage]":
        """As the constructor, with pauses in which others may have their turn."""
        lineage = cls.__new__(cls)
        yield from lineage._make(order, consumes, messages or {}, gangs)
        return lineage

    def _make(
        self, order: Sequence[int], consumes: Edges, messages: Edges, gangs: Gangs | None
    ) -> Generator[None, None, None]:
        if not order:
            raise JobError("a job needs at least one task")
        if len(set(order)) != len(order):
            raise JobError("a task number stands in the job's order twice")
        self._producers: dict[int, tuple[int, ...]] = {}
        self._consumers: dict[int, list[int]] = {}
        self._consumed: dict[int, tuple[int, ...]] = {}
        self._circle: dict[int, int] = {}
        self.order = tuple(order)
        if not consumes and not messages and not gangs:
            return
        yield
        yield from self._connect(order, consumes)
        self.order = yield from self._producers_first({task: (task,) for task in order})
        if gangs:
            groups = dict.fromkeys(map(gangs.members, self.order))
            self.order = yield from self._producers_first({group[0]: group for group in groups})
        # What a task consumes, beside what it may take in a circle.
        self._consumed = dict(self._producers)
        if messages or gangs:
            yield from self._connect(order, messages)
            circles = yield from self._circles(gangs)
            self._circle = {task: circle[0] for circle in circles for task in circle if len(circle) > 1}
            self.order = yield from self._producers_first({circle[0]: circle for circle in circles})

    def _connect(self, order: Sequence[int], edges: Edges) -> Generator[None, None, None]:
        """Add edges."""
        known = frozenset(order)
        work = 0
        for task, others in edges.items():
            before = self._producers.get(task, ())
            producers = tuple(dict.fromkeys((*before, *others)))
            for other in (task, *others):
                if other not in known:
                    raise JobError(f"task {task} takes messages of {list(producers)}: the job has no task {other}")
            if task in producers:
                raise JobError(f"task {task} takes messages of itself: tasks wait for one another in a circle")
            if not producers:
                continue
            self._producers[task] = producers
            for producer in producers[len(before) :]:
                self._consumers.setdefault(producer, []).append(task)
            work += 1 + len(producers)
            if work >= STEP:
                work = 0
                yield

    def __bool__(self) -> bool:
        return bool(self._producers)

    @property
    def edges(self) -> Mapping[int, Sequence[int]]:
        """For tasks that take messages, those that send them."""
        return self._producers

    def producers(self, task: int) -> tuple[int, ...]:
        """Whose messages the task takes."""
        return self._producers.get(task, ())

    def consumed(self, task: int) -> tuple[int, ...]:
        """Whose messages the task takes, without those of a circle that it may be in by ``messages``."""
        return self._consumed.get(task, ())

    def circle(self, task: int) -> int:
        """The first of the tasks that take one another's messages or run at the same time, directly or through others,
        among them this one.
        """
        return self._circle.get(task, task)

    def consumers(self, task: int) -> Sequence[int]:
        """The tasks that take this one's messages."""
        return self._consumers.get(task, ())

    def consumer_counts(self) -> dict[int, int]:
        """For each task whose messages are taken, how many take them."""
        return {task: len(consumers) for task, consumers in self._consumers.items()}

    def count_for_producers(self, tasks: Iterable[int], counts: dict[int, int], change: int) -> None:
        """Change the count of each task for each of these that takes its messages."""
        producers_of = self._producers.get
        for task in tasks:
            for producer in producers_of(task, ()):
                counts[producer] += change

    def is_linked(self, task: int) -> bool:
        """Whether the task takes messages or sends them."""
        return task in self._producers or task in self._consumers

    def dependent(self, tasks: Iterable[int], open_: Callable[[int], bool]) -> list[int]:
        """All open tasks that need messages of these by ``consumes``, directly or through other open ones."""
        consumers = self.consumers
        return self._closure(
            tasks, lambda task: [one for one in consumers(task) if task in self._consumed.get(one, ())], open_
        )

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

    def _producers_first(self, groups: Mapping[int, Sequence[int]]) -> Generator[None, None, tuple[int, ...]]:
        """All tasks, those of a group together and in their order, and a group behind those that it needs.

        :param groups: by the first of each.
        :raises JobError: groups need one another.
        """
        at = {task: slot for slot, task in enumerate(self.order)}
        group_of = {task: head for head, group in groups.items() for task in group}
        missing: dict[int, int] = {}
        work = 0
        for task, producers in self._producers.items():
            head = group_of[task]
            needed = sum(group_of[producer] != head for producer in producers)
            if needed:
                missing[head] = missing.get(head, 0) + needed
            work += 1 + len(producers)
            if work >= STEP:
                work = 0
                yield
        ready = [at[head] for head in groups if head not in missing]
        heapq.heapify(ready)
        arranged: list[int] = []
        while ready:
            head = self.order[heapq.heappop(ready)]
            for task in groups[head]:
                arranged.append(task)
                for consumer in self.consumers(task):
                    other = group_of[consumer]
                    if other != head:
                        missing[other] -= 1
                        if not missing[other]:
                            heapq.heappush(ready, at[other])
                work += 1 + len(self.consumers(task))
            if work >= STEP:
                work = 0
                yield
        if len(arranged) < len(self.order):
            circle = sorted(task for head, left in missing.items() if left for task in groups[head])[:10]
            raise JobError(f"tasks wait for one another in a circle, among them {', '.join(map(str, circle))}")
        return tuple(arranged)

    def _circles(self, gangs: Gangs | None) -> Generator[None, None, list[list[int]]]:
        """The tasks in groups that need one another, directly or through others; most are alone.

        Tarjan's strongly connected components (SIAM J. Comput. 1, 1972), without recursion.
        """
        at = {task: slot for slot, task in enumerate(self.order)}
        needed = self.producers if gangs is None else lambda task: (*self.producers(task), *gangs.following(task))
        index: dict[int, int] = {}
        low: dict[int, int] = {}
        stack: list[int] = []
        open_: set[int] = set()
        found: list[list[int]] = []
        work = 0
        for root in self.order:
            if root in index:
                continue
            path = [(root, iter(needed(root)))]
            index[root] = low[root] = len(index)
            stack.append(root)
            open_.add(root)
            while path:
                task, producers = path[-1]
                work += 1
                if work >= STEP:
                    work = 0
                    yield
                producer = next(producers, None)
                if producer is None:
                    path.pop()
                    if path:
                        low[path[-1][0]] = min(low[path[-1][0]], low[task])
                    if low[task] == index[task]:
                        group = [stack.pop()]
                        while group[-1] != task:
                            group.append(stack.pop())
                        open_.difference_update(group)
                        found.append(sorted(group, key=at.__getitem__))
                elif producer not in index:
                    index[producer] = low[producer] = len(index)
                    stack.append(producer)
                    open_.add(producer)
                    path.append((producer, iter(needed(producer))))
                elif producer in open_:
                    low[task] = min(low[task], index[producer])
        return found


def union(edges: Edges, more: Edges) -> Edges:
    """Both, each edge once."""
    if not edges or not more:
        return edges or more
    found = dict(edges)
    for task, others in more.items():
        found[task] = tuple(dict.fromkeys((*found.get(task, ()), *others)))
    return found

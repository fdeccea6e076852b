"""Precedence is which task comes after which others: a graph of stages; a task is ready when those before are done.

Tasks that come after the same others share a gate, so that stages of a hundred thousand tasks need as many edges, and
not their square. Knows numbers only; which tasks are done, the caller says.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

from mu_twisted.base.steps import STEP, exhaust
from mu_twisted.jobs._errors import JobError
from mu_twisted.jobs._lineage import Lineage

Groups = Sequence[tuple[Sequence[int], Sequence[int]]]
"""Pairs: some tasks, and those that come after all of them."""


def grouped(after: Mapping[int, Sequence[int]]) -> "Generator[None, None, list[tuple[Sequence[int], list[int]]]]":
    """Groups of tasks that come after the same others, with pauses in which others may have their turn.

    :param after: for a task those before it, in any order; a ``range`` stays one.
    """
    groups: dict[object, tuple[Sequence[int], list[int]]] = {}
    given: Sequence[int] = ()
    group: list[int] = []
    work = 0
    for task, others in after.items():
        if not others:
            continue
        if others is not given:  # to sort and to hash long ones takes long
            given = others
            if not isinstance(others, range):
                others = tuple(sorted(set(others)))  # noqa: PLW2901
                work += len(others)
            group = groups.setdefault(others, (others, []))[1]
        group.append(task)
        work += 1
        if work >= STEP:
            work = 0
            yield
    return list(groups.values())


class Gate:
    """What some tasks come after.

    :ivar before: tasks that must be done.
    :ivar behind: those that are ready then.
    :ivar missing: how many of those before it are not done.
    :ivar closed: whether one of those before it has failed for good, and those behind it with it.
    :ivar passed: how many of the first of those before it are known to be done.
    """

    __slots__ = ("before", "behind", "closed", "missing", "passed")

    def __init__(self, before: Sequence[int], behind: Sequence[int]) -> None:
        self.before = before
        self.behind = behind
        self.missing = len(before)
        self.closed = False
        self.passed = 0


class Precedence:
    """The gates of a job.

    :param order: all task numbers, in the order in which they are to be assigned.
    :param groups: a task stands behind one gate at most.
    :raises JobError: a task is named that is none, or twice, or tasks come after one another in a circle.
    """

    def __init__(self, order: Sequence[int], groups: Groups) -> None:
        exhaust(self._make(order, groups))

    @classmethod
    def making(cls, order: Sequence[int], groups: Groups) -> "Generator[None, None, Precedence]":
        """As the constructor, with pauses in which others may have their turn."""
        precedence = cls.__new__(cls)
        yield from precedence._make(order, groups)
        return precedence

    def _make(self, order: Sequence[int], groups: Groups) -> Generator[None, None, None]:
        self.gates = [Gate(before, behind) for before, behind in groups]
        self._gate: dict[int, Gate] = {}
        self._opens: dict[int, list[Gate]] = {}
        self.order = tuple(order)
        if not groups:
            return
        known = frozenset(order)
        for gate in self.gates:
            for task in gate.behind:
                if task not in known or task in self._gate:
                    raise JobError(f"task {task} is none of the job, or comes after others in two ways")
                self._gate[task] = gate
            for at, task in enumerate(gate.before):
                if task not in known:
                    raise JobError(f"task {gate.behind[0]} comes after task {task}, which the job does not have")
                self._opens.setdefault(task, []).append(gate)
                if at % STEP == 0:
                    yield
            yield
        self.order = yield from self._longest_first()

    def __bool__(self) -> bool:
        return bool(self.gates)

    def behind_gates(self) -> Iterable[int]:
        """All that come after others."""
        return self._gate.keys()

    def is_blocked(self, task: int) -> bool:
        """Whether a task before it is not done."""
        gate = self._gate.get(task)
        return gate is not None and gate.missing > 0

    def missing(self, task: int) -> int:
        """How many of the tasks before it are not done."""
        gate = self._gate.get(task)
        return 0 if gate is None else gate.missing

    def before(self, task: int) -> Sequence[int]:
        """The tasks that it comes after."""
        gate = self._gate.get(task)
        return () if gate is None else gate.before

    def first_missing(self, task: int, is_done: Callable[[int], bool]) -> int:
        """The first of the tasks before it that is not done, of which there is one.

        What was done stays so: all calls together take as long as there are tasks before gates.
        """
        gate = self._gate[task]
        while is_done(gate.before[gate.passed]):
            gate.passed += 1
        return gate.before[gate.passed]

    def done(self, task: int) -> list[int]:
        """Count a task as done, once.

        :returns: those that are ready with it.
        """
        ready: list[int] = []
        for gate in self._opens.get(task, ()):
            gate.missing -= 1
            if not gate.missing:
                ready += gate.behind
        return ready

    def close(self, task: int) -> Iterator[int]:
        """The task has failed for good.

        :returns: those that come after it, without those that have failed with another one already.
        """
        for gate in self._opens.get(task, ()):
            if not gate.closed:
                gate.closed = True
                yield from gate.behind

    def reopen(self, tasks: Iterable[int]) -> None:
        """These, which had failed, are to be done after all."""
        for task in tasks:
            gate = self._gate.get(task)
            if gate is not None:
                gate.closed = False

    def behind(self, tasks: Iterable[int]) -> set[int]:
        """All that come after one of these tasks, directly or through others."""
        found: set[int] = set()
        gates: set[Gate] = set()
        stack = list(tasks)
        while stack:
            for gate in self._opens.get(stack.pop(), ()):
                if gate not in gates:
                    gates.add(gate)
                    stack += [task for task in gate.behind if task not in found]
                    found.update(gate.behind)
        return found

    def opened_by(self, task: int) -> Sequence[Gate]:
        """The gates for which the task must be done."""
        return self._opens.get(task, ())

    # -- inside ----------------------------------------------------------------------------------------------------

    def _longest_first(self) -> Generator[None, None, tuple[int, ...]]:
        """The tasks by how many come after them one after the other, the most first; else in their order.

        So of two tasks in a row the first comes first, and the longest row before the others.

        :raises JobError: tasks come after one another in a circle.
        """
        height = dict.fromkeys(self.order, 0)
        left = {gate: len(gate.behind) for gate in self.gates}
        waiting = {task: len(gates) for task, gates in self._opens.items()}
        ready = [task for task in self.order if task not in waiting]
        reached = work = 0
        while ready:
            task = ready.pop()
            reached += 1
            work += 1
            gate = self._gate.get(task)
            if gate is not None:
                left[gate] -= 1
                if not left[gate]:
                    above = 1 + max(height[one] for one in gate.behind)
                    work += len(gate.behind) + len(gate.before)
                    for one in gate.before:
                        height[one] = max(height[one], above)
                        waiting[one] -= 1
                        if not waiting[one]:
                            ready.append(one)
            if work >= STEP:
                work = 0
                yield
        if reached < len(self.order):
            circle = sorted(task for task, count in waiting.items() if count)[:10]
            named = ", ".join(map(str, circle))
            raise JobError(f"tasks come after one another in a circle, among them {named}: one of them has to begin")
        at = {task: slot for slot, task in enumerate(self.order)}
        return tuple(sorted(self.order, key=lambda task: (-height[task], at[task])))


def check_together(lineage: Lineage, precedence: Precedence) -> Generator[None, None, None]:
    """Look for tasks of which one comes after another that waits for its messages, or runs at the same time.

    :raises JobError: there are some.
    """
    missing: dict[object, int] = dict.fromkeys(map(lineage.circle, lineage.order), 0)
    for task in lineage.order:
        head = lineage.circle(task)
        missing[head] += sum(lineage.circle(one) != head for one in lineage.producers(task))
        missing[head] += bool(precedence.before(task))
    for gate in precedence.gates:
        missing[gate] = len(gate.before)
    members: dict[int, list[int]] = {}
    for task in lineage.order:
        members.setdefault(lineage.circle(task), []).append(task)
    ready = [node for node, count in missing.items() if not count]
    work = reached = 0

    def met(node: object) -> None:
        missing[node] -= 1
        if not missing[node]:
            ready.append(node)

    while ready:
        node = ready.pop()
        reached += 1
        if isinstance(node, Gate):
            for task in node.behind:
                met(lineage.circle(task))
            work += len(node.behind)
        else:
            for task in members[node]:  # type: ignore[index]
                for gate in precedence.opened_by(task):
                    met(gate)
                for consumer in lineage.consumers(task):
                    if lineage.circle(consumer) != node:
                        met(lineage.circle(consumer))
                work += 1 + len(lineage.consumers(task))
        if work >= STEP:
            work = 0
            yield
    if reached < len(missing):
        stuck = sorted(task for node, count in missing.items() if count for task in members.get(node, ()))[:10]  # type: ignore[call-overload]
        named = ", ".join(map(str, stuck))
        wait = "wait for messages of others that" if lineage else "are joined by pipes with others that"
        own = "messages= or consumes=" if lineage else "pipes="
        raise JobError(f"tasks {wait} come after them, among these {named}: leave that out of after=, or of {own}")

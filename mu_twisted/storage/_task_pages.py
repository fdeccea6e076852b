"""Pages of a job's tasks are cut here, of one that runs as of one that is over."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice

import msgspec

from mu_twisted.base.steps import STEP, Steps
from mu_twisted.statuses import MAX_PAGE, SettledPage, TaskPage, TaskStatus
from mu_twisted.storage._output_page import MAX_PAGE_BYTES

Labels = Callable[[int], str | None]
"""What a task of a job is called, by its number; None: it has no name but that."""

_SETTLED = ("done", "failed")


def no_label(_task: int) -> None:
    """What tasks are known by that have numbers only."""


def page_of(
    tasks: Iterable[TaskStatus | None], limit: int, state: str | None, label: Labels = no_label
) -> Steps[TaskPage]:
    """The first of these tasks, which are in the order of their numbers.

    :param tasks: None in place of one that is left out.
    :param limit: how many at most.
    :param state: leave out those in another.
    :param label: what a task is known by.
    """
    page: list[TaskStatus] = []
    for index, task in enumerate(tasks):
        if task is not None and (state is None or task.state == state):
            if len(page) >= limit:
                return TaskPage(page, task.task)
            called = label(task.task)
            page.append(task if called is None else msgspec.structs.replace(task, label=called))
        if index % STEP == 0:
            yield
    return TaskPage(page)


def as_settled(task: TaskStatus, *, has_result: bool) -> TaskStatus | None:
    """A task that has been settled, as it counts: done if it has a result, be it that it runs again for its messages;
    None: it is tried again, and is settled once more.
    """
    if task.state in _SETTLED:
        return task
    return msgspec.structs.replace(task, state="done", error=None, waits=None) if has_result else None


def settled_last(settled: Sequence[int], after: int, *, now: int) -> list[int | None]:
    """A page of the numbers of tasks that were settled; None in place of one that was settled once more later.

    :param after: how many were settled before them.
    :param now: how many tasks are settled: where no more were listed, none was so twice.
    """
    page: list[int | None] = list(settled[after : after + MAX_PAGE])
    if len(settled) > now:
        later = set(page).intersection(islice(settled, after + MAX_PAGE, None))
        for place in range(len(page) - 1, -1, -1):
            number = page[place]
            if number in later:
                page[place] = None
            later.add(number)
    return page


def settled_page(
    slots: Iterable[TaskStatus | None], after: int, count: Callable[[], int], label: Labels, *, over: bool
) -> Steps[tuple[SettledPage, list[int]]]:
    """These tasks, which were settled one after the other, each with its place among all that were.

    :param slots: as :func:`as_settled` has them.
    :param after: how many were settled before them.
    :param count: how many are settled in all, by now.
    :param label: what a task is known by.
    :param over: whether no more will be.
    """
    found: list[TaskStatus] = []
    places: list[int] = []
    end = after
    for task in slots:
        if task is not None:
            called = label(task.task)
            found.append(task if called is None else msgspec.structs.replace(task, label=called))
            places.append(end)
        end += 1
        if end % STEP == 0:
            yield
    return SettledPage(found, end, over=over and end >= count()), places


def with_results(page: SettledPage, places: Sequence[int], results: Mapping[int, bytes | None]) -> SettledPage:
    """A page whose tasks have what their last run has printed; it ends early where that is long.

    :param places: of its tasks, as :func:`settled_page` gives them.
    :param results: by task.
    """
    tasks: list[TaskStatus] = []
    size = 0
    for task, place in zip(page.tasks, places, strict=True):
        if size > MAX_PAGE_BYTES:  # the next page has the others
            return SettledPage(tasks, place)
        tasks.append(msgspec.structs.replace(task, result=results.get(task.task)))
        size += len(tasks[-1].result or b"")
    return msgspec.structs.replace(page, tasks=tasks)

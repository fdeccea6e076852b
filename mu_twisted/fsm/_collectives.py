"""Collectives are the usual exchanges among several tasks, made of named messages.

Each task of the exchange calls the same function with the same tasks, in the same order of calls. Nothing that is sent
waits for what is to be received, so that they need not all run at once.
"""

from collections.abc import Sequence
from typing import TypeVar

from mu_twisted.fsm._errors import FSMError, show
from mu_twisted.fsm._worker import Worker

_T = TypeVar("_T")


async def all_to_all(w: Worker, tasks: Sequence[int], name: str, files: Sequence[str]) -> list[str]:
    """Give every task a file of one's own, and take one of each.

    :param w: the caller's worker.
    :param tasks: those that take part, the caller among them.
    :param name: of the messages.
    :param files: paths on the worker, one for each of the tasks in their order.
    :returns: paths of what each of the tasks has sent, in their order; one's own file is where it was.
    :raises FSMError: the caller is none of the tasks, or there is not one file for each.
    """
    _check(w, tasks)
    if len(files) != len(tasks):
        raise FSMError(f"all_to_all: {len(files)} files for {len(tasks)} tasks")
    mine, *others = _from(list(zip(tasks, files, strict=True)), list(tasks).index(w.task))
    # In one go, for only what is waited for comes directly; and each begins with another, not all with the first.
    sent = [w.send(task, name, file) for task, file in others]
    came = await w.all(*sent, *(w.receive(task, name) for task, _ in reversed(others)))
    paths = dict([mine, *zip((task for task, _ in reversed(others)), came[len(sent) :], strict=True)])
    return [paths[task] for task in tasks]


async def gather(w: Worker, tasks: Sequence[int], name: str, file: str, *, root: int | None = None) -> list[str]:
    """Bring a file of every task to one of them.

    :param w: the caller's worker; ``tasks`` and ``name`` as for :func:`all_to_all`.
    :param file: path on the worker.
    :param root: the task that gets them; None: the first.
    :returns: at the root, paths of what each of the tasks has sent, in their order; elsewhere an empty list.
    :raises FSMError: the caller, or the root, is none of the tasks.
    """
    root = _root(w, tasks, root)
    if w.task != root:
        await w.send(root, name, file)
        return []
    received = iter(await w.all(*(w.receive(task, name) for task in tasks if task != root)))
    return [file if task == root else next(received) for task in tasks]


async def broadcast(
    w: Worker, tasks: Sequence[int], name: str, file: str | None = None, *, root: int | None = None
) -> str:
    """Bring a file of one task to all others, along a binomial tree: in as many steps as their number has bits.

    :param w: the caller's worker; ``tasks`` and ``name`` as for :func:`all_to_all`.
    :param file: path on the root's worker.
    :param root: the task whose file it is; None: the first.
    :returns: the file's path.
    :raises FSMError: the caller, or the root, is none of the tasks, or the root has no file.
    """
    root = _root(w, tasks, root)
    order = _from(tasks, list(tasks).index(root))
    place = order.index(w.task)
    bits = max(1, (len(order) - 1).bit_length())
    if place:
        parent = place & (place - 1)  # without its lowest bit
        path = await w.receive(order[parent], name)
        below = (place & -place).bit_length() - 1
    elif file is None:
        raise FSMError(f"broadcast: task {root} is the one whose file goes to all, and has given none")
    else:
        path, below = file, bits
    children = [place + (1 << bit) for bit in reversed(range(below)) if place + (1 << bit) < len(order)]
    await w.all(*(w.send(order[child], name, path) for child in children))
    return path


async def reduce(
    w: Worker, tasks: Sequence[int], name: str, file: str, command: str, *, root: int | None = None
) -> str | None:
    """Combine a file of every task into one, two at a time along a binomial tree.

    The operation must be associative; operands come in the order of the tasks from the root on.

    :param w: the caller's worker; ``tasks`` and ``name`` as for :func:`all_to_all`.
    :param file: path on the worker.
    :param command: combines two files into a third; ``{left}``, ``{right}`` and ``{out}`` stand for their paths, as
        in ``sort -m {left} {right} > {out}``.
    :param root: the task that gets the result; None: the first.
    :returns: at the root, the result's path; elsewhere None.
    :raises FSMError: the caller, or the root, is none of the tasks, or the command does not name the three.
    :raises RunError: the command has failed.
    """
    for part in ("{left}", "{right}", "{out}"):
        if part not in command:
            raise FSMError(f"reduce: its command must say where {part} stands, got {show(command)}")
    order = _from(tasks, list(tasks).index(_root(w, tasks, root)))
    place, path = order.index(w.task), file
    bit = 1
    while bit < len(order):
        if place & bit:
            await w.send(order[place - bit], name, path)
            return None
        if place + bit < len(order):
            right = await w.receive(order[place + bit], name)
            out = f"##TMPDIR##/reduced.{bit}"
            await w.run(command.replace("{left}", path).replace("{right}", right).replace("{out}", out))
            path = out
        bit <<= 1
    return path


def _check(w: Worker, tasks: Sequence[int]) -> None:
    if w.task not in tasks or len(set(tasks)) != len(tasks):
        raise FSMError(f"the tasks of an exchange are named once each, task {w.task} among them: {show(tasks)}")


def _root(w: Worker, tasks: Sequence[int], root: int | None) -> int:
    _check(w, tasks)
    if root is None:
        return tasks[0]
    if root not in tasks:
        raise FSMError(f"task {root} is none of the tasks of the exchange: {show(tasks)}")
    return root


def _from(what: Sequence[_T], place: int) -> list[_T]:
    """All in their order, from this place on and around."""
    return [*what[place:], *what[:place]]

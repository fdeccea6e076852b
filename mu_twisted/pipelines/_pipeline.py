"""A pipeline is a first state or a script, its options, programs and order of tasks, and its report."""

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from operator import index
from typing import Any, TypeVar

from twisted.python.usage import UsageError

from mu_twisted.base import MuError
from mu_twisted.fsm import MachineState, Script
from mu_twisted.pipelines._input_list import InputList, shown, unpack
from mu_twisted.pipelines._options import PeerOptions, PipelineOptions
from mu_twisted.pipelines._user_code import PipelineError, user_code
from mu_twisted.wire.links import check_name

T = TypeVar("T")

_TOGETHER = 100
"""Tasks that a pipeline's function is asked about in one call of the guard."""


@dataclass(frozen=True)
class Report:
    """What a pipeline has to say when a job of it is over.

    :param text: for the user, a line or several.
    :param error: what the job has failed of although all its tasks are done, one line.
    """

    text: str = ""
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """The program of a job.

    :param name: what the user calls it by.
    :param summary: one line for the list of pipelines.
    :param first: the state that every task's machine starts in, or a script, ``async def task(w)``.
    :param options: the job options; parsed, they are the ``settings`` that states and scripts see.
    :param programs: files that the Lambda function must contain, relative to its root, or a function that returns them
        from the settings; a job is not launched if one is missing.
    :param order: from the settings, the task numbers 0 .. tasks-1 in the order in which they are to be assigned
        (producers before consumers); None: low first.
    :param side_effects: whether a task may not be tried twice at once, as with a program that counts its runs.
    :param outputs: from the settings and a task's number, the keys of the objects that the task stores; a job may leave
        out tasks whose objects are all there.
    :param consumes: from the settings and a task's number, the tasks whose messages that task takes, its producers.
        Where it is given, tasks may talk to one another (``Worker.send``, ``Worker.connect``), and the options must be
        :class:`PeerOptions`. Tasks cannot consume one another in a circle.
    :param messages: the same for named messages only (``Worker.send``), of which tasks may also take one another's: the
        tasks that send any, or pairs of such a task and a message's name. All messages that a task sends to those that
        it waits for must be sent before it waits.
    :param report: from the settings and the remarks of the tasks that are done, what is to be said at the job's end. A
        task remarks something by putting a text into ``info["remark"]``; those that have not are left out.
    :param label: from the settings and a task's number, what the user knows the task by, such as its input; without it
        tasks are known by their numbers.
    :param check: from the settings and a task's number, raises a :class:`PipelineError` if the task makes no sense;
        asked about each task before the job is taken.
    """

    name: str
    summary: str
    first: type[MachineState] | Script
    options: type[PipelineOptions] = PipelineOptions
    programs: tuple[str, ...] | Callable[[Mapping[str, Any]], tuple[str, ...]] = ()
    order: Callable[[Mapping[str, Any]], Sequence[int]] | None = None
    side_effects: bool = False
    outputs: Callable[[Mapping[str, Any], int], Sequence[str]] | None = None
    consumes: Callable[[Mapping[str, Any], int], Sequence[int]] | None = None
    messages: Callable[[Mapping[str, Any], int], Sequence[int | tuple[int, str]]] | None = None
    report: Callable[[Mapping[str, Any], Mapping[int, str]], Report] | None = None
    label: Callable[[Mapping[str, Any], int], str] | None = None
    check: Callable[[Mapping[str, Any], int], None] | None = None

    def __post_init__(self) -> None:
        if self.talks and not issubclass(self.options, PeerOptions):
            raise PipelineError(f"pipeline {self.name}: its tasks take messages, so its options must be PeerOptions")

    @property
    def talks(self) -> bool:
        """Whether its tasks may exchange messages."""
        return self.consumes is not None or self.messages is not None

    def parse(self, words: Sequence[str], inputs: str | None = None) -> Any:
        """The settings of a job with these options.

        :param inputs: a packed list of what its tasks are to work on, see :func:`mu_twisted.pipelines.pack_inputs`.
        :raises twisted.python.usage.UsageError: they are wrong.
        :raises PipelineError: they ask for no job (``--help``), or the pipeline's own code fails over them.
        """
        listed = None if inputs is None else unpack(inputs)
        settings = user_code(
            f"pipeline {self.name}: its options failed", self._parse, words, listed, expected=(MuError, UsageError)
        )
        settings["function"] = settings["function"] or self.name
        return settings

    def needs(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The files that the Lambda function must contain for such a job.

        :raises PipelineError: the pipeline's own code fails.
        """
        programs = self.programs
        if not callable(programs):
            return tuple(programs)
        return user_code(f"pipeline {self.name}: its programs cannot be found", lambda: tuple(programs(settings)))

    def stores(self, settings: Mapping[str, Any]) -> dict[int, tuple[str, ...]] | None:
        """For each task the keys of the objects that it stores; None: the pipeline does not say.

        :raises PipelineError: the pipeline's own code fails.
        """
        outputs = self.outputs
        if outputs is None:
            return None
        doing = f"pipeline {self.name}: its outputs cannot be found"
        return _for_each(doing, settings["tasks"], lambda task: tuple(outputs(settings, task)))

    def producers(self, settings: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
        """For each task that takes messages, the tasks that send them.

        :raises PipelineError: a task is named that the job does not have, or a task comes after itself, or the
            pipeline's own code fails.
        """
        consumes = self.consumes
        if consumes is None:
            return {}
        tasks = settings["tasks"]
        doing = f"pipeline {self.name}: whose messages a task takes cannot be found"
        found = _for_each(doing, tasks, lambda task: tuple(map(index, consumes(settings, task))))
        for task, producers in found.items():
            for producer in producers:
                if not 0 <= producer < tasks or producer == task:
                    raise PipelineError(
                        f"pipeline {self.name}: task {task} takes messages of {producer}, which is no other task"
                    )
        try:
            TopologicalSorter(found).prepare()
        except CycleError:
            raise PipelineError(f"pipeline {self.name}: its tasks wait for one another in a circle") from None
        return {task: producers for task, producers in found.items() if producers}

    def senders(self, settings: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
        """For each task that takes named messages by :attr:`messages`, the tasks that send them.

        :raises PipelineError: as :meth:`producers`; or a name is none.
        """
        messages = self.messages
        if messages is None:
            return {}
        tasks = settings["tasks"]
        doing = f"pipeline {self.name}: whose messages a task takes cannot be told"
        found = _for_each(doing, tasks, lambda task: tuple(_names_by_sender(messages(settings, task))))
        for task, senders in found.items():
            for sender in senders:
                if not 0 <= sender < tasks or sender == task:
                    raise PipelineError(
                        f"pipeline {self.name}: task {task} takes messages of {sender}, which is no other task"
                    )
        return {task: senders for task, senders in found.items() if senders}

    def edges(self, settings: Mapping[str, Any]) -> dict[int, tuple[int, ...]]:
        """For each task that takes messages of any kind, the tasks that send them.

        :raises PipelineError: as :meth:`producers` and :meth:`senders`.
        """
        found = self.producers(settings)
        for task, senders in self.senders(settings).items():
            found[task] = tuple(dict.fromkeys((*found.get(task, ()), *senders)))
        return found

    def takes(self, settings: Mapping[str, Any], task: int) -> dict[int, frozenset[str] | None]:
        """The tasks whose named messages a task takes, each with their names; None: of any name.

        To be called by a task's script only: what the author's code raises ends the script.
        """
        found: dict[int, frozenset[str] | None] = {}
        if not 0 <= task < settings["tasks"]:
            return found
        if self.messages is not None:
            found = _names_by_sender(self.messages(settings, task))
        if self.consumes is not None:
            found.update(dict.fromkeys(map(index, self.consumes(settings, task))))
        return found

    def task_order(self, settings: Mapping[str, Any]) -> list[int]:
        """The task numbers in order of assignment.

        :raises PipelineError: the pipeline's own order is not an arrangement of 0 .. tasks-1, or a task stands in it
            before one whose messages it takes, or the pipeline's own code fails.
        """
        numbers = list(range(settings["tasks"]))
        order, ordered = self.order, numbers
        if order is not None:
            ordered = user_code(
                f"pipeline {self.name}: its order cannot be found", lambda: list(map(index, order(settings)))
            )
        if sorted(ordered) != numbers:
            raise PipelineError(
                f"pipeline {self.name}: its order must name each task from 0 to {len(numbers) - 1} once"
            )
        place = {task: at for at, task in enumerate(ordered)}
        for task, producers in self.producers(settings).items():
            for producer in producers:
                if place[producer] > place[task]:
                    raise PipelineError(
                        f"pipeline {self.name}: in its order task {task} stands before {producer}, "
                        "whose messages it takes"
                    )
        return ordered

    def last_word(self, settings: Mapping[str, Any], remarks: Mapping[int, str]) -> Report:
        """What the pipeline has to say of a job that is over.

        :param remarks: what tasks that are done have left, by number.
        :raises PipelineError: the pipeline's own code fails, or returns no report of texts.
        """
        report = self.report
        if report is None:
            return Report()
        return user_code(f"the report of pipeline {self.name} failed", _checked_report, report, settings, remarks)

    def checking(self, settings: Mapping[str, Any]) -> Generator[None, None, None]:
        """Look whether each task makes sense, with pauses in which others may have their turn.

        :raises PipelineError: one does not, or the pipeline's own code fails.
        """
        check = self.check
        if check is not None:
            for some in _portions(settings["tasks"]):
                user_code(f"pipeline {self.name}: its tasks cannot be checked", _apply, check, settings, some)
                yield

    def label_of(self, settings: Mapping[str, Any], task: int) -> str | None:
        """What the user knows a task by, on one line; None: by its number."""
        label = self.label
        if label is None:
            return None
        try:
            return shown(str(user_code(f"pipeline {self.name}: its labels failed", label, settings, task)))
        except MuError:  # the user's message about the task is about something else
            return None

    def _parse(self, words: Sequence[str], inputs: InputList | None) -> Any:
        settings = self.options()
        if inputs is not None:
            settings.take_inputs(inputs)
        try:
            settings.parseOptions(list(words))
        except SystemExit as end:
            if end.code:
                raise
            raise PipelineError(f"{self.name}: --help and --version are no options of a job") from None
        return settings


def _names_by_sender(messages: Sequence[int | tuple[int, str]]) -> dict[int, frozenset[str] | None]:
    """The senders of these messages, each with their names; None: of any name.

    :raises ValueError: a name is none.
    """
    found: dict[int, frozenset[str] | None] = {}
    for message in messages:
        if not isinstance(message, tuple):
            found[index(message)] = None
            continue
        sender, name = message
        check_name(name)
        names = found.get(index(sender), frozenset())
        found[index(sender)] = None if names is None else names | {name}
    return found


def _for_each(doing: str, tasks: int, function: Callable[[int], T]) -> dict[int, T]:
    """What a function of the author's says of each task: a call for each would take longer than most such functions."""
    found: dict[int, T] = {}
    for some in _portions(tasks):
        found.update(user_code(doing, lambda some: [(task, function(task)) for task in some], some))
    return found


def _portions(tasks: int) -> Generator[range, None, None]:
    for first in range(0, tasks, _TOGETHER):
        yield range(first, min(first + _TOGETHER, tasks))


def _apply(function: Callable[[Mapping[str, Any], int], None], settings: Mapping[str, Any], tasks: range) -> None:
    for task in tasks:
        function(settings, task)


def _checked_report(
    report: Callable[[Mapping[str, Any], Mapping[int, str]], Report],
    settings: Mapping[str, Any],
    remarks: Mapping[int, str],
) -> Report:
    found = report(settings, remarks)
    if not isinstance(found, Report):
        raise TypeError(f"expected a Report, got {type(found).__name__}")
    # Texts of the author's own classes are the author's code, too.
    return Report(str.__str__(found.text), None if found.error is None else str.__str__(found.error))

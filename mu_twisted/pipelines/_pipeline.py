"""A pipeline is a first state or a script, its options, programs and order of tasks, and its report."""

from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from typing import Any, TypeVar

from twisted.python.usage import UsageError

from mu_twisted.base import MuError, one_line
from mu_twisted.base.steps import STEP, Steps
from mu_twisted.fsm import MachineState, Script
from mu_twisted.jobs import MAX_STAGES, STAGE_NAME, STAGE_NAME_RULE, Gangs, JobError, Lineage, Pipe
from mu_twisted.pipelines._examination import MAX_PART, Looking, ObjectPart, PartWanted
from mu_twisted.pipelines._input_list import InputList, shown, unpack
from mu_twisted.pipelines._options import JobSettings, PeerOptions, PipelineOptions
from mu_twisted.pipelines._plots import checked_plots
from mu_twisted.pipelines._user_code import PipelineBlocked, PipelineError, user_code
from mu_twisted.statuses import Plot
from mu_twisted.wire.links import check_name
from mu_twisted.wire.pipes import check_pipe_name

T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """What a pipeline has to say when a job of it is over.

    :param text: for the user, a line or several.
    :param error: what the job has failed of although all its tasks are done, one line.
    :param plots: what ``mu report`` draws of the job, beside the text.
    """

    text: str = ""
    error: str | None = None
    plots: tuple[Plot, ...] = ()


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
    :param pipes: the pipes between tasks (``Worker.pipe_to``), each with the task that writes, the task that reads, and
        a name; or a function that returns them from the settings. Tasks that pipes join, directly or through others,
        run at the same time: they begin together, and again together when one fails. The options must be
        :class:`PeerOptions`.
    :param after: from the settings and a task's number, the tasks that must be done before this one begins, as when it
        reads what they store. Tasks that come after the same ones return a ``range``, or one and the same tuple, where
        there are many.
    :param stage: from the settings and a task's number, the name of the stage that the task is part of, by which a
        status counts tasks; stages are shown in the order of their first tasks.
    :param report: from the settings and the remarks of the tasks that are done, what is to be said at the job's end. A
        task remarks something by putting a text into ``info["remark"]``; those that have not are left out.
    :param label: from the settings and a task's number, what the user knows the task by, such as its input; without it
        tasks are known by their numbers.
    :param names: from the settings and a task's number, all texts that the user can name the task by, such as each of
        its inputs; without it the label is the only one.
    :param check: from the settings and a task's number, raises a :class:`PipelineError` if the task makes no sense;
        asked about each task before the job is taken.
    :param extends: takes settings and the inputs of further tasks into them, and says how many tasks these are; with it
        a job is kept open, and what the last run of a task prints is its result, which is kept whole. Where it raises
        something, it leaves the settings as they were.
    :param examine: from the settings, a generator that looks at objects which the job is to read, before anything is
        launched: it yields :class:`PartWanted`, is sent :class:`ObjectPart`, and raises a :class:`PipelineError` if the
        job makes no sense with them.
    :param made_by: the command that writes what the function is made of and prints how; empty: there is none.
    """

    name: str
    summary: str
    first: type[MachineState] | Script
    options: type[PipelineOptions] = PipelineOptions
    programs: tuple[str, ...] | Callable[[JobSettings], tuple[str, ...]] = ()
    order: Callable[[JobSettings], Sequence[int]] | None = None
    side_effects: bool = False
    outputs: Callable[[JobSettings, int], Sequence[str]] | None = None
    consumes: Callable[[JobSettings, int], Sequence[int]] | None = None
    messages: Callable[[JobSettings, int], Sequence[int | tuple[int, str]]] | None = None
    pipes: Sequence[tuple[int, int, str]] | Callable[[JobSettings], Sequence[tuple[int, int, str]]] | None = None
    after: Callable[[JobSettings, int], Sequence[int]] | None = None
    stage: Callable[[JobSettings, int], str] | None = None
    report: Callable[[JobSettings, Mapping[int, str]], Report] | None = None
    label: Callable[[JobSettings, int], str] | None = None
    names: Callable[[JobSettings, int], Sequence[str]] | None = None
    check: Callable[[JobSettings, int], None] | None = None
    examine: Callable[[JobSettings], Looking] | None = None
    extends: Callable[[Any, InputList], int] | None = None
    made_by: str = ""

    def __post_init__(self) -> None:
        if self.talks and not issubclass(self.options, PeerOptions):
            raise PipelineError(
                f"pipeline {self.name}: its tasks take messages or have pipes, so its options must be PeerOptions"
            )

    @property
    def talks(self) -> bool:
        """Whether its tasks may exchange messages."""
        return self.consumes is not None or self.messages is not None or self.pipes is not None

    @property
    def description(self) -> str:
        """What it does, and what its options' class says besides; for the help."""
        does = f"{self.summary[:1].upper()}{self.summary[1:]}." if self.summary else ""
        return " ".join(filter(None, (does, getattr(self.options, "longdesc", None))))

    def parse(self, words: Sequence[str], inputs: str | None = None) -> PipelineOptions:
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
        settings["bucket"] = settings["bucket"] or ""
        return settings

    def needs(self, settings: JobSettings) -> tuple[str, ...]:
        """The files that the Lambda function must contain for such a job.

        :raises PipelineError: the pipeline's own code fails.
        """
        programs = self.programs
        if not callable(programs):
            return tuple(programs)
        return user_code(f"pipeline {self.name}: its programs cannot be found", lambda: tuple(programs(settings)))

    # What is asked about each task takes long where there are many: these return it as generators do, and pause now and
    # then, so that others may have their turn.

    def reading_outputs(self, settings: JobSettings) -> Steps[dict[int, tuple[str, ...]] | None]:
        """For each task the keys of the objects that it stores; None: the pipeline does not say.

        :raises PipelineError: the pipeline's own code fails.
        """
        outputs = self.outputs
        if outputs is None:
            return None
        doing = f"pipeline {self.name}: its outputs cannot be found"
        return (yield from _asking(doing, settings["tasks"], lambda task: tuple(outputs(settings, task))))

    def reading_producers(self, settings: JobSettings) -> Steps[dict[int, tuple[int, ...]]]:
        """For each task that takes messages, the tasks that send them.

        :raises PipelineError: a task is named that the job does not have, or a task comes after itself, or the
            pipeline's own code fails.
        """
        consumes = self.consumes
        if consumes is None:
            return {}
        tasks = settings["tasks"]
        doing = f"pipeline {self.name}: whose messages a task takes cannot be found"
        found = yield from _asking(doing, tasks, lambda task: tuple(map(index, consumes(settings, task))))
        edges = yield from self._checking_edges(found, tasks)
        try:
            yield from Lineage.making(range(tasks), edges)
        except JobError:
            raise PipelineError(f"pipeline {self.name}: its tasks wait for one another in a circle") from None
        return edges

    def reading_senders(self, settings: JobSettings) -> Steps[dict[int, tuple[int, ...]]]:
        """For each task that takes named messages by :attr:`messages`, the tasks that send them.

        :raises PipelineError: as :meth:`reading_producers`; or a name is none.
        """
        messages = self.messages
        if messages is None:
            return {}
        tasks = settings["tasks"]
        doing = f"pipeline {self.name}: whose messages a task takes cannot be found"
        found = yield from _asking(doing, tasks, lambda task: tuple(_names_by_sender(messages(settings, task))))
        return (yield from self._checking_edges(found, tasks))

    def reading_gangs(self, settings: JobSettings) -> Steps[Gangs]:
        """The gangs of tasks that pipes join.

        :raises PipelineError: one is no writer, reader and name, or cannot be; or the pipeline's own code fails.
        """
        pipes = self.pipes
        if pipes is None:
            return Gangs((), ())
        doing = f"pipeline {self.name}: its pipes cannot be found"
        found = user_code(doing, lambda: tuple(map(self._pipe, pipes(settings) if callable(pipes) else pipes)))
        yield
        try:
            return Gangs(range(settings["tasks"]), found)
        except JobError as error:
            raise PipelineError(f"pipeline {self.name}: {error}") from None

    def _pipe(self, pipe: object) -> Pipe:
        """A pipe as the author gave it, called as his code is: what he made may have a word in that."""
        try:
            if not isinstance(pipe, tuple) or len(pipe) != 3:
                raise ValueError(f"a pipe is (task that writes, task that reads, name), got {pipe!r:.80}")
            check_pipe_name(pipe[2])
            return index(pipe[0]), index(pipe[1]), str.__str__(pipe[2])
        except TypeError:
            raise PipelineError(
                f"pipeline {self.name}: a pipe joins tasks by their numbers, got {pipe!r:.80}"
            ) from None
        except ValueError as error:
            raise PipelineError(f"pipeline {self.name}: {one_line(str(error))}") from None

    def reading_after(self, settings: JobSettings) -> Steps[dict[int, Sequence[int]]]:
        """For each task that comes after others, these.

        :raises PipelineError: a task is named that the job does not have, or a task comes after itself, or the
            pipeline's own code fails.
        """
        after = self.after
        if after is None:
            return {}
        tasks = settings["tasks"]
        doing = f"pipeline {self.name}: what a task comes after cannot be found"
        named = _TasksNamed(after, settings)
        found = yield from _asking(doing, tasks, named.before)
        found = {task: before for task, before in found.items() if before}
        looked_at: Sequence[int] = ()
        members: Container[int] = ()
        for at, (task, before) in enumerate(found.items()):
            wrong: list[int] = []
            if before is not looked_at:
                looked_at = before
                ends = (before[0], before[-1]) if isinstance(before, range) else before
                members = before if isinstance(before, range) else frozenset(before)
                wrong = [one for one in ends if not 0 <= one < tasks]
            wrong = wrong or [task] * (task in members)
            if wrong:
                raise PipelineError(
                    f"pipeline {self.name}: task {task} comes after {wrong[0]}, which is no other task: "
                    f"the job has 0 to {tasks - 1}"
                )
            if at % STEP == 0:
                yield
        return found

    def reading_stages(self, settings: JobSettings) -> Steps[dict[str, list[int]]]:
        """The names of the job's stages, each with its tasks; none: the pipeline has no stages.

        :raises PipelineError: a name is none, or there are too many, or the pipeline's own code fails.
        """
        stage = self.stage
        stages: dict[str, list[int]] = {}
        if stage is None:
            return stages
        doing = f"pipeline {self.name}: the stage of a task cannot be found"
        found = yield from _asking(doing, settings["tasks"], lambda task: stage(settings, task))
        for task, name in found.items():
            if type(name) is not str or (name not in stages and STAGE_NAME.fullmatch(name) is None):
                raise PipelineError(f"pipeline {self.name}: {STAGE_NAME_RULE}; that of task {task} is {_quoted(name)}")
            stages.setdefault(name, []).append(task)
            if len(stages) > MAX_STAGES:
                raise PipelineError(f"pipeline {self.name}: a job has at most {MAX_STAGES} stages")
            if task % STEP == 0:
                yield
        return stages

    def takes(self, settings: JobSettings, task: int) -> dict[int, frozenset[str] | None]:
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

    def reading_order(self, settings: JobSettings, producers: Mapping[int, Sequence[int]]) -> Steps[Sequence[int]]:
        """The task numbers in order of assignment.

        :param producers: of each task that takes messages, those that send them.
        :raises PipelineError: the pipeline's own order is not an arrangement of 0 .. tasks-1, or a task stands in it
            before one whose messages it takes, or the pipeline's own code fails.
        """
        order, tasks = self.order, settings["tasks"]
        ordered: Sequence[int] = range(tasks)
        if order is not None:
            ordered = user_code(
                f"pipeline {self.name}: its order cannot be found", lambda: list(map(index, order(settings)))
            )
            yield
            if len(ordered) != tasks or set(ordered) != set(range(tasks)):
                raise PipelineError(f"pipeline {self.name}: its order must name each task from 0 to {tasks - 1} once")
        place = {task: at for at, task in enumerate(ordered)}
        for at, task in enumerate(producers):
            for producer in producers[task]:
                if place[producer] > place[task]:
                    raise PipelineError(
                        f"pipeline {self.name}: in its order task {task} stands before {producer}, "
                        "whose messages it takes"
                    )
            if at % STEP == 0:
                yield
        return ordered

    def last_word(self, settings: JobSettings, remarks: Mapping[int, str]) -> Report:
        """What the pipeline has to say of a job that is over.

        :param remarks: what tasks that are done have left, by number.
        :raises PipelineError: the pipeline's own code fails, or returns no report of texts.
        """
        report = self.report
        if report is None:
            return Report()
        return user_code(f"the report of pipeline {self.name} failed", _checked_report, report, settings, remarks)

    def checking(self, settings: JobSettings) -> Steps[None]:
        """Look whether each task makes sense.

        :raises PipelineError: one does not, or the pipeline's own code fails.
        """
        check = self.check
        if check is not None:
            for some in _portions(settings["tasks"]):
                user_code(f"pipeline {self.name}: its tasks cannot be checked", _apply, check, settings, some)
                yield

    def examination(self, settings: JobSettings) -> Looking | None:
        """The examination of what the job is to read; None: the pipeline has none.

        :raises PipelineError: the pipeline's own code fails.
        """
        examine = self.examine
        if examine is None:
            return None
        return user_code(f"pipeline {self.name}: its examination cannot begin", examine, settings)

    def next_part(self, looking: Looking, part: ObjectPart | None) -> PartWanted | None:
        """What an examination asks for next; None: it has found nothing wrong.

        :param part: what it has asked for before; None: it is about to begin.
        :raises PipelineError: the job makes no sense, or the pipeline's own code fails, or asks for too much.
        """
        doing = f"pipeline {self.name}: what it is to read cannot be looked at"
        wanted = user_code(doing, _next_part, looking, part)
        if wanted is not None and not (type(wanted) is PartWanted and 0 < wanted.count <= MAX_PART):
            raise PipelineError(f"{doing}: a part of an object has 1 to {MAX_PART} bytes")
        return wanted

    def leave(self, looking: Looking) -> None:
        """End an examination, here and not amid anything: its clean-up is the author's code, too. What is wrong with
        that changes nothing any more.
        """
        with suppress(MuError):
            user_code(f"pipeline {self.name}: its examination cannot end", lambda: looking.close())

    def labels(self, settings: JobSettings) -> Callable[[int], str | None]:
        """What the user knows a task by, on one line; None: by its number. Once that has blocked, it is asked no more:
        each of many tasks would hold up all jobs.
        """
        label, blocked = self.label, False
        doing = f"pipeline {self.name}: its labels failed"

        def known_by(task: int) -> str | None:
            nonlocal blocked
            if label is None or blocked:
                return None
            try:
                return shown(user_code(doing, _label, label, settings, task))
            except MuError as error:  # the user's message about the task is about something else
                blocked = isinstance(error, PipelineBlocked)
                return None

        return known_by

    def extend(self, settings: Any, inputs: InputList) -> int:
        """Take the inputs of further tasks into the settings.

        :returns: how many tasks these are.
        :raises PipelineError: the pipeline takes none, or its own code fails.
        """
        extends = self.extends
        if extends is None:
            raise PipelineError(f"pipeline {self.name} takes no tasks while its jobs run")
        doing = f"pipeline {self.name}: further inputs cannot be taken"
        count = user_code(doing, lambda: index(extends(settings, inputs)))
        if count < 0:
            raise PipelineError(f"{doing}: it says that these are {count} tasks")
        return count

    def _checking_edges(self, found: Mapping[int, tuple[int, ...]], tasks: int) -> Steps[dict[int, tuple[int, ...]]]:
        """Those of the tasks that take messages of others.

        :raises PipelineError: one takes them of no other task.
        """
        edges = {task: senders for task, senders in found.items() if senders}
        for at, (task, senders) in enumerate(edges.items()):
            for sender in senders:
                if not 0 <= sender < tasks or sender == task:
                    raise PipelineError(
                        f"pipeline {self.name}: task {task} takes messages of {sender}, which is no other task: "
                        f"the job has 0 to {tasks - 1}"
                    )
            if at % STEP == 0:
                yield
        return edges

    def finding(self, settings: JobSettings, text: str) -> Steps[list[int]]:
        """The tasks that the user can mean by a text, with pauses in which others may have their turn.

        :returns: those that are named so; if there are none, those whose name is shown so, and else those whose name
            ends so behind a ``/``.
        :raises PipelineError: the pipeline's own code fails.
        """
        named: list[int] = []
        shown_so: list[int] = []
        ending: list[int] = []
        names, label = self.names, self.label
        if names is None and label is None:
            return named
        last_part, cut_off = f"/{text}", text.endswith("...")
        doing = f"pipeline {self.name}: its tasks' names cannot be found"
        for some in _portions(settings["tasks"]):
            for task, texts in user_code(doing, _names, names, label, settings, some):
                for one in texts if len(texts) == 1 or text not in texts else [text]:
                    if one == text:
                        found = named
                    elif one.endswith(last_part):
                        found = ending
                    elif (cut_off or not one.isprintable()) and shown(one) == text:
                        found = shown_so
                    else:
                        continue
                    found.append(task)
                    break
            yield
        return named or shown_so or ending

    def _parse(self, words: Sequence[str], inputs: InputList | None) -> PipelineOptions:
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


def _quoted(name: object) -> str:
    """What stands for a name and is none, shortened; of anything but a text its type only."""
    return repr(name[:50]) if type(name) is str else f"a value of type {type(name).__name__}"


def _label(label: Callable[[JobSettings, int], str], settings: JobSettings, task: int) -> str:
    # A text of the author's own class is the author's code, too.
    return str.__str__(str(label(settings, task)))


def _next_part(looking: Looking, part: ObjectPart | None) -> PartWanted | None:
    try:
        return next(looking) if part is None else looking.send(part)
    except StopIteration:
        return None


class _TasksNamed:
    """Task numbers as an author's function names them for one task after the other.

    A ``range``, which may have very many, stays one; a tuple that is the one before is not gone through again.
    """

    def __init__(self, after: Callable[[JobSettings, int], Sequence[int]], settings: JobSettings) -> None:
        self._after = after
        self._settings = settings
        self._given: object = None
        self._numbers: tuple[int, ...] = ()

    def before(self, task: int) -> Sequence[int]:
        before = self._after(self._settings, task)
        if type(before) is range:
            return before
        if type(before) is tuple and before is self._given:
            return self._numbers
        self._given, self._numbers = before, tuple(map(index, before))
        return self._numbers


def _names_by_sender(messages: Sequence[int | tuple[int, str]]) -> dict[int, frozenset[str] | None]:
    """The senders of these messages, each with their names; None: of any name.

    :raises ValueError: a name is none.
    :raises TypeError: one is neither a number nor a number and a name.
    """
    found: dict[int, frozenset[str] | None] = {}
    for message in messages:
        try:
            if not isinstance(message, tuple):
                found[index(message)] = None
                continue
            sender, name = index(message[0]), message[1]
            if len(message) != 2 or not isinstance(name, str):
                raise TypeError
        except (TypeError, IndexError):
            raise TypeError(
                f"a message is given by its sender's number, or (number, name), got {message!r:.80}"
            ) from None
        check_name(name)
        names = found.get(sender, frozenset())
        found[sender] = None if names is None else names | {name}
    return found


def _asking(doing: str, tasks: int, function: Callable[[int], T]) -> Steps[dict[int, T]]:
    """What a function of the author's says of each task: a call for each would take longer than most such functions."""
    found: dict[int, T] = {}
    for some in _portions(tasks):
        found.update(user_code(doing, lambda some: [(task, function(task)) for task in some], some))
        yield
    return found


def _portions(tasks: int) -> Generator[range, None, None]:
    for first in range(0, tasks, STEP):
        yield range(first, min(first + STEP, tasks))


def _names(
    names: Callable[[JobSettings, int], Sequence[str]] | None,
    label: Callable[[JobSettings, int], str] | None,
    settings: JobSettings,
    tasks: range,
) -> list[tuple[int, list[str]]]:
    if names is not None:
        return [(task, [str.__str__(text) for text in names(settings, task)]) for task in tasks]
    assert label is not None
    return [(task, [str.__str__(label(settings, task))]) for task in tasks]


def _apply(function: Callable[[JobSettings, int], None], settings: JobSettings, tasks: range) -> None:
    for task in tasks:
        function(settings, task)


def _checked_report(
    report: Callable[[JobSettings, Mapping[int, str]], Report],
    settings: JobSettings,
    remarks: Mapping[int, str],
) -> Report:
    found = report(settings, remarks)
    if not isinstance(found, Report):
        raise TypeError(f"expected a Report, got {type(found).__name__}")
    # Texts of the author's own classes are the author's code, too.
    error = None if found.error is None else str.__str__(found.error)
    return Report(str.__str__(found.text), error, checked_plots(found.plots))

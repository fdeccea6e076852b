"""graph runs stages of commands as one job: each stage is a map, and begins when what it comes after is done.

A program in Python puts it together (``mu.graph``). A stage is one word of the job, in JSON, and is what the pipeline
``map`` makes of its words; the lists of inputs come beside the words, for the stages in their order.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain, pairwise
from typing import Any, TypeGuard

from twisted.python import usage

from mu_twisted.fsm import Worker
from mu_twisted.jobs import MAX_STAGES, STAGE_NAME, STAGE_NAME_RULE
from mu_twisted.pipelines import InputList, JobSettings, Pipeline, PipelineError, PipelineOptions, shown_input
from mu_twisted.pipelines import map as maps


@dataclass(frozen=True)
class StageWords:
    """A stage as it travels.

    :param name: what it is called.
    :param words: options of ``map`` and the command, as on a command line.
    :param listed: whether the next list of inputs is its own; else the words say what its inputs are.
    :param after: names of stages before it, which it comes after; none: it begins with the job.
    :param each: each of its inputs comes after the one of the same number in each of those; else all come after all.
    """

    name: str
    words: tuple[str, ...]
    listed: bool = False
    after: tuple[str, ...] = ()
    each: bool = False

    def packed(self) -> str:
        """The word that says it."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def unpacked(cls, word: str) -> "StageWords":
        """The stage that a word says.

        :raises ValueError: it is none.
        """
        try:
            plain = json.loads(word)
        except (ValueError, RecursionError):
            plain = None
        if not isinstance(plain, dict) or plain.keys() - {field.name for field in fields(cls)}:
            raise ValueError("it is no stage in JSON")
        name, words, after = plain.get("name"), plain.get("words"), plain.get("after", [])
        if not isinstance(name, str) or STAGE_NAME.fullmatch(name) is None:
            raise ValueError(STAGE_NAME_RULE)
        if not _are_texts(words) or not _are_texts(after):
            raise ValueError("its words, or the stages that it comes after, are no list of texts")
        return cls(name, tuple(words), bool(plain.get("listed")), tuple(after), bool(plain.get("each")))


@dataclass(frozen=True)
class GraphStage:
    """A stage of a job.

    :param settings: as the pipeline ``map`` has parsed them.
    :param first: the number of its first task.
    :param after: the stages that it comes after.
    :param each: see :class:`StageWords`.
    :param all_before: the tasks of those stages, where all of its own come after all of them.
    """

    name: str
    settings: JobSettings
    first: int
    after: "tuple[GraphStage, ...]"
    each: bool
    all_before: Sequence[int]

    @property
    def tasks(self) -> range:
        """The numbers of its tasks in the job."""
        return range(self.first, self.first + self.settings["tasks"])


class Options(PipelineOptions):
    """What graph takes besides the options of every job."""

    longdesc = "Runs stages of commands, which `mu.graph` of a program in Python puts together: see docs/python.md."
    synopsis = "[options] -- STAGE..."

    def take_inputs(self, inputs: InputList) -> None:
        """The lists of the stages that have one."""
        self["lists"] = [inputs, *inputs.following]

    def parseArgs(self, *words: str) -> None:
        """The stages, one a word."""
        self["stage words"] = words

    def postOptions(self) -> None:
        """Each stage is a map whose options and inputs make sense, and comes after one before it."""
        words = self["stage words"]
        if not words:
            raise usage.UsageError("the stages of a graph come from a program in Python: see docs/python.md")
        if len(words) > MAX_STAGES:
            raise usage.UsageError(f"a job has at most {MAX_STAGES} stages, not {len(words)}")
        lists = iter(self.get("lists", ()))
        stages: dict[str, GraphStage] = {}
        first = 0
        for number, word in enumerate(words, 1):
            try:
                given = StageWords.unpacked(word)
            except ValueError as error:
                raise usage.UsageError(f"stage {number}: {error}") from None
            if given.name in stages:
                raise usage.UsageError(f"two stages are called {given.name}: give one another name")
            stages[given.name] = stage = _stage(given, lists, stages, first)
            first += stage.settings["tasks"]
        if next(lists, None) is not None:
            raise usage.UsageError("more lists of inputs came with the job than its stages have use for")
        self["stages"] = list(stages.values())
        self["tasks"] = first
        buckets = list(dict.fromkeys(stage.settings["bucket"] for stage in self["stages"] if stage.settings["bucket"]))
        self["bucket"] = self["bucket"] or (buckets[0] if buckets else "")
        stored = {stage.settings["target"][0] for stage in self["stages"] if stage.settings["target"] is not None}
        if self["skip-existing"] and stored - {self["bucket"]}:
            raise usage.UsageError(
                f"--skip-existing looks into one bucket, {self['bucket']}: have all stages store their outputs there"
            )


def _are_texts(texts: object) -> TypeGuard[list[str]]:
    return isinstance(texts, list) and all(isinstance(one, str) for one in texts)


def _stage(given: StageWords, lists: Iterator[InputList], before: Mapping[str, GraphStage], first: int) -> GraphStage:
    settings = maps.Options()
    if given.listed:
        listed = next(lists, None)
        if listed is None:
            raise usage.UsageError(f"stage {given.name}: its list of inputs did not come with the job")
        settings.take_inputs(listed)
    try:
        settings.parseOptions(given.words)
    except usage.UsageError as error:
        raise usage.UsageError(f"stage {given.name}: {error}") from None
    after = tuple(_stage_before(given.name, name, before) for name in dict.fromkeys(given.after))
    if not given.each:
        return GraphStage(given.name, settings, first, after, False, _joined([stage.tasks for stage in after]))
    if not after:
        raise usage.UsageError(
            f"stage {given.name}: each of its inputs is to come after another, and it has no stage before it"
        )
    mine = len(settings["inputs"])
    for stage in after:
        theirs = maps.results(stage.settings)
        if mine != theirs:
            raise usage.UsageError(
                f"stage {given.name} has {mine} inputs, and each comes after one of stage {stage.name}, which has "
                f"{theirs}{' outputs' if stage.settings['together'] else ''}"
            )
    return GraphStage(given.name, settings, first, after, True, ())


def _stage_before(name: str, other: str, before: Mapping[str, GraphStage]) -> GraphStage:
    if other not in before:
        raise usage.UsageError(f"stage {name} comes after {other!r:.60}, which is no stage before it")
    return before[other]


def _joined(spans: Sequence[range]) -> Sequence[int]:
    """The numbers of all, as a range where they follow one another."""
    spans = sorted((span for span in spans if span), key=lambda span: span.start)
    if all(one.stop == other.start for one, other in pairwise(spans)):
        return range(spans[0].start, spans[-1].stop) if spans else ()
    return tuple(chain.from_iterable(spans))


def place(settings: JobSettings, task: int) -> tuple[GraphStage, int]:
    """The stage of a task, and its number in that, counted from 0."""
    stages: list[GraphStage] = settings["stages"]
    stage = stages[bisect_right(stages, task, key=lambda one: one.first) - 1]
    return stage, task - stage.first


def after(settings: JobSettings, task: int) -> Sequence[int]:
    """The tasks that must be done before this one: those of the inputs that its own come after, or of all."""
    stage, number = place(settings, task)
    if not stage.each:
        return stage.all_before
    inputs = maps.inputs_of(stage.settings, number)
    return _joined([_tasks_with(one, inputs) for one in stage.after])


def _tasks_with(stage: GraphStage, inputs: range) -> range:
    first, last = (maps.task_of(stage.settings, number) for number in (inputs[0], inputs[-1]))
    return range(stage.first + first, stage.first + last + 1)


def label(settings: JobSettings, task: int) -> str:
    """What the user knows a task by: its stage and its input."""
    stage, number = place(settings, task)
    return f"{stage.name}: {maps.label(stage.settings, number)}"


def names(settings: JobSettings, task: int) -> list[str]:
    """What the user can name a task by: its inputs, also behind the name of their stage."""
    stage, number = place(settings, task)
    found = maps.names(stage.settings, number)
    return [*found, *(f"{stage.name}: {one}" for one in found)]


def outputs(settings: JobSettings, task: int) -> list[str]:
    """The objects that a task stores."""
    stage, number = place(settings, task)
    return maps.outputs(stage.settings, number)


def check(settings: Any, task: int) -> None:
    """Whether a task's inputs can be worked on, and have outputs that no other stage stores.

    :raises PipelineError: one line that names stage and input.
    """
    stage, number = place(settings, task)
    try:
        maps.check(stage.settings, number)
    except PipelineError as error:
        raise PipelineError(f"stage {stage.name}: {error}") from None
    taken: dict[tuple[str, str], GraphStage] = settings.setdefault("outputs taken", {})
    for key in maps.outputs(stage.settings, number):
        bucket = stage.settings["target"][0]
        other = taken.setdefault((bucket, key), stage)
        if other is not stage:
            raise PipelineError(
                f"stages {other.name} and {stage.name} would both store {shown_input(f's3://{bucket}/{key}')}: change "
                "--out of one of them"
            )


async def run_stage(w: Worker) -> None:
    """A task of any stage."""
    stage, number = place(w.settings, w.task)
    await maps.run_inputs(w, stage.settings, number)


pipeline = Pipeline(
    name="graph",
    summary="run stages of commands that a program in Python puts together",
    first=run_stage,
    options=Options,
    after=after,
    stage=lambda settings, task: place(settings, task)[0].name,
    outputs=outputs,
    label=label,
    names=names,
    check=check,
)

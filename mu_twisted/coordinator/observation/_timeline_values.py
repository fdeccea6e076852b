"""What is shown of a job over time, and of one of its tasks, is answered in these values, as they go in JSON.

Knows neither records nor jobs. All times are seconds since the job was submitted, unless it is said otherwise.
"""

from collections.abc import Sequence

import msgspec

from mu_twisted.base.json_types import JsonObject
from mu_twisted.statuses import RunOutput, TaskStatus


class AttemptColumns(msgspec.Struct, frozen=True):
    """Attempts in the order in which they began: the same place in each column is one.

    :param end: None while it runs.
    :param outcome: an index of the timeline's ``outcomes``.
    """

    task: Sequence[int]
    attempt: Sequence[int]
    begin: Sequence[float]
    end: Sequence[float | None]
    outcome: Sequence[int]


class CountSeries(msgspec.Struct, frozen=True):
    """Where a job stood at the end of each span of its time; the first span begins with it.

    :param step: seconds of a span.
    :param done: tasks, as ``failed``; ``active`` are attempts; ``launches`` those asked for so far.
    :param used: seconds for which workers had run, added up.
    """

    step: float
    done: Sequence[int]
    failed: Sequence[int]
    active: Sequence[int]
    launches: Sequence[int]
    used: Sequence[float]


class PathTask(msgspec.Struct, frozen=True):
    """One task of the critical path."""

    task: int
    begin: float
    end: float
    label: str | None = None


class StageSpan(msgspec.Struct, frozen=True):
    """One stage of a job: of those that its pipeline names, else of tasks that come after equally many others.

    :param name: None: it has none.
    :param tasks: ranges of their numbers, ``"0-3"`` or ``"7"``.
    :param begin: of the first attempt, None: there is none; ``end`` of the last one.
    :param bytes: that its attempts have moved, by kind; None: no worker has said so.
    :param after: places among the stages of those that its tasks come after, or take messages of.
    """

    tasks: Sequence[str]
    count: int
    done: int
    failed: int
    begin: float | None = None
    end: float | None = None
    name: str | None = None
    bytes: dict[str, int] | None = None
    after: Sequence[int] = ()


class TaskStates(msgspec.Struct, frozen=True):
    """What one attempt did when.

    :param states: when it came into each state, and the state's name.
    """

    task: int
    attempt: int
    states: Sequence[tuple[float, str]]


class Timeline(msgspec.Struct, frozen=True):
    """A job over time.

    :param submitted: seconds since 1970.
    :param now: until when this is known.
    :param next: the number of the last event that is in it: those after it may come yet.
    :param dropped: attempts that are not listed, as there are too many.
    :param path: the tasks that the job's length is due to; empty where no task waits for another.
    :param links: pairs of tasks of which the first sends messages to the second, the first ones of ``link_count``.
    :param states: of the attempts of small jobs.
    :param slowest: the places of the attempts that took longest.
    :param bytes: that those have moved, by kind, by their places; of those whose workers have said so.
    :param labels: what the user knows tasks by, of those that are on the path, slow, or drawn.
    """

    job: str
    submitted: float
    now: float
    next: int
    over: bool
    tasks: int
    outcomes: Sequence[str]
    attempts: AttemptColumns
    series: CountSeries
    dropped: int = 0
    path: Sequence[PathTask] = ()
    stages: Sequence[StageSpan] = ()
    links: Sequence[tuple[int, int]] = ()
    link_count: int = 0
    states: Sequence[TaskStates] = ()
    slowest: Sequence[int] = ()
    bytes: dict[int, dict[str, int]] = {}
    labels: dict[int, str] = {}


class ReasonGroup(msgspec.Struct, frozen=True):
    """Failed tasks that have failed of one reason.

    :param reason: their errors, with ``#`` for what may differ.
    :param tasks: ranges of their numbers, ``"0-3"`` or ``"7"``.
    :param sample: the lowest of them.
    :param attempts: the fewest and the most that one of them has had.
    :param output: the end of what the sample's last run printed; None: nothing is kept.
    :param status: that run's exit status.
    :param labels: what the user knows them by, of the lowest that have such a name, by their numbers.
    """

    reason: str
    count: int
    tasks: Sequence[str]
    attempts: tuple[int, int]
    sample: TaskStatus
    output: str | None = None
    status: int | None = None
    labels: dict[int, str] = {}


class Failures(msgspec.Struct, frozen=True):
    """The failed tasks of a job by what they failed of, the reason that most have first.

    :param more: reasons that are not listed.
    """

    groups: Sequence[ReasonGroup]
    more: int = 0


class ActiveTask(msgspec.Struct, frozen=True):
    """One attempt that is under way.

    :param seconds: for which it has run.
    :param launch: of its worker, as launch ids end; None: it is not known.
    :param waits: for which message it waits, and how it stands with that; None: for none.
    """

    task: int
    attempt: int
    seconds: float
    label: str | None = None
    launch: str | None = None
    speculative: bool = False
    waits: str | None = None


class ActiveTasks(msgspec.Struct, frozen=True):
    """What a job does now.

    :param tasks: attempts that are under way, those that have run longest first; not all, where there are many.
    :param workers: those that are connected, by what they are doing: ``idle``, ``working``, ``warming``, ``leaving``.
    """

    tasks: Sequence[ActiveTask] = ()
    workers: dict[str, int] = {}


class AttemptStory(msgspec.Struct, frozen=True):
    """One attempt.

    :param launch: of the worker, as launch ids end; None: it is not known.
    :param status: of the program that it failed of; None: it failed of something else, or did not fail.
    :param states: when it came into each state, and the state's name.
    :param peers: by what became of direct paths to them, ``direct`` or why there is none, ranges of the tasks that it
        exchanged messages with; those it has said nothing of yet are left out.
    :param bytes: that it has moved, by kind; None: its worker has not said so.
    """

    attempt: int
    begin: float
    outcome: str
    end: float | None = None
    error: str | None = None
    launch: str | None = None
    speculative: bool = False
    status: int | None = None
    states: Sequence[tuple[float, str]] = ()
    peers: dict[str, Sequence[str]] = {}
    bytes: dict[str, int] | None = None


class Story(msgspec.Struct, frozen=True):
    """One task from its beginning.

    :param moves: when it went from which state into which.
    :param runs: what its programs have printed, the last ones.
    :param before: tasks whose messages it takes or that it comes after, and ``behind`` the other way round; the first
        ones.
    """

    task: TaskStatus
    submitted: float
    now: float
    moves: Sequence[tuple[float, str, str]]
    attempts: Sequence[AttemptStory]
    runs: Sequence[RunOutput]
    before: Sequence[int] = ()
    behind: Sequence[int] = ()
    more: JsonObject = {}

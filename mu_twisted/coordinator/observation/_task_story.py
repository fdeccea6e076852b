"""A task's story is read here: the records about it, the moves that they bring about, its attempts and their states.

Knows the journal and the file of attempts, neither workers nor how a story is shown.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import islice

import msgspec

from mu_twisted.base.json_types import Json
from mu_twisted.base.steps import STEP, Steps
from mu_twisted.coordinator.observation._states import shifted
from mu_twisted.coordinator.observation._timeline_values import AttemptStory, Story
from mu_twisted.coordinator.records import Journal, Row
from mu_twisted.coordinator.run import AttemptFile, Attempts, joined_lines
from mu_twisted.jobs import (
    Assigned,
    AttemptEnded,
    Extended,
    Finished,
    JobRecord,
    RecordError,
    Submitted,
    TaskState,
    TaskStory,
    record_from_dict,
)
from mu_twisted.statuses import TaskStatus

MAX_STORY = 200
"""Attempts, and moves, of a task that its story has, the last ones."""
MAX_NEIGHBOURS = 50
"""Tasks that it takes messages of or comes after, and of the others, that are named."""
_OF_MANY = tuple(
    f'"type":"{name}"'
    for name in (
        "submitted",
        "extended",
        "reopened",
        "retried",
        "enlarged",
        "tasks-failed",
        "result-stands",
        "finished",
    )
)
"""What stands in the records that are about many tasks, or the job, and may move one."""
_RESULTS = ('"type":"result"', '"outcome":"done"')
"""What stands in the records that may let a task begin that comes after others."""

Move = tuple[TaskState, TaskState]


def story_rows(journal: Journal, job: str, task: int) -> Iterator[tuple[Row, JobRecord | None, Move | None]]:
    """The rows that are about a task, or may be, each with its record, if it is sound, and the move that it brings."""
    story: TaskStory | None = None
    submitted: Submitted | None = None
    second = next(islice(journal.records(job), 1, 2), {}).get("record")
    graph = isinstance(second, Mapping) and bool(second.get("after"))
    for row in journal.records(job, f'"task":{task}', *_OF_MANY, *(_RESULTS if graph else ())):
        record: JobRecord | None = None
        move = None
        with suppress(LookupError, TypeError, ValueError, AttributeError, RecordError):  # then without its moves
            record = record_from_dict(row["record"])
            if isinstance(record, Submitted):
                submitted = record
                story = TaskStory(record, task) if task in record.order else None
            elif isinstance(record, Extended):
                if submitted is not None and record.first <= task < record.first + record.count:
                    story = TaskStory(submitted, task)
            elif story is not None:
                move = story.apply(record)
        yield row, record, move


def reading_story(
    journal: Journal, file: AttemptFile, attempts: Attempts | None, job: str, status: TaskStatus, now: float
) -> Steps[Story]:
    """A task from its beginning, without what its programs have printed.

    :param file: has the states of its attempts; ``attempts`` those of the ones that run.
    :param status: of the task.
    :param now: seconds since 1970.
    :raises JournalError: a record is damaged.
    """
    task = status.task
    submitted = 0.0
    moves: list[tuple[float, str, str]] = []
    stories: dict[int, AttemptStory] = {}
    before: tuple[int, ...] = ()
    behind: tuple[int, ...] = ()
    for index, (row, record, move) in enumerate(story_rows(journal, job, task)):
        at = _time(row, submitted)
        if isinstance(record, Submitted):
            submitted, at = at, 0.0
            before, behind = _neighbours(record, task)
        if move is not None:
            moves.append((at, move[0].value, move[1].value))
        if isinstance(record, Assigned) and record.task == task:
            launch = None if record.launch_id is None else str(record.launch_id)
            stories[record.attempt] = AttemptStory(
                record.attempt, at, "running", launch=launch, speculative=record.speculative
            )
        elif isinstance(record, AttemptEnded) and record.task == task and record.attempt in stories:
            stories[record.attempt] = msgspec.structs.replace(
                stories[record.attempt],
                end=at,
                outcome=record.outcome.value,
                error=joined_lines(record.error) or None,
                status=record.status,
            )
        elif isinstance(record, Finished):
            stories = {number: _ended(one, at) for number, one in stories.items()}
        if index % STEP == 0:
            yield
    for one in [] if attempts is None else attempts.current(task):
        _take_states(stories, task, one)
    for found in file.read(task):
        if found is not None:
            _take_states(stories, task, found)
        yield
    return Story(
        status,
        submitted,
        max(0.0, now - submitted),
        moves[-MAX_STORY:],
        [stories[number] for number in sorted(stories)][-MAX_STORY:],
        (),
        before[:MAX_NEIGHBOURS],
        behind[:MAX_NEIGHBOURS],
    )


def _time(row: Row, submitted: float) -> float:
    try:
        return round(float(row["at"]) - submitted, 3)
    except (LookupError, TypeError, ValueError):
        return 0.0


def _ended(attempt: AttemptStory, at: float) -> AttemptStory:
    """As the job's end leaves it."""
    return attempt if attempt.end is not None else msgspec.structs.replace(attempt, end=at, outcome="withdrawn")


def _take_states(stories: dict[int, AttemptStory], task: int, one: Mapping[str, Json]) -> None:
    with suppress(LookupError, TypeError, ValueError, AttributeError):  # a damaged line
        number = int(one["attempt"])
        if int(one["task"]) == task and number in stories:
            stories[number] = msgspec.structs.replace(
                stories[number],
                states=shifted(one, stories[number].begin),
                peers={str(outcome): [str(span) for span in spans] for outcome, spans in one.get("peers", {}).items()},
                bytes={str(kind): int(count) for kind, count in one["bytes"].items()} if "bytes" in one else None,
            )


def _neighbours(record: Submitted, task: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The tasks that a task needs, and those that need it."""
    before: dict[int, None] = {}
    behind: dict[int, None] = {}
    for receiver, senders in (*record.consumes, *record.messages):
        if receiver == task:
            before.update(dict.fromkeys(senders))
        elif task in senders:
            behind[receiver] = None
    for first, second in record.after:
        if task in second:
            before.update(dict.fromkeys(first))
        if task in first:
            behind.update(dict.fromkeys(second))
    return tuple(before), tuple(behind)

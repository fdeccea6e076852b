"""A job's history is what its rows in the journal hold.

A row is an object with ``at``, seconds since 1970, and either ``request``, the job as it was asked for, always the
first, or ``record``, one of its decisions; the row of its end has ``fact`` as well, so that a job that is over can be
described without folding its records. Rows of ends have ``usage``, what the job had used of Lambda by then, and those
of attempts ``bytes``, what they have moved, and ``states``, where their line begins in the job's attempt file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain

import msgspec

from mu_twisted.base.json_types import Json, JsonObject
from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._meter import Usage
from mu_twisted.coordinator._status import Request
from mu_twisted.coordinator.records._journal import Journal, JournalError
from mu_twisted.jobs import Job, JobError, JobRecord, record_from_dict, record_to_dict
from mu_twisted.statuses import JobStatus

Row = JsonObject


def request_row(request: Request, at: float) -> Row:
    """The first row of a job."""
    return {"at": at, "request": msgspec.to_builtins(request)}


def record_row(
    record: JobRecord,
    at: float,
    status: JobStatus | None = None,
    usage: Usage | None = None,
    known: JsonObject | None = None,
) -> Row:
    """A row of a decision.

    :param status: with the record of the job's end, how it ended.
    :param usage: with that of an attempt's or the job's end, what the job has used by then.
    :param known: with that of an attempt's end, what else is known of it.
    """
    row: Row = {"at": at, "record": record_to_dict(record)}
    if status is not None:
        row["fact"] = msgspec.to_builtins(status)
    if usage is not None:
        row["usage"] = msgspec.to_builtins(usage)
    return {**row, **(known or {})}


@dataclass(frozen=True)
class History:
    """A job's rows, less what its :class:`~mu_twisted.jobs.Job` has.

    :param submitted: seconds since 1970.
    :param usage: what it has used, as far as that is recorded.
    """

    name: str
    submitted: float
    request: Request
    usage: Usage


def folding(journal: Journal, name: str) -> Steps[tuple[History, Job]]:
    """Read a job as all its rows describe it; they are read one after the other, and not kept.

    :raises JournalError: they are not those of a job.
    """
    rows: Iterator[Row] = journal.records(name)
    used: list[Json] = [None]

    def records() -> Iterator[JobRecord]:
        for row in rows:
            if "usage" in row:
                used[0] = row["usage"]
            yield record_from_dict(row["record"])

    try:
        first = next(rows)
        submitted, request = float(first["at"]), msgspec.convert(first["request"], Request)
        rows = chain([next(rows)], rows)
        yield  # the record of all tasks, which has just been read, is large
        job = yield from Job.restoring(records())
        usage = msgspec.convert(used[0], Usage) if used[0] is not None else Usage()
    except (LookupError, TypeError, ValueError, StopIteration, msgspec.ValidationError, JobError) as error:
        what = f"a row has no {error}" if isinstance(error, KeyError) else str(error) or "there are none"
        raise JournalError(f"the journal's records of job {name} are damaged: {what}; `mu rm` deletes them") from None
    return History(name, submitted, request, usage), job


def last_status(row: Mapping[str, Json]) -> JobStatus | None:
    """How a job ended, from its last row; None if it has not.

    :raises msgspec.ValidationError: the row is damaged.
    """
    return msgspec.convert(row["fact"], JobStatus) if "fact" in row else None

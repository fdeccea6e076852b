"""A job in the journal: what its rows hold.

A row is an object with ``at``, seconds since 1970, and either ``request``, the job as it was asked for, always the
first, or ``record``, one of its decisions; the row of its end has ``fact`` as well, so that a job that is over can be
told of without folding its records. Rows of ends have ``usage``, what the job had used of Lambda by then.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from mu_twisted.coordinator._facts import JobFact, Request
from mu_twisted.coordinator._journal import Journal, JournalError
from mu_twisted.coordinator._meter import Usage
from mu_twisted.jobs import JobRecord, RecordError, record_from_dict, record_to_dict

Row = dict[str, Any]


def request_row(request: Request, at: float) -> Row:
    """The first row of a job."""
    return {"at": at, "request": msgspec.to_builtins(request)}


def record_row(record: JobRecord, at: float, fact: JobFact | None = None, usage: Usage | None = None) -> Row:
    """A row of a decision.

    :param fact: with the record of the job's end, how it ended.
    :param usage: with that of an attempt's or the job's end, what the job has used by then.
    """
    row: Row = {"at": at, "record": record_to_dict(record)}
    if fact is not None:
        row["fact"] = msgspec.to_builtins(fact)
    if usage is not None:
        row["usage"] = msgspec.to_builtins(usage)
    return row


class History:
    """The rows of one job, read once.

    :raises JournalError: they are not those of a job.
    """

    def __init__(self, journal: Journal, name: str) -> None:
        self.rows: Sequence[Row] = list(journal.records(name))
        self.name = name
        try:
            self.submitted = float(self.rows[0]["at"])
            self.request = msgspec.convert(self.rows[0]["request"], Request)
            self.records = [record_from_dict(row["record"]) for row in self.rows[1:]]
            used = [row["usage"] for row in self.rows if "usage" in row]
            self.usage = msgspec.convert(used[-1], Usage) if used else Usage()
        except (LookupError, TypeError, ValueError, msgspec.ValidationError, RecordError) as error:
            what = f"a row has no {error}" if isinstance(error, KeyError) else error
            raise JournalError(
                f"the journal's records of job {name} are damaged: {what}; `mu rm` deletes them"
            ) from None


def last_fact(row: Mapping[str, Any]) -> JobFact | None:
    """How a job ended, from its last row; None if it has not.

    :raises msgspec.ValidationError: the row is damaged.
    """
    return msgspec.convert(row["fact"], JobFact) if "fact" in row else None

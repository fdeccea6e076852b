"""Records are what a coordinator keeps of its jobs on disk: the journal, and what is read of it when jobs are over.

Knows rows and statuses; neither workers nor what any decision means for a job that runs.
"""

from mu_twisted.coordinator.records._archive import (
    JobArchive,
    task_status,
)
from mu_twisted.coordinator.records._history import History, Row, record_row, request_row
from mu_twisted.coordinator.records._journal import Journal, JournalError

__all__ = [
    "History",
    "JobArchive",
    "Journal",
    "JournalError",
    "Row",
    "record_row",
    "request_row",
    "task_status",
]

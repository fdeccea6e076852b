"""Records are what a coordinator keeps of its jobs on disk: the journal, and what is read of it when jobs are over.

Knows rows and statuses; neither workers nor what any decision means for a job that runs.
"""

from mu_twisted.coordinator.records._archive import (
    JobArchive,
    task_status,
)
from mu_twisted.coordinator.records._history import History, Row, record_row, request_row
from mu_twisted.coordinator.records._journal import Journal, JournalError
from mu_twisted.coordinator.records._task_files import UNSERVED_UNTIL, TaskFiles
from mu_twisted.coordinator.records._unkept_changes import UnkeptChanges

__all__ = [
    "UNSERVED_UNTIL",
    "History",
    "JobArchive",
    "Journal",
    "JournalError",
    "Row",
    "TaskFiles",
    "UnkeptChanges",
    "record_row",
    "request_row",
    "task_status",
]

"""Records are what a coordinator keeps of its jobs on disk: the journal, and what is read of it when jobs are over.

Knows rows and statuses; neither workers nor what any decision means for a job that runs.
"""

from mu_twisted.coordinator.records._archive import (
    JobArchive,
    Labels,
    as_settled,
    no_label,
    page_of,
    settled_last,
    settled_page,
    task_status,
)
from mu_twisted.coordinator.records._history import History, Row, record_row, request_row
from mu_twisted.coordinator.records._journal import Journal, JournalError

__all__ = [
    "History",
    "JobArchive",
    "Journal",
    "JournalError",
    "Labels",
    "Row",
    "as_settled",
    "no_label",
    "page_of",
    "record_row",
    "request_row",
    "settled_last",
    "settled_page",
    "task_status",
]

"""Output is what the programs of a job's tasks print: shown while they run, kept within a budget, read page by page.

Knows tasks, attempts and bytes; neither workers nor what a job decides.
"""

from mu_twisted.coordinator.output._page import MAX_PAGE_BYTES, reading_page, reading_results
from mu_twisted.coordinator.output._store import OutputStore
from mu_twisted.coordinator.output._tee import LINGER, AttemptTee, JobTee
from mu_twisted.coordinator.output._tee_values import TeeCursor, TeePage, TeePiece, parse_tee_cursor
from mu_twisted.coordinator.output._values import FIRST, Cursor, OutputPage, OutputQuery, RunOutput, Which, parse_cursor

__all__ = [
    "FIRST",
    "LINGER",
    "MAX_PAGE_BYTES",
    "AttemptTee",
    "Cursor",
    "JobTee",
    "OutputPage",
    "OutputQuery",
    "OutputStore",
    "RunOutput",
    "TeeCursor",
    "TeePage",
    "TeePiece",
    "Which",
    "parse_cursor",
    "parse_tee_cursor",
    "reading_page",
    "reading_results",
]

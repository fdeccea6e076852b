"""Output is what the programs of a job's tasks print: shown while they run, and kept within a budget.

Knows tasks, attempts and bytes; neither workers nor what a job decides.
"""

from mu_twisted.coordinator.output._store import OutputStore
from mu_twisted.coordinator.output._tee import LINGER, AttemptTee, JobTee
from mu_twisted.coordinator.output._tee_values import TeeCursor, TeePage, TeePiece, parse_tee_cursor

__all__ = [
    "LINGER",
    "AttemptTee",
    "JobTee",
    "OutputStore",
    "TeeCursor",
    "TeePage",
    "TeePiece",
    "parse_tee_cursor",
]

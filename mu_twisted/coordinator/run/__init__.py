"""A run is one job as it runs: its decisions are recorded, then carried out, and what comes of them is reported to it.

Knows the sessions of its workers and how its attempts go; neither other jobs nor what is kept of those that are over.
"""

from mu_twisted.coordinator.run._attempts import AttemptFile, Attempts, Sink, TimesFile
from mu_twisted.coordinator.run._failures import joined_lines, own_fault
from mu_twisted.coordinator.run._job_run import JobRun

__all__ = ["AttemptFile", "Attempts", "JobRun", "Sink", "TimesFile", "joined_lines", "own_fault"]

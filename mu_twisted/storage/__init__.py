"""Storage is what a coordinator keeps of its jobs on disk, and how that is read where no job runs.

Knows files and statuses; neither workers nor what decides on jobs. Commands import it where no coordinator answers, so
it imports little.
"""

from mu_twisted.storage._journal_count import CountFile, boot_id, read_count
from mu_twisted.storage._output_page import MAX_PAGE_BYTES, reading_page, reading_results
from mu_twisted.storage._task_file import TaskList, reading_tasks, writing_tasks

__all__ = [
    "MAX_PAGE_BYTES",
    "CountFile",
    "TaskList",
    "boot_id",
    "read_count",
    "reading_page",
    "reading_results",
    "reading_tasks",
    "writing_tasks",
]

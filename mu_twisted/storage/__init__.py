"""Storage is what a coordinator keeps of its jobs on disk, and how that is read where no job runs.

Knows files and statuses; neither workers nor what decides on jobs. Commands import it where no coordinator answers, so
it imports little.
"""

from mu_twisted.storage._journal_count import CountFile, boot_id, count_path, read_count
from mu_twisted.storage._journal_rows import JOB_NAMES, LAST_NUMBER, LAST_RECORD, SCHEMA, come_to, opened
from mu_twisted.storage._output_page import MAX_PAGE_BYTES, reading_page, reading_results
from mu_twisted.storage._stored_jobs import StoredJobs
from mu_twisted.storage._task_file import (
    LINE,
    Checkpoint,
    TaskFile,
    TaskFileError,
    TaskLine,
    TaskList,
    checksum,
    is_held_so,
    reading_tasks,
    task_line,
    writing_lines,
    writing_tasks,
)
from mu_twisted.storage._task_pages import (
    Labels,
    as_settled,
    no_label,
    page_of,
    settled_last,
    settled_page,
    with_results,
)

__all__ = [
    "JOB_NAMES",
    "LAST_NUMBER",
    "LAST_RECORD",
    "LINE",
    "MAX_PAGE_BYTES",
    "SCHEMA",
    "Checkpoint",
    "CountFile",
    "Labels",
    "StoredJobs",
    "TaskFile",
    "TaskFileError",
    "TaskLine",
    "TaskList",
    "as_settled",
    "boot_id",
    "checksum",
    "come_to",
    "count_path",
    "is_held_so",
    "no_label",
    "opened",
    "page_of",
    "read_count",
    "reading_page",
    "reading_results",
    "reading_tasks",
    "settled_last",
    "settled_page",
    "task_line",
    "with_results",
    "writing_lines",
    "writing_tasks",
]

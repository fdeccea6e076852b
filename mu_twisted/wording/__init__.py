"""Wording puts into words what a coordinator says of jobs: how far they are, what their tasks failed of.

Knows statuses as they go in JSON, and numbers, and no job. Commands import it for all that they print, so it imports
little.
"""

from mu_twisted.wording._exit_status import explain_exit, is_out_of_memory, shell_status
from mu_twisted.wording._failure_groups import (
    SHOWN_REASONS,
    FailedTask,
    FailureGroup,
    after_attempts,
    called,
    failed_with,
    failure_groups,
    failure_line,
    failure_lines,
    grouping,
    output_hint,
    ranges,
)
from mu_twisted.wording._progress_bar import Piece, Rate, how_long, price_text, progress_bar
from mu_twisted.wording._stages import stages_under_way

__all__ = [
    "SHOWN_REASONS",
    "FailedTask",
    "FailureGroup",
    "Piece",
    "Rate",
    "after_attempts",
    "called",
    "explain_exit",
    "failed_with",
    "failure_groups",
    "failure_line",
    "failure_lines",
    "grouping",
    "how_long",
    "is_out_of_memory",
    "output_hint",
    "price_text",
    "progress_bar",
    "ranges",
    "shell_status",
    "stages_under_way",
]

"""What ``mu doctor`` asks and how it judges the answers. A module of its own, as nobody else needs it."""

from mu_twisted.aws._findings import (
    Finding,
    Health,
    broken,
    doubtful,
    good,
    judge_bucket,
    judge_certificate,
    judge_clock,
    judge_concurrency,
    judge_function,
    judge_missing,
    judge_programs,
    judge_shared_key,
)
from mu_twisted.aws._inspection import Caller, Concurrency, FunctionState, Inspection, clock_skew

__all__ = [
    "Caller",
    "Concurrency",
    "Finding",
    "FunctionState",
    "Health",
    "Inspection",
    "broken",
    "clock_skew",
    "doubtful",
    "good",
    "judge_bucket",
    "judge_certificate",
    "judge_clock",
    "judge_concurrency",
    "judge_function",
    "judge_missing",
    "judge_programs",
    "judge_shared_key",
]

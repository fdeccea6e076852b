"""A pipeline's last word on a job, asked for with care: it is code of the user's."""

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from mu_twisted.base import MuError
from mu_twisted.coordinator._cleaning import clean
from mu_twisted.pipelines import Pipeline, Report

MAX_REPORT = 100_000
"""Characters of a report that are kept."""

_log = Logger()


def report_of(pipeline: Pipeline, settings: Any, remarks: Mapping[int, str]) -> Report:
    """What the pipeline has to say. One that fails says that, and lets the job be.

    :param remarks: what tasks that are done have left, by number.
    """
    try:
        report = pipeline.last_word(settings, remarks)
    except MuError as failed:
        _log.failure("the report of pipeline {name} failed", name=pipeline.name)
        return Report(clean(str(failed)[:MAX_REPORT]))
    error = None if report.error is None else " ".join(clean(report.error[:MAX_REPORT]).split())
    return Report(clean(report.text[:MAX_REPORT]).strip("\n"), error)

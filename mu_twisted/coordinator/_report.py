"""A pipeline's last word on a job, asked for with care: it is code of the user's."""

from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

from mu_twisted.coordinator._cleaning import clean
from mu_twisted.pipelines import Pipeline, PipelineError, Report

MAX_REPORT = 100_000
"""Characters of a report that are kept."""

_log = Logger()


def report_of(pipeline: Pipeline, settings: Any, remarks: Mapping[int, str]) -> Report:
    """What the pipeline has to say. One that fails says that, and lets the job be.

    :param remarks: what tasks that are done have left, by number.
    """
    if pipeline.report is None:
        return Report()
    try:
        report = pipeline.report(settings, remarks)
        if not isinstance(report, Report):
            raise PipelineError(f"expected a Report, got {type(report).__name__}")
        error = None if report.error is None else " ".join(clean(report.error[:MAX_REPORT]).split())
        return Report(clean(report.text[:MAX_REPORT]).strip("\n"), error)
    except BaseException as error:  # noqa: BLE001 - whatever it raises, the job has come to its end
        _log.failure("the report of pipeline {name} failed", name=pipeline.name)
        return Report(
            clean(f"the report of pipeline {pipeline.name} failed: {type(error).__name__}: {error}"[:MAX_REPORT])
        )

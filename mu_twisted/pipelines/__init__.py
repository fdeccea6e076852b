"""Pipelines are the programs of jobs; the user's own are loaded as the built-in ones are."""

from mu_twisted.pipelines._examination import MAX_PARTS, Looking, ObjectPart, PartWanted
from mu_twisted.pipelines._guard import HARD_LIMIT, SOFT_LIMIT, LastEnd, WatchError, guard, last_end
from mu_twisted.pipelines._guarded_machine import GuardedMachine
from mu_twisted.pipelines._input_list import MAX_INPUTS, MAX_PACKED, InputList, combinations, split_url
from mu_twisted.pipelines._input_list import checked as checked_inputs
from mu_twisted.pipelines._input_list import pack as pack_inputs
from mu_twisted.pipelines._input_list import shown as shown_input
from mu_twisted.pipelines._input_list import unpack as unpack_inputs
from mu_twisted.pipelines._load import load_pipeline, load_source, pipeline_names, source_of
from mu_twisted.pipelines._options import (
    LISTS,
    MAX_KEY,
    MAX_SHARDS,
    MAX_TASKS,
    ORIGINAL_BUCKET,
    JobSettings,
    PeerOptions,
    PipelineOptions,
    at_least,
    coerced,
    coerced_range,
    job_policy,
    print_version,
    refuse_address,
    refuse_words,
    s3_key,
)
from mu_twisted.pipelines._pipeline import Pipeline, Report
from mu_twisted.pipelines._plots import thinned
from mu_twisted.pipelines._user_code import PipelineError
from mu_twisted.statuses import Plot

__all__ = [
    "HARD_LIMIT",
    "LISTS",
    "MAX_INPUTS",
    "MAX_KEY",
    "MAX_PACKED",
    "MAX_PARTS",
    "MAX_SHARDS",
    "MAX_TASKS",
    "ORIGINAL_BUCKET",
    "SOFT_LIMIT",
    "GuardedMachine",
    "InputList",
    "JobSettings",
    "LastEnd",
    "Looking",
    "ObjectPart",
    "PartWanted",
    "PeerOptions",
    "Pipeline",
    "PipelineError",
    "PipelineOptions",
    "Plot",
    "Report",
    "WatchError",
    "at_least",
    "checked_inputs",
    "coerced",
    "coerced_range",
    "combinations",
    "guard",
    "job_policy",
    "last_end",
    "load_pipeline",
    "load_source",
    "pack_inputs",
    "pipeline_names",
    "print_version",
    "refuse_address",
    "refuse_words",
    "s3_key",
    "shown_input",
    "source_of",
    "split_url",
    "thinned",
    "unpack_inputs",
]

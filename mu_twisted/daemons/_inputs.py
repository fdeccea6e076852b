"""A job's inputs are looked at here before anything is launched, as its pipeline asks for parts of them.

The pipeline's code is called in the reactor's thread, where it can be interrupted; only S3 is asked in another.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from mu_twisted.aws import AccessDenied, AWSError
from mu_twisted.daemons._cloud import Cloud
from mu_twisted.pipelines import MAX_PARTS, JobSettings, Looking, ObjectPart, Pipeline, PipelineError


async def examine_inputs(
    cloud: Cloud, pipeline: Pipeline, settings: JobSettings, in_thread: Callable[..., "Deferred[Any]"]
) -> None:
    """Let a pipeline look at what its job is to read.

    :param in_thread: calls a function that blocks.
    :raises AccessDenied: these credentials may not read it; the workers' role may.
    :raises mu_twisted.base.MuError: an object is not there, or makes no sense for the job; one line.
    """
    looking = pipeline.examination(settings)
    if looking is None:
        return
    try:
        await _examine(cloud, pipeline, settings, looking, in_thread)
    finally:
        pipeline.leave(looking)


async def _examine(
    cloud: Cloud,
    pipeline: Pipeline,
    settings: JobSettings,
    looking: Looking,
    in_thread: Callable[..., "Deferred[Any]"],
) -> None:
    part: ObjectPart | None = None
    for _ in range(MAX_PARTS + 1):
        wanted = pipeline.next_part(looking, part)
        if wanted is None:
            return
        try:
            part = await in_thread(cloud.read_part, settings["regions"][0], settings["bucket"], wanted)
        except AccessDenied:
            raise
        except AWSError as error:
            option = next((name for name, value in settings.items() if value == wanted.key), None)
            raise AWSError(str(error) if option is None else f"{error} (--{option})") from None
    raise PipelineError(f"pipeline {pipeline.name}: it looks at more than {MAX_PARTS} parts of objects")

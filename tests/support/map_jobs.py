"""Jobs of the pipeline map, with workers in memory."""

from typing import Any

from memory_jobs import MemoryCoordinator

from mu_twisted.coordinator import Request
from mu_twisted.jobs import JobPolicy
from mu_twisted.pipelines import InputList, Pipeline, PipelineError, job_policy, load_pipeline, pack_inputs
from mu_twisted.statuses import JobStatus


class MapCoordinator(MemoryCoordinator):
    """Jobs of the pipeline map."""

    def parse(self, request: Request) -> tuple[Pipeline, Any]:
        if self.missing:
            raise PipelineError(self.missing)
        pipeline = load_pipeline(request.pipeline)
        return pipeline, pipeline.parse(request.words, request.inputs)

    def policy(self, settings: Any) -> JobPolicy:
        return job_policy(settings)

    def map(self, inputs: InputList | None, *words: str, name: str | None = None) -> str:
        packed = None if inputs is None else pack_inputs(inputs)
        found = self.at_once(self.jobs.submit(Request("map", words, inputs=packed, name=name)))
        assert isinstance(found, JobStatus)
        return found.job

    def do_next(self, job: str, launch_id: str, status: int = 0) -> list[bytes]:
        """Have a worker do its task; what it was sent."""
        worker = self.worker(job, launch_id)
        sent = worker.takes()
        worker.says(b"OK:RETVAL(%d):OUTPUT(oh):COMMAND(%b)" % (status, sent[-1].removeprefix(b"run:")))
        return sent

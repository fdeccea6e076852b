"""Jobs of the pipeline map, with workers in memory."""

from collections.abc import Callable
from typing import Any

from memory_jobs import MemoryCoordinator
from worker_double import WorkerDouble, ours

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

    def answer_all(self, worker: WorkerDouble, launch: str, status_of: Callable[[bytes], int]) -> None:
        """Have a worker answer what it was sent: its runs end so, and it greets again when it is to be reset.

        :param launch: job and launch id, as it greets.
        :param status_of: the exit status of a run, by its command.
        """
        for command in worker.takes():
            if command.startswith(b"run:"):
                worker.says(b"OK:RETVAL(%d):OUTPUT(oh %b):COMMAND(x)" % (status_of(command), command[4:30]))
            elif command.startswith(b"reset"):
                worker.says(ours(launch))

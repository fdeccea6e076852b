"""Job output finds the tasks that a user asks about, and gives what is kept of what their programs have printed.

Knows jobs that are active and those that are not, and neither workers nor how outputs are kept.
"""

from collections.abc import Callable

import msgspec
from twisted.python.usage import UsageError

from mu_twisted.base import MuError
from mu_twisted.base.steps import Steps
from mu_twisted.coordinator._active_jobs import ActiveJobs
from mu_twisted.coordinator._status import Request
from mu_twisted.coordinator.records import JobArchive
from mu_twisted.pipelines import Pipeline, PipelineOptions
from mu_twisted.statuses import OutputPage, OutputQuery, ServiceError, UnknownJob
from mu_twisted.storage import Labels, no_label, reading_page

MAX_NAMED = 5
"""Tasks that are listed where a name is that of several."""


class JobOutput:
    """Of the jobs of a coordinator.

    :param active: the jobs that run.
    :param archive: the others.
    :param parse: from a job's request, its pipeline and settings.
    :param names_held: whether tasks of a job that is held have names: it may be so for what its own code does.
    """

    def __init__(
        self,
        active: ActiveJobs,
        archive: JobArchive,
        parse: Callable[[Request], tuple[Pipeline, PipelineOptions]],
        *,
        names_held: bool = False,
    ) -> None:
        self._names_held = names_held
        self._active = active
        self._archive = archive
        self._parse = parse
        self._parsed: tuple[str, Pipeline, PipelineOptions] | None = None

    def reading(self, name: str, query: OutputQuery) -> Steps[OutputPage]:
        """A page of what is kept.

        :param name: of the job.
        :raises ServiceError: it cannot be read, or no task or several are called so.
        """
        if query.called is not None:
            query = msgspec.structs.replace(query, task=(yield from self._finding(name, query.called)))
        if name in self._active:
            outputs = self._active.run(name).outputs
            if outputs is not None:
                outputs.flush()
        path = self._active.output_file(name)
        page = yield from reading_page(path, query)
        label = self.label(name)
        runs = []
        for one in page.runs:
            known_by = label(one.task)
            runs.append(one if known_by is None else msgspec.structs.replace(one, label=known_by))
            yield
        return msgspec.structs.replace(page, runs=runs, task=query.task)

    def label(self, name: str) -> Labels:
        """What the tasks of a job are known by."""
        if name in self._active:
            return self._active.run(name).label
        program = self._program(name)
        if program is None:
            return no_label
        pipeline, settings = program
        return pipeline.labels(settings)

    # -- inside ----------------------------------------------------------------------------------------------------

    def _finding(self, name: str, text: str) -> Steps[int]:
        """The number of the task that is called so; a name that is a number goes before the number."""
        is_number = text.isascii() and text.isdigit() and len(text) < 10
        if name in self._active:
            found = yield from self._active.run(name).finding(text)
        else:
            program = self._program(name)
            if program is None and not is_number:
                raise ServiceError(f"the tasks of job {name} are known by their numbers only, for now: --task N")
            found = [] if program is None else (yield from program[0].finding(program[1], text))
        if not found and is_number:
            return int(text)
        if not found:
            raise UnknownJob(f"no input of job {name} is called {text[:200]!r}; --task N takes the number of a task")
        if len(found) > 1:
            some = ", ".join(f"task {number}" for number in found[:MAX_NAMED])
            more = ", ..." if len(found) > MAX_NAMED else ""
            raise ServiceError(f"{len(found)} tasks of job {name} are called {text[:200]!r}: say which, {some}{more}")
        return found[0]

    def _program(self, name: str) -> tuple[Pipeline, PipelineOptions] | None:
        """What a job that is not active runs, if its code may be called; the last one is kept for further pages."""
        if self._archive[name].state == "held" and not self._names_held:
            return None
        if self._parsed is None or self._parsed[0] != name:
            try:
                self._parsed = (name, *self._parse(self._archive.request(name)))
            except (MuError, UsageError):  # it is not there any more, or another
                return None
        return self._parsed[1:]

"""A graph is one job of several maps, the stages, which a program puts together in a block of ``with``.

Which graph is under way is known to the block's thread, or its task of asyncio, and to nothing else.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from mu_twisted.client._arguments import checked
from mu_twisted.client._control import Coordinator
from mu_twisted.client._errors import UsageError
from mu_twisted.client._job_handle import JobHandle, job_status

if TYPE_CHECKING:
    from mu_twisted.client.map_backend import MapBackend
    from mu_twisted.client.map_job import MapJob
    from mu_twisted.client.map_request import MapRequest
    from mu_twisted.pipelines import PipelineOptions
    from mu_twisted.statuses import JobStatus

STAGE_OPTIONS = frozenset({"bucket", "batch", "csv", "together"})
"""Options of a map that are a stage's own; all others are the whole job's."""
MAP_OPTIONS = frozenset({"batch", "csv", "out", "range", "together"})
"""Options that only a map has."""

_under_way: ContextVar["tuple[GraphHandle, ...]"] = ContextVar("mu_graphs_under_way", default=())


def graph_under_way(coordinator: Coordinator) -> "GraphHandle | None":
    """The graph in whose block this is called; None: it is called in none of a client of this coordinator."""
    return next((graph for graph in _under_way.get() if graph.is_of(coordinator)), None)


class GraphHandle(JobHandle):
    """A job in stages. In its block it is put together, at the end submitted; behind that it is a job as all are.

    :param name: what the job's name begins with.
    :param options: of the job, as they are typed.
    :param program: options of the function that is made.
    :param backend: says where the job is to run: a coordinator runs there then.
    :param submit: hands a request over.
    :raises UsageError: an option is a stage's.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        name: str | None,
        options: Mapping[str, Any],
        program: Mapping[str, Any],
        backend: "Callable[[], MapBackend]",
        submit: Callable[[dict[str, Any]], JobHandle],
    ) -> None:
        super().__init__(coordinator, None, self._named_of)
        wrong = sorted(MAP_OPTIONS & options.keys())
        if wrong:
            raise UsageError(f"mu.graph: {wrong[0]} is an option of a stage: give it to its mu.map")
        self._begins_with = name
        self._options = options
        self._program = program
        self._backend = backend
        self._submit_request = submit
        self._stages: dict[str, StageHandle] = {}
        self._adding = threading.Lock()
        self._token: Token[tuple[GraphHandle, ...]] | None = None
        self._ended = False

    def is_of(self, coordinator: Coordinator) -> bool:
        """Whether it is put together by a client of this coordinator."""
        return self._coordinator is coordinator

    @property
    def stages(self) -> "tuple[StageHandle, ...]":
        """Its stages, in the order of their maps."""
        return tuple(self._stages.values())

    # -- the block -------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        if self._ended or self._token is not None:
            raise UsageError("this graph has had its block: call mu.graph(...) again for another job")
        if graph_under_way(self._coordinator) is not None:
            raise UsageError("a graph is being put together here: end its block before another begins")
        self._token = _under_way.set((*_under_way.get(), self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.leave()
        if kind is None:
            self.submit()

    def leave(self) -> None:
        """Take no more stages."""
        if self._token is not None:
            _under_way.reset(self._token)
        self._token, self._ended = None, True

    def check_stage(self, given: Mapping[str, Any], after: Sequence[JobHandle]) -> "list[StageHandle]":
        """See that what a map asks for can be asked of a stage.

        :param given: its options.
        :returns: the stages that it comes after.
        :raises UsageError: it cannot.
        """
        wrong = [name for name, value in given.items() if value is not None and name not in STAGE_OPTIONS]
        if wrong:
            named = {"task-timeout": "timeout", "max-workers": "workers"}.get(wrong[0], wrong[0])
            raise UsageError(f"mu.map: {named} is an option of the whole job: give it to mu.graph(...)")
        before = []
        for one in after:
            if not (isinstance(one, StageHandle) and one.graph is self):
                raise UsageError(f"after: expected what mu.map has returned in the same block of mu.graph, got {one!r}")
            before.append(one)
        return before

    def add(self, request: "MapRequest", before: "Sequence[StageHandle]", *, one_by_one: bool) -> "StageHandle":
        """Make a map a stage.

        :param before: the stages that it comes after.
        :param one_by_one: whether each input comes after the one of the same number; else all after all.
        :raises UsageError: that makes no sense.
        :raises MuError: its inputs cannot be had.
        """
        from mu_twisted.client.map_job import checked_job
        from mu_twisted.jobs import STAGE_NAME, STAGE_NAME_RULE

        if self._ended:
            raise UsageError("the graph has had its block: it takes no more stages")
        name = request.name
        if name is not None and STAGE_NAME.fullmatch(name) is None:
            raise UsageError(f"name: {STAGE_NAME_RULE}; got {name!r:.60}")
        if one_by_one and not before:
            raise UsageError("each=True: say with after=STAGE what each input comes after")
        common = {"bucket": self._options.get("bucket")}
        own = {key: value for key, value in request.options.items() if key in STAGE_OPTIONS}
        request = replace(request, options={**common, **own}, program={})
        found = None
        if before and not (request.inputs or request.each or request.values or request.range):
            found = _outputs_of(before, together=bool(own.get("together")) and not one_by_one)
        job = checked_job(request, self._backend(), found=found, regions=self._options.get("regions"))
        count = len(job.settings["inputs"])
        other = next((one for one in before if one_by_one and one.result_count != count), None)
        if other is not None:
            outputs = " outputs" if other.map_job.settings["together"] else ""
            raise UsageError(
                f"each=True: there are {count} inputs, and each comes after one of stage {other.stage}, which has "
                f"{other.result_count}{outputs}"
            )
        with self._adding:
            name = name or f"stage-{len(self._stages) + 1}"
            if name in self._stages:
                raise UsageError(f"name: two stages are called {name}: give one another name")
            first = sum(len(stage.tasks) for stage in self._stages.values())
            stage = self._stages[name] = StageHandle(self, name, job, first, before, one_by_one=one_by_one)
        return stage

    def submit(self) -> None:
        """Submit the job.

        :raises MuError: it makes no sense, or is not taken.
        """
        from mu_twisted.client.map_job import function_options, make_function, option_words

        jobs = [stage.map_job for stage in self.stages]
        if not jobs:
            raise UsageError("mu.graph: there is no mu.map in its block")
        backend = self._backend()
        program = function_options(self._program, self._options.get("function"), backend)
        body, settings = self._body(option_words(self._options))
        function = make_function(program, settings["regions"], backend, named=self._program.get("program") is not None)
        if function is not None:
            body["words"].insert(0, f"--function={function}")
        for job in jobs:
            job.upload()
        self._name = self._submit_request(body).name

    # -- inside ----------------------------------------------------------------------------------------------------

    def _body(self, words: Sequence[str]) -> "tuple[dict[str, Any], PipelineOptions]":
        """The request, and what the pipeline makes of its words.

        :raises UsageError: its options make no sense.
        """
        from twisted.python.usage import UsageError as OptionsError

        from mu_twisted.pipelines import PipelineError, load_pipeline, pack_inputs

        lists = [stage.map_job.inputs for stage in self.stages if stage.map_job.inputs is not None]
        body: dict[str, Any] = {"pipeline": "graph", "words": [*words, "--", *(one.packed() for one in self.stages)]}
        try:
            if lists:
                body["inputs"] = pack_inputs(replace(lists[0], following=tuple(lists[1:])))
            settings = load_pipeline("graph").parse(body["words"], body.get("inputs"))
            settings.check_words(body["words"])
        except (OptionsError, PipelineError) as error:
            raise UsageError(str(error).removeprefix("Parameter type enforcement failed: ")) from None
        if self._begins_with is not None:
            body["name"] = self._begins_with
        return body, settings

    def _named_of(self, task: int) -> list[tuple[str, str | None]]:
        stage = next(one for one in self._stages.values() if task in one.tasks)
        return stage.map_job.named(task - stage.tasks.start)


def _outputs_of(stages: "Sequence[StageHandle]", *, together: bool) -> Any:
    """What some stages store, as the list of inputs of a stage after them.

    :param together: whether that takes several at once: then it may come after several stages.
    :raises UsageError: they cannot be the inputs.
    """
    if len(stages) > 1 and not together:
        raise UsageError("after: the inputs are the outputs of one stage; after several, say what they are")
    lists = [stage.output_list() for stage in stages]
    buckets = sorted({one.bucket for one in lists})
    if len(buckets) > 1:
        raise UsageError(f"after: the inputs are in two buckets, {' and '.join(buckets[:2])}: use one for all stages")
    return replace(lists[0], columns=([key for one in lists for key in one.columns[0]],))


class StageHandle(JobHandle):
    """A stage of a job: its own results and counts; to cancel it is to cancel the job.

    :param graph: the job.
    :param stage: what it is called.
    :param job: what is to be done.
    :param first: the number of its first task in the job.
    :param after: the stages that it comes after.
    :param one_by_one: whether each input comes after the one of the same number.
    """

    def __init__(
        self,
        graph: GraphHandle,
        stage: str,
        job: "MapJob",
        first: int,
        after: "Sequence[StageHandle]",
        *,
        one_by_one: bool,
    ) -> None:
        super().__init__(graph._coordinator, None, graph._named_of)
        self.graph = graph
        """The job that it is a stage of."""
        self.stage = stage
        """What it is called."""
        self.map_job = job
        self.tasks = range(first, first + job.settings["tasks"])
        """The numbers of its tasks in the job."""
        self._after = after
        self._one_by_one = one_by_one

    def __repr__(self) -> str:
        return f"<StageHandle {self.stage} of {self.graph!r}>"

    @property
    def name(self) -> str:
        """What the commands know its job by.

        :raises UsageError: it is not submitted yet.
        """
        return self.graph.name

    def status(self) -> "JobStatus":
        """Where the job stands, with counts and ``state`` of the stage: ``running``, ``done``, ``failed``, ..."""
        from msgspec.structs import replace as replaced

        whole = super().status()
        mine = next((one for one in whole.stages if one.name == self.stage), None)
        if mine is None and (whole.stages or whole.state == "done"):  # the output of all its tasks was there
            return replaced(whole, state="done", tasks=0, waiting=0, active=0, done=0, failed=0, error=None, stages=())
        if mine is None:  # the job's records are being read after a restart, or are damaged
            tasks = len(self.tasks)
            return replaced(whole, tasks=tasks, waiting=tasks, active=0, done=0, failed=0, stages=())
        settled = mine.done + mine.failed == mine.tasks
        state = "done" if mine.done == mine.tasks else whole.state
        if settled and mine.failed and state in ("running", "done"):
            state = "failed"
        counts = {"tasks": mine.tasks, "active": mine.active, "done": mine.done, "failed": mine.failed}
        waiting, error = mine.waiting + mine.blocked, whole.error if mine.failed else None
        return replaced(whole, state=state, waiting=waiting, error=error, stages=(mine,), **counts)

    @checked
    def wait(self, timeout: float | None = None) -> "JobStatus":
        """Wait until all its tasks are done or have failed.

        :param timeout: seconds to wait at most; None: any time.
        :raises TimeoutError: they are not by then. The job goes on.
        """
        timeout = None if timeout is None else float(timeout)
        until = None if timeout is None else time.monotonic() + timeout
        try:
            for _ in self._settled(until):
                pass
        except TimeoutError:
            raise TimeoutError(
                f"stage {self.stage} of job {self.name} is not over after {timeout:g} s; it goes on"
            ) from None
        return self.status()

    @checked
    def output(self, task: int | str, *, attempt: int | None = None) -> bytes:
        """As :meth:`JobHandle.output`; an input is one of this stage, a number that of a task of the job."""
        if isinstance(task, str):
            found = self.map_job.tasks_of(task)
            if len(found) == 1:
                task = self.tasks[found[0]]
        return super().output(task, attempt=attempt)

    def retry(self) -> "JobStatus":
        """Run its failed tasks again, and failed ones that they come after; those that come after them stay failed.

        :raises CoordinatorError: the job is still running, or none of the tasks has failed.
        """
        only = {"tasks": [f"{self.tasks[0]}-{self.tasks[-1]}"]}
        return job_status(self._coordinator.post("jobs", self.name, "retry", body=only))

    # -- what the graph asks ---------------------------------------------------------------------------------------

    @property
    def result_count(self) -> int:
        """How many inputs it has; where tasks take theirs together, how many tasks."""
        from mu_twisted.pipelines.map import results

        return results(self.map_job.settings)

    def output_list(self) -> Any:
        """The list of its outputs, which are inputs of a stage after it.

        :raises UsageError: it has none.
        """
        found = self.map_job.outputs()
        if found is None:
            raise UsageError(
                f"after: stage {self.stage} stores nothing that could be the inputs: give it out=, or give inputs"
            )
        return found

    def packed(self) -> str:
        """The word of the job that says it."""
        from mu_twisted.pipelines.graph import StageWords

        after = tuple(one.stage for one in self._after)
        listed = self.map_job.inputs is not None
        return StageWords(self.stage, tuple(self.map_job.words), listed, after, self._one_by_one).packed()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _settled(self, until: float | None = None) -> Iterator[list[Mapping[str, Any]]]:
        known = self.status()
        if not known.tasks:
            return
        found: dict[int, str] = {}
        for some in super()._settled(until):
            mine = [task for task in some if task["task"] in self.tasks]
            if not mine:
                continue
            yield mine
            found.update((task["task"], task["state"]) for task in mine)
            known = known if known.stages else self.status()
            if len(found) < known.tasks:
                continue
            # Those that were retried have failed before: they run, or are further on.
            status, states = self.status(), list(found.values())
            if status.state != "running" and states.count("done") == status.done:
                return
